//! What an object does as it stands, with whatever is missing in it.

use smilax_core::ObjectRef;
use smilax_core::config::{AccessMode, AccessTarget};

use super::NamespacePlan;
use super::access::Closed;
use crate::index::Contents;

/// What becomes of traffic because of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it goes on as without the object.
    Nothing,
    /// Pods are closed, and nobody is allowed to call them.
    ClosesOnly,
    /// Nothing but to count the calls that would be refused: the access mode of the namespace is audit, and nobody is allowed.
    AuditsOnly,
    /// At least a part of what the object says.
    Works,
}

impl NamespacePlan {
    /// What an object of this namespace does. Groups and routes do nothing by themselves, and so cannot fail to.
    pub(crate) fn effect(&self, object: &ObjectRef) -> Effect {
        match &*object.kind {
            "TrafficSplit" if !self.splits.contains_key(&object.name) => Effect::Nothing,
            "TrafficTarget" => {
                let effect = self.access.effects.get(&object.name);
                effect.copied().unwrap_or(Effect::Nothing)
            }
            _ => Effect::Works,
        }
    }
}

/// What a target does that is about these pods and allows this.
pub(super) fn of_target(
    contents: &Contents,
    mode: AccessMode,
    closed: &Closed,
    allowed: Option<&AccessTarget>,
) -> Effect {
    match mode {
        _ if !closes_any(contents, closed) => Effect::Nothing,
        _ if allowed.is_some_and(allows_somebody) => Effect::Works,
        AccessMode::Audit => Effect::AuditsOnly,
        AccessMode::Allow | AccessMode::Deny => Effect::ClosesOnly,
    }
}

/// Whether there can be a pod that is closed. Pods outlive the account that they were made under.
fn closes_any(contents: &Contents, closed: &Closed) -> bool {
    let is_known = |account| {
        let mut pods = contents.pods.values();
        contents.accounts.contains_key(account) || pods.any(|pod| !pod.finished && pod.account == *account)
    };
    !closed.labels.is_empty() || closed.accounts.iter().any(is_known)
}

/// Whether there is a call that a target lets in.
pub(super) fn allows_somebody(target: &AccessTarget) -> bool {
    !target.sources.is_empty()
        && target.ports.iter().all(|set| !set.is_empty())
        && target.http.as_ref().is_none_or(|requests| !requests.is_empty())
}
