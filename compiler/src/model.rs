//! What the compiler remembers of Kubernetes objects: the few fields that decide something.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smilax_core::config::{ContainerPort, Protocol};
use smilax_core::convention::{PROXY_PORTS, key};
use smilax_core::pattern::{self, Anchors, Measure};

use crate::token::TokenHolder;

mod access;
mod sidecar;
mod slice;

pub use access::{Binding, DestinationPort, PortRoute, RoutePorts, Rule, Rules, Subject, Target};
pub use sidecar::{InboundUdp, Sidecar};
pub use slice::{Slice, SliceEndpoint, SlicePort};

/// What every namespaced object has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meta {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Unique identity; a new object of the same name has another.
    pub uid: String,
    /// Generation of the specification.
    pub generation: i64,
    /// When it was created, in seconds since 1970.
    pub created: i64,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Unique identity.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations that are ours.
    pub annotations: BTreeMap<String, String>,
}

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Account {
    /// Namespace and name.
    pub meta: Meta,
    /// Annotations that are ours.
    pub annotations: BTreeMap<String, String>,
}

/// A pod, as far as it matters whether it has a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pod {
    /// Namespace, name, UID.
    pub meta: Meta,
    /// Account that it runs under.
    pub account: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its sidecar, by its containers; `None` without one.
    pub sidecar: Option<Sidecar>,
    /// What injection noted on it.
    pub inject_status: Option<String>,
    /// Whether it shares its node's network.
    pub host_network: bool,
    /// Named container ports.
    pub port_names: BTreeMap<String, u16>,
    /// TCP ports that its containers declare, where it shares its node's network: there, the address alone does not
    /// tell whose a port is.
    pub host_ports: Vec<u16>,
    /// Containers that mount a token for the mesh.
    pub token_holders: Vec<TokenHolder>,
    /// Inbound ports that its proxy does not carry, as ranges.
    pub skip_inbound: Vec<(u16, u16)>,
    /// Inbound ports that a pod without a sidecar asks to be called on in plaintext, as ranges. Whoever may patch the pod
    /// may write them.
    pub asks_to_skip: Vec<(u16, u16)>,
    /// Annotations that are ours.
    pub annotations: BTreeMap<String, String>,
    /// Whether it has ended or is about to.
    pub finished: bool,
    /// Its addresses, one for each family; of its node where it shares its network.
    pub addresses: Vec<IpAddr>,
}

/// How a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Virtual addresses, one for each family.
    Virtual(Vec<IpAddr>),
    /// By its pods' addresses only.
    Headless,
    /// A DNS name outside.
    External(String),
    /// No address yet.
    Pending,
}

/// Which endpoints of a Service a connection may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Any.
    #[default]
    All,
    /// Always the one that the same client was sent to before (`sessionAffinity: ClientIP`).
    Same,
    /// Those of the caller's node (`internalTrafficPolicy: Local`).
    Node,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub meta: Meta,
    /// How it is reached.
    pub addressing: Addressing,
    /// TCP ports, by number.
    pub ports: BTreeMap<u16, Protocol>,
    /// Where the TCP ports lead on its pods, by number.
    pub target_ports: BTreeMap<u16, ContainerPort>,
    /// Names of the TCP ports, by number, as EndpointSlices repeat them; empty where there is none.
    pub port_names: BTreeMap<u16, String>,
    /// Which of its endpoints a connection may go to.
    pub reach: Reach,
    /// Ports of other transports, which a proxy does not carry.
    pub other_ports: BTreeSet<u16>,
    /// Labels of its pods; empty when its endpoints are made by hand.
    pub selector: BTreeMap<String, String>,
}

/// A TrafficSplit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Split {
    /// Namespace, name, generation, age.
    pub meta: Meta,
    /// Root Service as written.
    pub root: String,
    /// Backends as written.
    pub backends: Vec<SplitBackend>,
    /// Groups whose matches select the traffic; `None` selects all.
    pub matches: Vec<Reference>,
}

impl Split {
    /// Whether an HTTPRouteGroup selects its traffic.
    pub(crate) fn refers_to(&self, group: &str) -> bool {
        self.matches
            .iter()
            .any(|one| one.kind == "HTTPRouteGroup" && one.name == group)
    }
}

/// A backend of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBackend {
    /// Service as written.
    pub service: String,
    /// Weight as written.
    pub weight: i64,
}

/// A reference to another object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// API group; empty when not written.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// An HTTPRouteGroup.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteGroup {
    /// Namespace, name, generation.
    pub meta: Meta,
    /// Its matches, any of which selects.
    pub matches: Vec<GroupMatch>,
    /// What of its expressions was measured before it came here.
    pub measured: Measured,
}

/// What expressions count for, by their text with its anchors. It only saves work: what is not among it is measured when it
/// is asked for, and is the same.
#[derive(Clone, Debug, Default)]
pub struct Measured(pub BTreeMap<String, Measure>);

impl Measured {
    /// What `pattern` counts for, which is `whole` with its anchors.
    ///
    /// # Errors
    /// When it is not accepted.
    pub fn get(&self, whole: &str, pattern: &str, anchors: Anchors) -> Measure {
        match self.0.get(whole) {
            Some(known) => known.clone(),
            None => pattern::measured(pattern, anchors),
        }
    }
}

/// It says nothing that the expressions do not say.
impl PartialEq for Measured {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Measured {}

/// One match of a group, as written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GroupMatch {
    /// Its name.
    pub name: String,
    /// Regular expression on the path, without our anchors.
    pub path_regex: Option<String>,
    /// Methods; `*` among them means any.
    pub methods: Vec<String>,
    /// Lower-case header name and regular expression, without our anchors.
    pub headers: Vec<(String, String)>,
}

impl Service {
    /// Its virtual addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.addressing {
            Addressing::Virtual(addresses) => addresses,
            Addressing::Headless | Addressing::External(_) | Addressing::Pending => &[],
        }
    }

    /// Whether a pod of its namespace is one of its.
    pub fn selects(&self, pod: &Pod) -> bool {
        !self.selector.is_empty() && pod.is_selected_by(&self.selector)
    }
}

impl Pod {
    /// Whether a proxy runs beside it.
    pub fn injected(&self) -> bool {
        self.sidecar.is_some()
    }

    /// Whether it has no proxy on purpose: by its label, or since injection left it alone.
    pub fn stays_out(&self) -> bool {
        let is_disabled = self
            .labels
            .get(key::INJECT)
            .is_some_and(|value| value == "disabled");
        !self.injected() && (is_disabled || self.host_network || self.inject_status.is_some())
    }

    /// Whether it has all of these labels.
    pub fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        selector
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Whether connections to a port never reach its proxy's inbound listener: the port is left alone on request, or it is
    /// one of the proxy's own, such as that of metrics, which speak plaintext whatever the mode is.
    pub fn skips_inbound(&self, port: u16) -> bool {
        let own = self.injected() && !self.host_network && PROXY_PORTS.contains(&port);
        own || contain(&self.skip_inbound, port)
    }

    /// Whether it has no sidecar and asks to be called in plaintext on a port.
    pub fn asks_for_plaintext(&self, port: u16) -> bool {
        !self.injected() && contain(&self.asks_to_skip, port)
    }

    /// Number of a port; a name that no container gives is none.
    pub fn port(&self, port: &ContainerPort) -> Option<u16> {
        match port {
            ContainerPort::Number(number) => Some(*number),
            ContainerPort::Name(name) => self.port_names.get(name).copied(),
        }
    }
}

fn contain(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges.iter().any(|&(from, to)| (from..=to).contains(&port))
}
