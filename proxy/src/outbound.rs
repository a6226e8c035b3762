//! What the application sends: where the configuration wants it.

mod called;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use smilax_core::config::Protocol;
use smilax_core::table::Origin;
use smilax_core::{Backend, PortRoutes, Resource};
use tokio::net::TcpStream;

use crate::addresses::lookups::Step;
use crate::addresses::{Behind, Pod};
use crate::http::errors::Refusal;
use crate::http::headers::{self, View};
use crate::metrics::traffic::Telemetry;
use crate::settings::Settings;
use crate::target::{Fallback, Target};
use crate::worker::{TableState, Worker};

/// A connection that was made to the proxy itself would come back to it for ever.
pub fn accepts(settings: &Settings, stream: &TcpStream, original: SocketAddr) -> bool {
    let here = stream.local_addr().is_ok_and(|local| local == original);
    let ours = settings.pod.ips.contains(&original.ip()) || original.ip().is_loopback();
    let loops = here || ours && settings.ports.contains(original.port());
    !loops
}

/// What is spoken at a destination. One of which nothing is known passes through as bytes, unless it may be a pod of a
/// headless destination, which only its requests tell.
pub fn protocol(worker: &Worker, original: SocketAddr) -> Protocol {
    let state = worker.state();
    if let Some(routes) = state.table.port(original) {
        return routes.protocol;
    }
    match pod(worker, original) {
        Some(pod) => pod.protocol,
        None if state.table.has_headless_port(original.port()) => Protocol::Detect,
        None => {
            worker.shared.metrics.passthrough.inc();
            Protocol::Tcp
        }
    }
}

/// Asks the operator what stands behind an address of which nothing is known, and waits a moment for the answer. Nobody
/// waits while there is no connection to it.
pub async fn look_up(worker: &Worker, original: SocketAddr) {
    if worker.state().table.port(original).is_some() || worker.behind(original, |known| known.is_some()) {
        return;
    }
    let metrics = &worker.shared.metrics;
    if metrics.identity.connected.get() == 0 {
        return metrics.endpoints.looked_up("not_connected");
    }
    // Before it is asked, so that no answer is missed.
    let mut news = worker.shared.addresses.watch();
    let patience = worker.shared.settings.limits.lookup;
    let patience = match worker.lookups.ask(original, worker.now(), patience) {
        Step::GoOn => return metrics.endpoints.looked_up("unanswered"),
        Step::Wait(patience) => patience,
        Step::Ask(patience) => {
            worker.shared.wanted.say(vec![Resource::Address(original)]);
            patience
        }
    };
    let answer = async {
        loop {
            let outcome = worker.behind(original, |known| match known {
                None => None,
                Some(Behind::Nothing) => Some("nothing"),
                Some(Behind::Destinations(_)) => Some("destination"),
                Some(Behind::Pod(_)) => Some("pod"),
            });
            match outcome {
                Some(outcome) => return outcome,
                // The other end lives as long as the worker.
                None => drop(news.changed().await),
            }
        }
    };
    let outcome = tokio::time::timeout(patience, answer).await;
    metrics.endpoints.looked_up(outcome.unwrap_or("unanswered"));
}

/// The pod at an address, if there is one of the mesh. It is used.
fn pod(worker: &Worker, address: SocketAddr) -> Option<Pod> {
    worker.behind(address, |known| {
        let known = known?;
        worker.lookups.mark(address, worker.now());
        match known {
            Behind::Pod(pod) => Some(pod.clone()),
            Behind::Nothing | Behind::Destinations(_) => None,
        }
    })
}

/// What is decided for an address, which is used.
fn routes<'a>(worker: &Worker, state: &'a TableState, original: SocketAddr) -> Option<&'a Arc<PortRoutes>> {
    let routes = state.table.port(original)?;
    if routes.origin == Origin::Lookup {
        worker.lookups.mark(original, worker.now());
    }
    Some(routes)
}

/// Names the Service at an address, and the backend that was chosen for it.
pub fn called(worker: &Worker, original: SocketAddr, backend: (&str, &str)) -> Option<String> {
    let state = worker.state();
    let routes = state.table.port(original)?;
    Some(called::described(routes, backend))
}

/// Where a connection goes.
pub fn target(worker: &Worker, original: SocketAddr) -> Target {
    let state = worker.state();
    let Some(routes) = routes(worker, &state, original) else {
        return unknown(worker, original);
    };
    let chosen = state
        .choose(worker, routes, &routes.select_connection())
        .unwrap_or(&routes.own);
    let telemetry = state.telemetry(worker, chosen);
    towards(worker, &state, routes, chosen, original, &telemetry)
        .unwrap_or_else(|| Target::virtual_address(original, chosen.peers.clone(), telemetry))
}

/// Where a request goes. `concerns` hears early what it will be counted for, so that a refusal is, too.
///
/// # Errors
/// [`Refusal`] for a path that can be read in two ways, and for a backend without an address.
pub fn request_target(
    worker: &Worker,
    original: SocketAddr,
    request: &Parts,
    mut concerns: impl FnMut(&Rc<Telemetry>),
) -> Result<Target, Refusal> {
    let state = worker.state();
    let headless = || state.table.headless(headers::host(request)?, original.port());
    let Some(routes) = routes(worker, &state, original).or_else(headless) else {
        return Ok(unknown(worker, original));
    };
    let chosen = state.choose(worker, routes, &routes.select(&View(request)))?;
    let telemetry = state.telemetry(worker, chosen);
    concerns(&telemetry);
    towards(worker, &state, routes, chosen, original, &telemetry)
        .ok_or_else(|| Refusal::NoAddress(chosen.destination.to_string()))
}

/// An endpoint of what was chosen, where any is known, and its virtual address otherwise. `None` when there is neither.
fn towards(
    worker: &Worker,
    state: &TableState,
    routes: &PortRoutes,
    chosen: &Backend,
    original: SocketAddr,
    telemetry: &Rc<Telemetry>,
) -> Option<Target> {
    let address = address_of(routes, chosen, original);
    let expected = chosen.peers.clone();
    match address {
        // Whoever calls a headless destination has chosen one of its pods already.
        Some(address) if chosen.addresses.is_empty() => {
            let expected = pod(worker, address).map_or(expected, |pod| Some(pod.expected));
            Some(Target::direct(address, expected, Rc::clone(telemetry)))
        }
        address => {
            let among = state.balanced(worker, chosen);
            let fallback = Fallback { address, expected };
            Target::balanced(worker, &among, original.ip(), fallback, telemetry)
        }
    }
}

fn unknown(worker: &Worker, original: SocketAddr) -> Target {
    let expected = pod(worker, original).map(|pod| pod.expected);
    Target::direct(original, expected, Rc::clone(&worker.unknown_telemetry))
}

/// What a route sends to its own destination goes to where the caller was going. `None` for another destination that
/// has no address.
fn address_of(routes: &PortRoutes, chosen: &Backend, original: SocketAddr) -> Option<SocketAddr> {
    if chosen.destination == routes.own.destination {
        Some(original)
    } else {
        chosen.address(original.ip())
    }
}
