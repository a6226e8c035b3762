//! Who gains and who loses the right to call an account's pods: the first TrafficTarget about an account closes it to everybody else, which
//! its own text does not show.

use std::collections::BTreeSet;
use std::fmt;

use smilax_core::config::{AccessMode, InboundPolicy, SourceMatch, TlsMode};
use smilax_core::{SpiffeId, Workload};

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// Pods of an account of this mesh.
    Account(Workload),
    /// Whoever has this id, which is of another mesh.
    Spiffe(String),
    /// Pods that a binding selects.
    Binding(String),
    /// Whoever proves no identity.
    Unauthenticated,
}

/// How much of an account's pods a caller reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nothing,
    /// Some requests, or some ports.
    Part,
    Everything,
}

/// What changes for callers of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReachChange {
    /// Callers that could send nothing.
    pub(crate) gain: Vec<Caller>,
    /// Callers that can send nothing any more.
    pub(crate) lose: Vec<Caller>,
    /// Callers that could send everything, and can send only a part.
    pub(crate) narrow: Vec<Caller>,
    /// The reverse.
    pub(crate) widen: Vec<Caller>,
}

impl ReachChange {
    /// Between two sets of policies of an account, for these accounts as callers and whomever the policies name.
    pub(crate) fn between(
        before: &[InboundPolicy],
        after: &[InboundPolicy],
        accounts: &BTreeSet<Workload>,
    ) -> Self {
        let mut callers: BTreeSet<Caller> = accounts.iter().cloned().map(Caller::Account).collect();
        callers.insert(Caller::Unauthenticated);
        let targets = before.iter().chain(after).flat_map(|policy| &policy.targets);
        callers.extend(targets.flat_map(|target| &target.sources).map(Caller::of));
        let mut change = Self::default();
        for caller in callers {
            match (reach(before, &caller), reach(after, &caller)) {
                (before, after) if before == after => {}
                (Reach::Nothing, _) => change.gain.push(caller),
                (_, Reach::Nothing) => change.lose.push(caller),
                (before, after) if before > after => change.narrow.push(caller),
                _ => change.widen.push(caller),
            }
        }
        change
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Caller {
    fn of(source: &SourceMatch) -> Self {
        match source {
            SourceMatch::Account(workload) => Self::Account(workload.clone()),
            SourceMatch::Spiffe(id) => Self::Spiffe(SpiffeId::to_string(id)),
            SourceMatch::Binding(name) => Self::Binding(name.clone()),
        }
    }
}

/// What a caller reaches of an account's pods; of pods under several policies, what the strictest leaves.
fn reach(policies: &[InboundPolicy], caller: &Caller) -> Reach {
    let access = policies
        .iter()
        .filter_map(|policy| policy.access)
        .max()
        .unwrap_or_default();
    let tls = policies
        .iter()
        .filter_map(|policy| policy.tls)
        .max()
        .unwrap_or_default();
    if *caller == Caller::Unauthenticated && tls == TlsMode::Strict {
        return Reach::Nothing;
    }
    let mut targets = policies.iter().flat_map(|policy| &policy.targets).peekable();
    let is_open = match access {
        AccessMode::Audit => true,
        AccessMode::Allow => targets.peek().is_none(),
        AccessMode::Deny => false,
    };
    if is_open {
        return Reach::Everything;
    }
    targets
        .filter(|target| target.sources.iter().any(|source| Caller::of(source) == *caller))
        .map(|target| match (&target.http, target.ports.as_slice()) {
            (None, []) => Reach::Everything,
            _ => Reach::Part,
        })
        .max()
        .unwrap_or(Reach::Nothing)
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(workload) => workload.fmt(f),
            Self::Spiffe(id) => f.write_str(id),
            Self::Binding(name) => write!(f, "pods of IdentityBinding {name}"),
            Self::Unauthenticated => f.write_str("callers without an identity"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use smilax_core::ObjectRef;
    use smilax_core::config::AccessTarget;

    use super::*;

    fn policy(access: AccessMode, callers: &[&str]) -> InboundPolicy {
        let target = |caller: &&str| AccessTarget {
            source: ObjectRef {
                kind: "TrafficTarget".into(),
                namespace: "shop".into(),
                name: "web".into(),
                generation: 1,
            },
            sources: vec![SourceMatch::Account(Workload::new("shop", *caller))],
            ports: Vec::new(),
            http: None,
        };
        InboundPolicy {
            access: Some(access),
            targets: callers.iter().map(target).collect(),
            ..InboundPolicy::default()
        }
    }

    fn names(callers: &[Caller]) -> Vec<String> {
        callers.iter().map(ToString::to_string).collect()
    }

    fn change(before: &InboundPolicy, after: &InboundPolicy) -> ReachChange {
        let accounts = ["web", "client", "other"].map(|name| Workload::new("shop", name));
        ReachChange::between(slice::from_ref(before), slice::from_ref(after), &accounts.into())
    }

    #[test]
    fn the_first_target_takes_access_from_everybody_whom_it_does_not_name() {
        let open = policy(AccessMode::Allow, &[]);
        let change = change(&open, &policy(AccessMode::Allow, &["client"]));
        assert_eq!(
            names(&change.lose),
            ["shop/other", "shop/web", "callers without an identity"]
        );
        assert!(change.gain.is_empty());
    }

    #[test]
    fn a_target_in_a_closed_mesh_gives_access_to_those_it_names() {
        let closed = policy(AccessMode::Deny, &[]);
        let change = change(&closed, &policy(AccessMode::Deny, &["client", "elsewhere"]));
        assert_eq!(names(&change.gain), ["shop/client", "shop/elsewhere"]);
        assert!(change.lose.is_empty());
    }

    #[test]
    fn deleting_the_last_target_opens_the_account_to_everybody() {
        let change = change(
            &policy(AccessMode::Allow, &["client"]),
            &policy(AccessMode::Allow, &[]),
        );
        assert_eq!(
            names(&change.gain),
            ["shop/other", "shop/web", "callers without an identity"]
        );
    }

    #[test]
    fn rules_about_requests_narrow_what_a_caller_may_send() {
        let mut limited = policy(AccessMode::Allow, &["client"]);
        limited.targets[0].http = Some(Vec::new());
        let change = change(&policy(AccessMode::Allow, &["client"]), &limited);
        assert_eq!(names(&change.narrow), ["shop/client"]);
    }

    #[test]
    fn where_denials_are_only_logged_nobody_loses_anything() {
        let change = change(
            &policy(AccessMode::Audit, &[]),
            &policy(AccessMode::Audit, &["client"]),
        );
        assert!(change.is_empty());
    }
}
