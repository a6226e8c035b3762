//! A configuration lowered to what a request needs: one lookup, one walk over routes, one choice.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::access::{self, AccessTable};
use crate::choice::Weights;
use crate::config::{Destination, DestinationPort, Protocol, ProxyConfig, RouteConfig, Security};
use crate::expected::ExpectedIdentity;
use crate::host;
use crate::matching::{Matcher, MatcherError, RequestView};
use crate::name::{DestinationName, ObjectRef, Workload};
use crate::path::{self, Ambiguity};
use crate::pattern::{Compiled, Patterns};
use crate::pod::PodView;
use crate::revision::Revision;

/// What the expressions of each part of a configuration may count for, in bytes. A part that is too large does not use
/// up what another needs, and what the operator keeps to ([`crate::pattern`]) is well within, also where versions count
/// differently.
const MOST_INBOUND: usize = 6 * 1024 * 1024;
const MOST_ROUTES: usize = 12 * 1024 * 1024;
const MOST_FOUND: usize = 4 * 1024 * 1024;

/// Everything a proxy needs to decide, immutable. Keys come from our own configuration only, so a fast hash is safe.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Place in the order of configurations.
    pub revision: Revision,
    /// Whose proxy this is.
    pub workload: Option<Workload>,
    /// Who may call this pod.
    pub access: AccessTable,
    by_address: HashMap<SocketAddr, Arc<PortRoutes>, FixedState>,
    headless: HashMap<(DestinationName, u16), Arc<PortRoutes>, FixedState>,
    headless_ports: HashSet<u16, FixedState>,
    cluster_domain: String,
    routes: usize,
    backends: usize,
}

/// What is decided for one port of one destination.
#[derive(Debug)]
pub struct PortRoutes {
    /// The destination itself; where everything goes that no route selects.
    pub own: Backend,
    /// What is spoken.
    pub protocol: Protocol,
    /// Tried in order.
    pub routes: Box<[Route]>,
    /// How it came to be known.
    pub origin: Origin,
    reads_path: bool,
}

/// How a destination came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration names it.
    Configuration,
    /// It was found behind an address that the configuration does not name.
    Lookup,
}

/// Requests that meet a match, or all, spread over backends.
#[derive(Debug)]
pub struct Route {
    /// Position among all routes of the table: where a worker keeps its choice state.
    pub index: usize,
    /// The user's object that asked for it.
    pub source: ObjectRef,
    /// Where to.
    pub backends: Box<[Backend]>,
    /// Shares, in the order of `backends`.
    pub weights: Weights,
    matchers: Box<[Matcher]>,
}

/// One port of one destination, as something to send to.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Position among all backends of the table: where a worker keeps connections and metrics.
    pub index: usize,
    /// Which destination.
    pub destination: DestinationName,
    /// Port number.
    pub port: u16,
    /// Virtual addresses; empty for a headless destination, to which only the original address leads.
    pub addresses: Box<[IpAddr]>,
    /// Whom the server must prove to be; `None` where connections are not secured.
    pub peers: Option<Arc<[ExpectedIdentity]>>,
}

