use std::net::IpAddr;
use std::sync::Arc;

use smilax_core::endpoints::EndpointState;

/// An EndpointSlice (discovery.k8s.io/v1) of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Slice {
    /// Name of the Service, in the slice's namespace.
    pub service: Arc<str>,
    /// Its TCP ports.
    pub ports: Box<[SlicePort]>,
    /// Its endpoints with an IP address.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// A port of every endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the Service's port that leads here; empty where that has none.
    pub name: Arc<str>,
    /// Number on the pods.
    pub number: u16,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Whether it takes requests; `None` when it takes none.
    pub state: Option<EndpointState>,
    /// Zone of its node.
    pub zone: Option<Arc<str>>,
    /// Zones whose callers should prefer it.
    pub for_zones: Box<[Arc<str>]>,
    /// Name of its node.
    pub node: Option<Arc<str>>,
    /// Name of its pod, in the slice's namespace.
    pub pod: Option<Arc<str>>,
}

impl Slice {
    /// Whether some endpoint takes new requests.
    pub fn is_ready(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.state == Some(EndpointState::Ready))
    }
}
