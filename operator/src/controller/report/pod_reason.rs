//! The kinds of what is told of pods.

/// Why something is told of a pod; also the reason of the Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodReason {
    /// It slipped past injection, for example because no operator was there when it was made.
    NotInjected,
    /// It got its proxy, but something that its annotations ask for cannot be read.
    InvalidAnnotation,
    /// It was made while other rules held about something that only its making decides.
    RestartNeeded,
    /// It cannot be called from the mesh: it has no proxy on purpose, and its namespace takes nothing but mutual TLS.
    UnreachableFromMesh,
    /// It has a token for the mesh that is not its sidecar's alone.
    NoCertificate,
}

impl PodReason {
    /// PascalCase word for Events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInjected => "NotInjected",
            Self::InvalidAnnotation => "InvalidAnnotation",
            Self::RestartNeeded => "RestartNeeded",
            Self::UnreachableFromMesh => "UnreachableFromMesh",
            Self::NoCertificate => "NoCertificate",
        }
    }
}
