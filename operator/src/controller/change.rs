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
mod tests {
    use super::super::stored::{Content, StoredPolicy};
    use super::*;

    const BUNDLE: &str = r#"{"generation":7,"roots":"","issuer":""}"#;

    fn config() -> ProxyConfig {
        smilax_core::decode(br#"{"workload":{"namespace":"shop","account":"web"}}"#).unwrap()
    }

    fn sequence() -> Sequence {
        Sequence::new(4, Revision { term: 3, counter: 9 })
    }

    fn desired() -> BTreeMap<String, ProxyConfig> {
        BTreeMap::from([("smilax-web".to_owned(), config())])
    }

    fn stored(policy: &str) -> BTreeMap<String, StoredMap> {
        let content = Content {
            policy: StoredPolicy::in_form(policy),
            bundle: BUNDLE.into(),
            signature: "".into(),
        };
        let map = StoredMap {
            resource_version: "7".to_owned(),
            ..StoredMap::of("web".to_owned(), content)
        };
        BTreeMap::from([("smilax-web".to_owned(), map)])
    }

    fn map_changes(
        stored: &BTreeMap<String, StoredMap>,
        desired: &BTreeMap<String, ProxyConfig>,
        sequence: &mut Sequence,
    ) -> Vec<MapChange> {
        let Comparison {
            changes, too_large, ..
        } = super::map_changes(stored, desired, Some(BUNDLE), sequence);
        assert!(too_large.is_empty());
        changes
    }

    /// A configuration with so many destinations, whose names do not compress well.
    fn large(destinations: u64) -> BTreeMap<String, ProxyConfig> {
        let mut config = config();
        config.destinations = (0..destinations)
            .map(|index| {
                let name = (0..12_u64).fold(String::new(), |name, part| {
                    let mixed = (index * 12 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    format!("{name}{:016x}", mixed ^ mixed >> 29)
                });
                smilax_core::config::Destination {
                    name: smilax_core::DestinationName::new("shop", name),
                    addresses: Vec::new(),
                    accounts: Vec::new(),
                    ports: Vec::new(),
                }
            })
            .collect();
        BTreeMap::from([("smilax-web".to_owned(), config)])
    }

    fn applied(changes: &[MapChange]) -> ProxyConfig {
        match changes {
            [MapChange::Apply { policy, .. }] => smilax_core::decode(policy.as_bytes()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_written_with_a_later_revision_than_anything_stored() {
        let changes = map_changes(&BTreeMap::new(), &desired(), &mut sequence());
        assert_eq!(applied(&changes).revision, Revision { term: 4, counter: 1 });
    }

    #[test]
    fn equal_content_is_not_written_whatever_its_revision() {
        let policy = render(&ProxyConfig {
            revision: Revision { term: 2, counter: 5 },
            ..config()
        });
        assert_eq!(map_changes(&stored(&policy), &desired(), &mut sequence()), []);
    }

    #[test]
    fn what_somebody_edited_truncated_or_emptied_is_put_right() {
        let policy = render(&config());
        for broken in [
            policy.replace("web", "bad"),
            policy[..10].to_owned(),
            String::new(),
            format!("{policy} "),
        ] {
            let changes = map_changes(&stored(&broken), &desired(), &mut sequence());
            assert_eq!(applied(&changes).workload, config().workload, "{broken}");
        }
    }

    #[test]
    fn f15_a_long_policy_is_packed_and_not_written_again() {
        let desired = large(5_000);
        let changes = map_changes(&BTreeMap::new(), &desired, &mut sequence());
        let [MapChange::Apply { policy, form, .. }] = &changes[..] else {
            panic!("{} changes", changes.len())
        };
        assert!(packed::is_long(policy));
        let Form::Packed(bytes) = form else {
            panic!("it is kept as text")
        };
        assert_eq!(packed::unpack(bytes).unwrap(), policy.as_bytes());
        assert_eq!(map_changes(&stored(policy), &desired, &mut sequence()), []);
    }

    #[test]
    fn s2_of_what_cannot_be_kept_something_is_left_out_and_the_rest_is_written_once() {
        let desired = large(20_000);
        let before = stored("broken");
        let Comparison {
            changes, too_large, ..
        } = super::map_changes(&before, &desired, Some(BUNDLE), &mut sequence());
        assert_eq!(too_large[0].1.left_out, super::super::fit::LeftOut::Destinations);
        let [MapChange::Apply { policy, .. }] = &changes[..] else {
            panic!("{} changes", changes.len())
        };
        let again = super::map_changes(&stored(policy), &desired, Some(BUNDLE), &mut sequence());
        assert_eq!(
            (again.changes.len(), again.kept.len(), again.too_large.len()),
            (0, 1, 1)
        );
    }

    #[test]
    fn a_new_bundle_leaves_the_policy_as_it_stands_with_its_revision() {
        let policy = render(&config());
        let next = BUNDLE.replace('7', "8");
        let Comparison { changes, .. } =
            super::map_changes(&stored(&policy), &desired(), Some(&next), &mut sequence());
        let [
            MapChange::Apply {
                policy: written,
                bundle,
                ..
            },
        ] = &changes[..]
        else {
            panic!("{changes:?}")
        };
        assert_eq!((written, bundle), (&policy, &next));
    }

    #[test]
    fn without_a_bundle_the_stored_one_stays() {
        let Comparison { changes, .. } =
            super::map_changes(&stored(&render(&config())), &desired(), None, &mut sequence());
        assert_eq!(changes, []);
        let Comparison { changes, .. } =
            super::map_changes(&stored("broken"), &desired(), None, &mut sequence());
        assert!(matches!(&changes[..], [MapChange::Apply { bundle, .. }] if bundle == BUNDLE));
    }

    #[test]
    fn what_is_stored_as_it_was_compiled_is_known_with_its_revision_whatever_becomes_of_the_bundle() {
        let revision = Revision { term: 2, counter: 5 };
        let policy = render(&ProxyConfig { revision, ..config() });
        for bundle in [BUNDLE.to_owned(), BUNDLE.replace('7', "8")] {
            let compared = super::map_changes(&stored(&policy), &desired(), Some(&bundle), &mut sequence());
            assert_eq!(compared.kept, [(config().workload, revision)]);
        }
        let compared = super::map_changes(&stored("broken"), &desired(), Some(BUNDLE), &mut sequence());
        assert_eq!(compared.kept, []);
    }

    #[test]
    fn a_foreign_key_is_put_right() {
        let mut stored = stored(&render(&config()));
        stored.get_mut("smilax-web").unwrap().foreign = true;
        assert_eq!(map_changes(&stored, &desired(), &mut sequence()).len(), 1);
    }

    #[test]
    fn what_no_workload_needs_is_removed_if_it_is_still_what_was_seen() {
        let changes = map_changes(&stored("x"), &BTreeMap::new(), &mut sequence());
        let expected = MapChange::Delete {
            name: "smilax-web".to_owned(),
            resource_version: "7".to_owned(),
        };
        assert_eq!(changes, [expected]);
    }

    #[test]
    fn s27_what_goes_already_is_not_deleted_again() {
        let mut stored = stored("x");
        stored.get_mut("smilax-web").unwrap().presence = Presence::Ending;
        assert_eq!(map_changes(&stored, &BTreeMap::new(), &mut sequence()), []);
        assert_eq!(map_changes(&stored, &desired(), &mut sequence()).len(), 1);
    }

    #[test]
    fn s27_what_is_not_kept_is_compared_by_its_digest() {
        let mut stored = stored(&render(&config()));
        stored.get_mut("smilax-web").unwrap().content = None;
        assert_eq!(map_changes(&stored, &desired(), &mut sequence()), []);
    }

    #[test]
    fn a_leader_of_an_older_term_still_writes_behind_what_is_stored() {
        let mut sequence = Sequence::new(1, Revision { term: 3, counter: 9 });
        assert_eq!(sequence.next(), Revision { term: 3, counter: 10 });
    }
}