/// What was decided for a request.
#[derive(Debug)]
pub enum Selection<'a> {
    /// No route selects it: it goes to the destination itself.
    Own(&'a Backend),
    /// A route selects it: choose by its weights.
    Route(&'a Route),
    /// Its path could be read in two ways, and a rule on this port reads paths.
    AmbiguousPath(Ambiguity),
}

/// Why a configuration cannot be lowered, with the path of the field.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct LowerError {
    /// Path of the field in the configuration.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl RouteTable {
    /// Lowers a configuration for one of its pods.
    ///
    /// # Errors
    /// [`LowerError`] naming the first field that cannot be honoured; nothing is half applied.
    pub fn lower(config: &ProxyConfig, pod: &PodView) -> Result<Self, LowerError> {
        Self::lower_with(config, pod, std::iter::empty(), &mut Compiled::default())
    }

    /// The same with what was found behind addresses that the configuration does not name: each time a destination with
    /// its routes, and after it those that these lead to ([`crate::Found::Destinations`]). What the configuration says
    /// of a name or an address counts; routes that were found and cannot be honoured are left out. Expressions that are among
    /// `compiled` are not compiled again.
    ///
    /// # Errors
    /// [`LowerError`] naming the first field of the configuration that cannot be honoured.
    pub fn lower_with<'a>(
        config: &'a ProxyConfig,
        pod: &PodView,
        found: impl Iterator<Item = &'a [Destination]> + Clone,
        compiled: &mut Compiled,
    ) -> Result<Self, LowerError> {
        compiled.forget_unused();
        let mut lowering = Lowering::new(config);
        let mut patterns = Patterns::within(MOST_INBOUND, compiled);
        lowering.table.access = access::lower(&config.inbound, pod, &mut patterns)?;
        let mut patterns = Patterns::within(MOST_ROUTES, compiled);
        for (index, destination) in config.destinations.iter().enumerate() {
            for (port_index, port) in destination.ports.iter().enumerate() {
                let path = format!("destinations[{index}].ports[{port_index}]");
                lowering.add(destination, port, &path, &mut patterns)?;
            }
        }
        let mut patterns = Patterns::within(MOST_FOUND, compiled);
        lowering.origin = Origin::Lookup;
        let mut seen: HashSet<_> = lowering.known.keys().copied().collect();
        // Whatever was looked for itself is known better than what something else leads to.
        let first = found.clone().filter_map(<[_]>::first);
        for destination in first.clone().chain(found.flatten()) {
            lowering.known.entry(&destination.name).or_insert(destination);
        }
        for destination in first.filter(|one| seen.insert(&one.name)) {
            for (index, port) in destination.ports.iter().enumerate() {
                let path = format!("{}.ports[{index}]", destination.name);
                if lowering.add(destination, port, &path, &mut patterns).is_err() {
                    // How it is secured and carried holds without its routes.
                    let port = DestinationPort {
                        routes: Vec::new(),
                        ..port.clone()
                    };
                    drop(lowering.add(destination, &port, &path, &mut patterns));
                }
            }
        }
        Ok(lowering.table)
    }

    /// What is decided for an original destination, if anything.
    pub fn port(&self, address: SocketAddr) -> Option<&Arc<PortRoutes>> {
        self.by_address.get(&address)
    }

    /// Whether some headless destination listens on this port, so that requests to it are worth looking at.
    pub fn has_headless_port(&self, port: u16) -> bool {
        self.headless_ports.contains(&port)
    }

    /// What is decided for a Host that names a headless destination.
    pub fn headless(&self, host: &str, port: u16) -> Option<&Arc<PortRoutes>> {
        let namespace = self.workload.as_ref().map_or("", |workload| &workload.namespace);
        let name = host::destination(host, namespace, &self.cluster_domain)?;
        self.headless.get(&(name, port))
    }

    /// Number of routes; route indexes are below it.
    pub fn route_count(&self) -> usize {
        self.routes
    }

    /// Number of backends; backend indexes are below it.
    pub fn backend_count(&self) -> usize {
        self.backends
    }
}

impl PortRoutes {
    /// Decides for an HTTP request.
    pub fn select(&self, request: &impl RequestView) -> Selection<'_> {
        if self.reads_path
            && let Err(ambiguity) = path::check(request.path())
        {
            return Selection::AmbiguousPath(ambiguity);
        }
        match self.routes.iter().find(|route| route.selects(request)) {
            Some(route) => Selection::Route(route),
            None => Selection::Own(&self.own),
        }
    }

    /// Decides for a TCP connection: the first route without matches.
    pub fn select_connection(&self) -> Selection<'_> {
        match self.routes.iter().find(|route| route.matchers.is_empty()) {
            Some(route) => Selection::Route(route),
            None => Selection::Own(&self.own),
        }
    }
}

impl Route {
    fn selects(&self, request: &impl RequestView) -> bool {
        self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.matches(request))
    }
}

