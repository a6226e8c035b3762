//! What should be written, decided by comparing what is stored with what was compiled. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use smilax_core::packed::{self, Form, TooLarge};
use smilax_core::signature::Digest;
use smilax_core::{ProxyConfig, Revision, Workload};

use super::fit::{Fitted, fit};
use super::stored::{Presence, Standing, StoredMap};

/// A write of one ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapChange {
    /// Create it or put it right.
    Apply {
        /// Name of the ConfigMap.
        name: String,
        /// Whose it is.
        workload: Workload,
        /// Text of the policy, with its revision.
        policy: String,
        /// Text of the trust bundle; empty for none.
        bundle: String,
        /// How it is kept.
        form: Form,
        /// Version that was compared; `None` when it does not exist.
        resource_version: Option<String>,
        /// Revision of what was compiled; `None` when the policy stays as it stands.
        revision: Option<Revision>,
    },
    /// Remove it: no workload needs it.
    Delete {
        /// Name of the ConfigMap.
        name: String,
        /// Version that was compared.
        resource_version: String,
    },
}

/// Revisions above this are not believed of what nobody signed: whoever writes there must not exhaust the numbers, and a
/// term must fit into a Lease (`leaseTransitions`, 32 bits).
const BELIEVABLE: Revision = Revision {
    term: 1 << 30,
    counter: 1 << 62,
};

/// Whether a revision that nobody signed may be one of ours.
pub fn is_believable(revision: Revision) -> bool {
    revision.term <= BELIEVABLE.term && revision.counter <= BELIEVABLE.counter
}

/// The writer's place in the one order of revisions.
#[derive(Debug)]
pub struct Sequence {
    term: u64,
    last: Revision,
}

impl Sequence {
    /// Goes on behind everything stored, in the term of this leader.
    pub fn new(term: u64, highest_stored: Revision) -> Self {
        Self {
            term,
            last: highest_stored,
        }
    }

    /// Goes on behind this one too.
    pub fn raise(&mut self, seen: Revision) {
        self.last = self.last.max(seen);
    }

    /// Goes on behind a revision that nobody signed, so that proxies which take unsigned configurations take ours after it.
    fn raise_above_unsigned(&mut self, seen: Revision) {
        if is_believable(seen) {
            self.raise(seen);
        }
    }

    /// What [`Self::next`] gives.
    fn peek(&self) -> Revision {
        self.last.next(self.term)
    }

    fn next(&mut self) -> Revision {
        self.last = self.peek();
        self.last
    }
}

/// Text of a policy or a bundle. The same content is always the same bytes.
pub fn render(content: &impl Serialize) -> String {
    // Both hold strings, numbers and lists only, so they cannot fail to be written.
    serde_json::to_string(content).unwrap_or_default()
}

/// How what is stored in a namespace compares with what was compiled for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is to be written.
    pub changes: Vec<MapChange>,
    /// Workloads whose policy is stored as it was compiled, with its revision.
    pub kept: Vec<(Workload, Revision)>,
    /// ConfigMaps that somebody else wrote, with what is wrong with them.
    pub tampered: Vec<(Workload, String)>,
    /// Workloads whose configuration was too large to be kept, and what there is instead.
    pub too_large: Vec<(TooLarge, Fitted)>,
}

