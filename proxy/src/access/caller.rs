use std::net::IpAddr;
use std::sync::Arc;

use http::header::HeaderValue;
use smilax_core::SpiffeId;

use crate::tls::Peer;

/// Who made a connection.
#[derive(Debug)]
pub struct Caller {
    /// Where it comes from.
    pub address: IpAddr,
    /// What it has proven; `None` for one from outside the mesh.
    pub peer: Option<Arc<Peer>>,
    /// What the application is told about it.
    pub headers: Option<IdentityHeaders>,
}

/// Values of the headers that tell the application who calls.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    /// The SPIFFE ID.
    pub identity: HeaderValue,
    /// The same in the form that Envoy gave it.
    pub certificate: HeaderValue,
}

impl Caller {
    /// A caller that proved nothing.
    pub fn unknown(address: IpAddr) -> Self {
        Self {
            address: address.to_canonical(),
            peer: None,
            headers: None,
        }
    }

    /// A caller that proved to be `peer` to the proxy of `own`.
    pub fn proven(address: IpAddr, peer: Arc<Peer>, own: &SpiffeId) -> Self {
        Self {
            address: address.to_canonical(),
            headers: IdentityHeaders::new(&peer.identity.id, own),
            peer: Some(peer),
        }
    }

    /// As rules see it.
    pub fn view(&self) -> smilax_core::access::Caller<'_> {
        smilax_core::access::Caller {
            identity: self.peer.as_deref().map(|peer| &peer.identity),
            address: self.address,
        }
    }

    /// Its SPIFFE ID, for people; `unknown` when it has proven none.
    pub fn name(&self) -> &str {
        match &self.peer {
            Some(peer) => peer.identity.id.as_str(),
            None => "unknown",
        }
    }
}

impl IdentityHeaders {
    /// SPIFFE IDs hold no character that a header may not, nor one that means something in Envoy's form.
    fn new(caller: &SpiffeId, own: &SpiffeId) -> Option<Self> {
        Some(Self {
            identity: HeaderValue::from_str(caller.as_str()).ok()?,
            certificate: HeaderValue::from_str(&format!("By={};URI={}", own.as_str(), caller.as_str()))
                .ok()?,
        })
    }
}
