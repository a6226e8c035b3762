//! Connections that the application makes.

use std::net::SocketAddr;
use std::rc::Rc;

use smilax_core::PortRoutes;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use crate::detect::{self, Spoken};
use crate::http::server::{self, Connection, Direction, Version};
use crate::metrics::traffic::Telemetry;
use crate::tcp::{self, CarryError};
use crate::transport::{self, Upstream};
use crate::worker::Worker;

/// Where a TCP connection goes.
struct Target {
    address: SocketAddr,
    telemetry: Rc<Telemetry>,
}

/// Carries one connection to where the configuration says, or to where it was going.
pub async fn accept(worker: Rc<Worker>, stream: TcpStream, client: SocketAddr) {
    let _counted = worker.shared.lifecycle.connection();
    let open = worker.shared.metrics.open_outbound.clone();
    open.inc();
    carry(&worker, stream, client).await;
    open.dec();
}

async fn carry(worker: &Rc<Worker>, stream: TcpStream, client: SocketAddr) {
    let settings = &worker.shared.settings;
    let original = match settings.outbound_destination.resolve(&stream) {
        Ok(original) if !loops(worker, &stream, original) => original,
        Ok(original) => {
            worker.shared.metrics.refused.inc();
            tracing::debug!(%client, %original, "closed a connection that was made to the proxy itself");
            return tcp::reset(&stream);
        }
        Err(error) => {
            worker.shared.metrics.refused.inc();
            tracing::debug!(%client, %error, "closed a connection that was not redirected here");
            return tcp::reset(&stream);
        }
    };
    let state = worker.state();
    let protocol = match state.table.port(original) {
        Some(routes) => routes.protocol,
        None if state.table.has_headless_port(original.port()) => Protocol::Detect,
        None => {
            worker.shared.metrics.passthrough.inc();
            Protocol::Tcp
        }
    };
    drop(state);
    let result = match protocol {
        Protocol::Tcp => as_bytes(worker, stream, original, None).await,
        Protocol::Http => match detect::wait(&stream, settings.limits.idle).await {
            Ok(Some(Spoken::Tls)) => as_bytes(worker, stream, original, None).await,
            Ok(Some(Spoken::Http2)) => return serve(worker, stream, original, Version::Http2).await,
            Ok(Some(_)) => return serve(worker, stream, original, Version::Http1).await,
            Ok(None) | Err(_) => Ok(()),
        },
        Protocol::Detect => detected(worker, stream, original).await,
    };
    if let Err(error) = result {
        tracing::debug!(%client, %original, %error, "an outbound connection ended early");
    }
}

/// A connection that was made to the proxy itself would come back to it for ever.
fn loops(worker: &Worker, stream: &TcpStream, original: SocketAddr) -> bool {
    let ports = &worker.shared.settings.ports;
    let here = stream.local_addr().is_ok_and(|local| local == original);
    let ours = worker.shared.settings.pod.ips.contains(&original.ip()) || original.ip().is_loopback();
    here || (ours && ports.contains(original.port()))
}

async fn detected(worker: &Rc<Worker>, stream: TcpStream, original: SocketAddr) -> Result<(), CarryError> {
    let limits = worker.shared.settings.limits;
    let known = worker.server_first.borrow().knows(original);
    if !known {
        match detect::wait(&stream, limits.detect).await? {
            Some(spoken) => return go_on(worker, stream, original, spoken, None).await,
            None => {}
        }
    }
    // The client is silent. Perhaps it waits for the server: ask one, and see who speaks first.
    let target = choose(worker, original);
    let mut upstream = connect(worker, &stream, &target).await?;
    tokio::select! {
        biased;
        spoken = detect::wait(&stream, limits.idle) => match spoken? {
            Some(spoken) => go_on(worker, stream, original, spoken, Some((target, upstream))).await,
            None => Ok(()),
        },
        ready = upstream.readable() => {
            ready?;
            worker.server_first.borrow_mut().remember(original);
            let mut stream = stream;
            between(worker, &mut stream, &mut upstream, &target).await
        }
    }
}

async fn go_on(
    worker: &Rc<Worker>,
    stream: TcpStream,
    original: SocketAddr,
    spoken: Spoken,
    connected: Option<(Target, Upstream)>,
) -> Result<(), CarryError> {
    match spoken {
        Spoken::Http1 => serve(worker, stream, original, Version::Http1).await,
        Spoken::Http2 => serve(worker, stream, original, Version::Http2).await,
        Spoken::Tls | Spoken::Bytes => return as_bytes(worker, stream, original, connected).await,
    }
    Ok(())
}

async fn serve(worker: &Rc<Worker>, stream: TcpStream, original: SocketAddr, version: Version) {
    let connection = Connection {
        worker: Rc::clone(worker),
        direction: Direction::Outbound,
        original,
    };
    server::serve(connection, stream, version).await;
}

async fn as_bytes(
    worker: &Rc<Worker>,
    mut stream: TcpStream,
    original: SocketAddr,
    connected: Option<(Target, Upstream)>,
) -> Result<(), CarryError> {
    let (target, mut upstream) = match connected {
        Some(connected) => connected,
        None => {
            let target = choose(worker, original);
            let upstream = connect(worker, &stream, &target).await?;
            (target, upstream)
        }
    };
    between(worker, &mut stream, &mut upstream, &target).await
}

/// Chooses once for the whole connection.
fn choose(worker: &Worker, original: SocketAddr) -> Target {
    let state = worker.state();
    let Some(routes) = state.table.port(original) else {
        return Target {
            address: original,
            telemetry: Rc::clone(&worker.unknown_telemetry),
        };
    };
    let chosen = state
        .choose(worker, routes, routes.select_connection())
        .unwrap_or(&routes.own);
    let address = address_of(routes, chosen, original).unwrap_or(original);
    Target {
        address,
        telemetry: state.telemetry(worker, chosen),
    }
}

/// Where a backend is reached. What a route sends to its own destination goes to where the caller was going; `None`
/// for another destination that has no address.
pub fn address_of(
    routes: &PortRoutes,
    chosen: &smilax_core::Backend,
    original: SocketAddr,
) -> Option<SocketAddr> {
    if chosen.destination == routes.own.destination {
        Some(original)
    } else {
        chosen.address(original.ip())
    }
}

/// Connects to the target; a client that cannot have that is reset, as it would be without a proxy between.
async fn connect(worker: &Worker, stream: &TcpStream, target: &Target) -> Result<Upstream, CarryError> {
    match transport::connect(target.address, worker.shared.settings.limits.connect).await {
        Ok(upstream) => Ok(upstream),
        Err(error) => {
            worker.shared.metrics.connect_failures.inc();
            tcp::reset(stream);
            Err(error.into())
        }
    }
}

async fn between(
    worker: &Worker,
    stream: &mut TcpStream,
    upstream: &mut Upstream,
    target: &Target,
) -> Result<(), CarryError> {
    let recording = target.telemetry.connection();
    tcp::carry(stream, upstream, worker.shared.settings.limits.idle, &recording).await?;
    Ok(())
}