impl Backend {
    /// Its virtual address, of the family that the caller used where there is one. `None` when headless.
    pub fn address(&self, original: IpAddr) -> Option<SocketAddr> {
        let same = self
            .addresses
            .iter()
            .find(|address| address.is_ipv4() == original.is_ipv4());
        same.or(self.addresses.first())
            .map(|&address| SocketAddr::new(address, self.port))
    }
}

struct Lowering<'a> {
    table: RouteTable,
    known: HashMap<&'a DestinationName, &'a Destination>,
    origin: Origin,
}

impl<'a> Lowering<'a> {
    fn new(config: &'a ProxyConfig) -> Self {
        let table = RouteTable {
            revision: config.revision,
            workload: Some(config.workload.clone()),
            cluster_domain: config.cluster_domain.clone(),
            ..RouteTable::default()
        };
        Self {
            table,
            known: config
                .destinations
                .iter()
                .map(|destination| (&destination.name, destination))
                .collect(),
            origin: Origin::Configuration,
        }
    }

    fn add(
        &mut self,
        destination: &Destination,
        port: &DestinationPort,
        path: &str,
        patterns: &mut Patterns<'_>,
    ) -> Result<(), LowerError> {
        if port.port == 0 {
            return Err(LowerError {
                path: format!("{path}.port"),
                reason: "0 is not a port".to_owned(),
            });
        }
        let own = self.backend(destination, port);
        let routes = port
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| self.route(route, port.port, &format!("{path}.routes[{index}]"), patterns))
            .collect::<Result<Box<[_]>, _>>()?;
        let reads_path = routes
            .iter()
            .flat_map(|route| &route.matchers)
            .any(Matcher::reads_path);
        let lowered = Arc::new(PortRoutes {
            own,
            protocol: port.protocol,
            routes,
            origin: self.origin,
            reads_path,
        });
        for &address in &destination.addresses {
            let address = SocketAddr::new(address, port.port);
            let lowered = Arc::clone(&lowered);
            match self.origin {
                Origin::Configuration => drop(self.table.by_address.insert(address, lowered)),
                Origin::Lookup => drop(self.table.by_address.entry(address).or_insert(lowered)),
            }
        }
        if self.origin == Origin::Configuration && destination.addresses.is_empty() {
            self.table.headless_ports.insert(port.port);
            self.table
                .headless
                .insert((destination.name.clone(), port.port), lowered);
        }
        Ok(())
    }

    fn route(
        &mut self,
        route: &RouteConfig,
        port: u16,
        path: &str,
        patterns: &mut Patterns<'_>,
    ) -> Result<Route, LowerError> {
        let weights =
            Weights::new(route.backends.iter().map(|backend| backend.weight)).ok_or_else(|| LowerError {
                path: format!("{path}.backends"),
                reason: "no backend has a weight above zero".to_owned(),
            })?;
        let matchers = route
            .matches
            .iter()
            .enumerate()
            .map(|(index, one)| {
                Matcher::new(one, patterns).map_err(|MatcherError { field, error }| LowerError {
                    path: format!("{path}.matches[{index}].{field}"),
                    reason: error.to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        let mut backends = Vec::with_capacity(route.backends.len());
        for (index, backend) in route.backends.iter().enumerate() {
            let destination = *self.known.get(&backend.destination).ok_or_else(|| LowerError {
                path: format!("{path}.backends[{index}].destination"),
                reason: format!("{} is not among the destinations", backend.destination),
            })?;
            let known = destination.ports.iter().find(|known| known.port == port);
            let plain = DestinationPort::plaintext(port, Protocol::default());
            backends.push(self.backend(destination, known.unwrap_or(&plain)));
        }
        let index = self.table.routes;
        self.table.routes += 1;
        Ok(Route {
            index,
            source: route.source.clone(),
            backends: backends.into(),
            weights,
            matchers,
        })
    }

    fn backend(&mut self, destination: &Destination, port: &DestinationPort) -> Backend {
        let index = self.table.backends;
        self.table.backends += 1;
        Backend {
            index,
            destination: destination.name.clone(),
            port: port.port,
            addresses: destination.addresses.clone().into(),
            peers: match port.security {
                Security::Plaintext => None,
                Security::MutualTls => Some(destination.accounts.clone().into()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
