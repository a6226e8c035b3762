//! What could not be honoured, and why: the source of conditions and Events.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use smilax_core::ObjectRef;
use smilax_core::hex::hex;

/// A finding about an object of the user's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The object that the user would edit.
    pub object: ObjectRef,
    /// Which kind of finding; also the reason of the Event.
    pub reason: Reason,
    /// One sentence with the names involved and what to do.
    pub message: String,
}

impl Diagnostic {
    /// About an object without generations, such as a ServiceAccount, a Service or a Namespace.
    pub fn about(
        kind: &str,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        reason: Reason,
        message: String,
    ) -> Self {
        Self {
            object: ObjectRef {
                kind: kind.into(),
                namespace: namespace.into(),
                name: name.into(),
                generation: 0,
            },
            reason,
            message,
        }
    }

    /// What tells it from every other finding about the same object.
    pub fn id(&self) -> FindingId {
        FindingId::new(self.reason.as_str(), &self.message)
    }
}

/// The identity of a finding about an object: its reason, and a digest of what it says. Another value in the same field
/// is another finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(Arc<str>);

impl FindingId {
    /// Bytes of the digest that are kept: enough for the findings about one object.
    const DIGEST: usize = 8;

    /// The identity of what an Event with this reason says.
    pub fn new(reason: &str, message: &str) -> Self {
        let digest = Sha256::digest(message);
        let kept = digest.get(..Self::DIGEST).unwrap_or(&digest);
        Self(format!("{reason}/{}", hex(kept)).into())
    }

    /// Reads the identities that a status remembers, written with spaces between them.
    pub fn list(text: &str) -> impl Iterator<Item = Self> {
        text.split_whitespace().map(|word| Self(word.into()))
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kinds of findings. The words are Gateway API's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The root of a split, or the destination of a target, is of another namespace.
    NamespaceMismatch,
    /// An older split of the same root decides.
    Conflicted,
    /// A field cannot be understood.
    Invalid,
    /// Nothing in this version carries it out.
    Unsupported,
    /// The root Service does not exist.
    RootNotFound,
    /// A backend Service does not exist.
    BackendNotFound,
    /// A backend lacks a port of the root.
    PortMismatch,
    /// A referenced group does not exist.
    RouteGroupNotFound,
    /// A referenced group has no match of this name.
    MatchNotFound,
    /// A referenced TCPRoute or UDPRoute does not exist.
    RouteNotFound,
    /// The account or binding whose pods a target is about does not exist, or means nobody; or a Service or Namespace that
    /// an annotation asks for does not exist.
    DestinationNotFound,
    /// A ServiceAccount does not exist.
    AccountNotFound,
    /// An IdentityBinding does not exist, or means nobody.
    BindingNotFound,
    /// An IdentityBinding names a workload of another namespace.
    ForeignIdentity,
    /// A reference is of a kind or group that does not fit.
    InvalidKind,
    /// A match that no request can satisfy.
    MatchesNothing,
    /// A binding whose labels no pod has.
    NoPods,
    /// Pods of a source of a target have no proxy, so that nothing proves who calls.
    SourceNotInjected,
    /// Nothing is left to send to; traffic goes to the root Service.
    NoUsableBackend,
    /// A backend has no ready endpoint; its share is answered with 503.
    NoReadyEndpoints,
    /// A backend is itself the root of a split, which is not followed.
    NestedSplit,
    /// One pod belongs to several backends.
    OverlappingBackends,
    /// A Service without selector whose pods are called in plaintext, whatever they can.
    PlaintextOnly,
    /// It takes more than one object, or one namespace, may.
    OverBudget,
    /// A configuration with this object in it is too large to be kept.
    TooLarge,
    /// The access mode of its namespace lets in what it would refuse.
    Audited,
    /// The ConfigMap of a configuration was written by somebody but the operator.
    Tampered,
    /// There is more to be told of an object than has an Event of its own.
    MoreFindings,
}

/// What a finding does to the object's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object as a whole is not in force: `Accepted` is False.
    Rejected,
    /// A reference does not lead anywhere: `ResolvedRefs` is False; the rest is in force.
    Unresolved,
    /// Some proxies are not given it: `Programmed` is False.
    Withheld,
    /// Worth telling; an Event only.
    Notice,
}

impl Reason {
    /// PascalCase word for conditions and Events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NamespaceMismatch => "NamespaceMismatch",
            Self::Conflicted => "Conflicted",
            Self::Invalid => "Invalid",
            Self::Unsupported => "Unsupported",
            Self::RootNotFound => "RootNotFound",
            Self::BackendNotFound => "BackendNotFound",
            Self::PortMismatch => "PortMismatch",
            Self::RouteGroupNotFound => "RouteGroupNotFound",
            Self::MatchNotFound => "MatchNotFound",
            Self::RouteNotFound => "RouteNotFound",
            Self::DestinationNotFound => "DestinationNotFound",
            Self::AccountNotFound => "AccountNotFound",
            Self::BindingNotFound => "BindingNotFound",
            Self::ForeignIdentity => "ForeignIdentity",
            Self::InvalidKind => "InvalidKind",
            Self::MatchesNothing => "MatchesNothing",
            Self::NoPods => "NoPods",
            Self::SourceNotInjected => "SourceNotInjected",
            Self::NoUsableBackend => "NoUsableBackend",
            Self::NoReadyEndpoints => "NoReadyEndpoints",
            Self::NestedSplit => "NestedSplit",
            Self::OverlappingBackends => "OverlappingBackends",
            Self::PlaintextOnly => "PlaintextOnly",
            Self::OverBudget => "OverBudget",
            Self::TooLarge => "TooLarge",
            Self::Audited => "Audited",
            Self::Tampered => "Tampered",
            Self::MoreFindings => "MoreFindings",
        }
    }

    /// What it does to conditions.
    pub fn severity(self) -> Severity {
        match self {
            Self::NamespaceMismatch
            | Self::Conflicted
            | Self::Invalid
            | Self::Unsupported
            | Self::OverBudget => Severity::Rejected,
            Self::RootNotFound
            | Self::BackendNotFound
            | Self::PortMismatch
            | Self::RouteGroupNotFound
            | Self::MatchNotFound
            | Self::RouteNotFound
            | Self::DestinationNotFound
            | Self::AccountNotFound
            | Self::BindingNotFound
            | Self::ForeignIdentity
            | Self::InvalidKind => Severity::Unresolved,
            Self::TooLarge => Severity::Withheld,
            Self::MatchesNothing
            | Self::NoPods
            | Self::SourceNotInjected
            | Self::NoUsableBackend
            | Self::NoReadyEndpoints
            | Self::NestedSplit
            | Self::OverlappingBackends
            | Self::PlaintextOnly
            | Self::Audited
            | Self::Tampered
            | Self::MoreFindings => Severity::Notice,
        }
    }
}
