//! What injection added to a pod, as the pod's specification has it.
//!
//! Labels and annotations prove nothing about it: whoever may patch a pod may change them at any time. Names, arguments
//! and environment of its containers never change.

use smilax_core::config::AccessMode;

/// The sidecar of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Image of the proxy, as written. It may be exchanged while the pod runs, so it says nothing about whether there is a
    /// sidecar, but about whose it is.
    pub image: String,
    /// What the redirect does with UDP.
    pub inbound_udp: InboundUdp,
    /// Access mode that the pod asked for when it was made.
    pub access: Option<AccessMode>,
}

/// What becomes of UDP that comes into a pod unasked, which proxies do not carry. It is decided when the pod is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundUdp {
    /// It comes in.
    Open,
    /// It is dropped; answers to what the pod sent come in.
    Drop,
}

impl InboundUdp {
    /// The word for it, in the pod's annotation and in the environment of init.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Drop => "drop",
        }
    }
}