/// Writes that lead from what is stored in a namespace to what was compiled for it. Equal content is not written, and
/// of a configuration that is too large to be kept something is left out ([`fit()`]).
///
/// What stands there counts only as far as its signature holds: anything else is written again under a later revision.
///
/// Policy and bundle are compared each for itself: a change of one leaves the other as it stands there, with its
/// revision. Without a bundle, one that is stored stays.
pub fn map_changes(
    stored: &BTreeMap<String, StoredMap>,
    desired: &BTreeMap<String, ProxyConfig>,
    bundle: Option<&str>,
    sequence: &mut Sequence,
) -> Comparison {
    let mut compared = Comparison::default();
    for (name, config) in desired {
        let before = stored.get(name);
        let bundle = bundle.unwrap_or_else(|| before.map_or("", StoredMap::bundle));
        let unproven = before.filter(|before| !before.standing.holds());
        if let Some(revision) = unproven.and_then(|before| before.revision) {
            sequence.raise_above_unsigned(revision);
        }
        let drafted = Draft::of(config, before, sequence).or_else(|error| {
            let fitted = fit(config);
            let drafted = Draft::of(&fitted.config, before, sequence);
            compared.too_large.push((error, fitted));
            drafted
        });
        if let Some(before) = unproven {
            let stands = drafted.as_ref().is_ok_and(|draft| draft.stored.is_some());
            let stripped = before.standing == Standing::Unsigned && !stands;
            let tampering = before
                .tampering(&config.workload)
                .or_else(|| stripped.then(|| before.stripped(&config.workload)));
            let tampering = tampering.map(|tampering| (config.workload.clone(), tampering));
            compared.tampered.extend(tampering);
        }
        // What is fitted can be kept, whatever its revision.
        let Ok(draft) = drafted else { continue };
        let kept = draft.kept(before);
        compared
            .kept
            .extend(kept.map(|revision| (config.workload.clone(), revision)));
        let signed = before.is_some_and(|before| before.standing != Standing::Earlier);
        let same_bundle = before.is_some_and(|before| before.bundle_digest == Digest::of(bundle.as_bytes()));
        if kept.is_some() && same_bundle && signed {
            continue;
        }
        let revision = kept.is_none().then(|| sequence.next());
        compared.changes.push(MapChange::Apply {
            name: name.clone(),
            workload: config.workload.clone(),
            policy: draft.policy,
            bundle: bundle.to_owned(),
            form: draft.form,
            resource_version: before.map(|before| before.resource_version.clone()),
            revision,
        });
    }
    // One that goes already is not deleted again, however long somebody holds it.
    let surplus =
        |name: &str, before: &StoredMap| before.presence == Presence::There && !desired.contains_key(name);
    for (name, before) in stored.iter().filter(|(name, before)| surplus(name, before)) {
        compared.changes.push(MapChange::Delete {
            name: name.clone(),
            resource_version: before.resource_version.clone(),
        });
    }
    compared
}

/// A configuration as text.
struct Draft {
    policy: String,
    form: Form,
    /// The revision under which exactly this is stored.
    stored: Option<Revision>,
}

impl Draft {
    /// In the revision that is stored, where that may stay; otherwise in the next one.
    fn of(config: &ProxyConfig, before: Option<&StoredMap>, sequence: &Sequence) -> Result<Self, TooLarge> {
        let text = |revision| {
            render(&ProxyConfig {
                revision,
                ..config.clone()
            })
        };
        let Some((before, revision)) = before.and_then(|before| Some((before, before.revision?))) else {
            return Self::of_text(text(sequence.peek()));
        };
        let drafted = Self::of_text(text(revision));
        let is_stored = |draft: &Self| draft.digest() == before.policy_digest;
        let stored = drafted.as_ref().is_ok_and(is_stored).then_some(revision);
        if let (Some(_), true) = (stored, before.may_stay()) {
            return drafted.map(|draft| Self { stored, ..draft });
        }
        Self::of_text(text(sequence.peek())).map(|draft| Self { stored, ..draft })
    }

    fn of_text(policy: String) -> Result<Self, TooLarge> {
        Ok(Self {
            form: packed::form(&policy)?,
            policy,
            stored: None,
        })
    }

    /// Of what would be stored.
    fn digest(&self) -> Digest {
        match &self.form {
            Form::Plain => Digest::of(self.policy.as_bytes()),
            Form::Packed(bytes) => Digest::of(bytes),
        }
    }

    /// The revision that stays. What somebody else wrote is never signed.
    fn kept(&self, before: Option<&StoredMap>) -> Option<Revision> {
        self.stored.filter(|_| before.is_some_and(StoredMap::may_stay))
    }
}

#[cfg(test)]
mod tests;
