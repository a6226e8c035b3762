//! What should be written, decided by comparing what is stored with what was compiled. Pure.

use std::collections::BTreeMap;

use smilax_core::{ProxyConfig, Revision, Workload};

/// A ConfigMap of ours as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMap {
    /// The policy as it stands there; empty when the key is missing.
    pub policy: String,
    /// Anything in it that is not ours: another key, or binary data.
    pub foreign: bool,
    /// Version of the object, so that a write meets only what was compared.
    pub resource_version: String,
}

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
        /// Version that was compared; `None` when it does not exist.
        resource_version: Option<String>,
    },
    /// Remove it: no workload needs it.
    Delete {
        /// Name of the ConfigMap.
        name: String,
        /// Version that was compared.
        resource_version: String,
    },
}

/// The writer's place in the one order of revisions.
#[derive(Debug)]
pub struct Sequence {
    term: u64,
    last: Revision,
}

impl StoredMap {
    /// Revision that it carries, if it can be read.
    pub fn revision(&self) -> Option<Revision> {
        let value: serde_json::Value = serde_json::from_str(&self.policy).ok()?;
        value["revision"].as_str()?.parse().ok()
    }
}

impl Sequence {
    /// Goes on behind everything stored, in the term of this leader.
    pub fn new(term: u64, highest_stored: Revision) -> Self {
        Self {
            term,
            last: highest_stored,
        }
    }

    fn next(&mut self) -> Revision {
        self.last = self.last.next(self.term);
        self.last
    }
}

/// Text of a policy. The same configuration is always the same bytes.
pub fn render(config: &ProxyConfig) -> String {
    // A configuration holds strings, numbers and lists only, so it cannot fail to be written.
    serde_json::to_string(config).unwrap_or_default()
}

/// Writes that lead from what is stored in a namespace to what was compiled for it. Equal content is not written.
pub fn map_changes(
    stored: &BTreeMap<String, StoredMap>,
    desired: &BTreeMap<String, ProxyConfig>,
    sequence: &mut Sequence,
) -> Vec<MapChange> {
    let mut changes = Vec::new();
    for (name, config) in desired {
        let before = stored.get(name);
        let unchanged = before.is_some_and(|before| {
            !before.foreign
                && before.revision().is_some_and(|revision| {
                    render(&ProxyConfig {
                        revision,
                        ..config.clone()
                    }) == before.policy
                })
        });
        if !unchanged {
            let config = ProxyConfig {
                revision: sequence.next(),
                ..config.clone()
            };
            changes.push(MapChange::Apply {
                name: name.clone(),
                workload: config.workload.clone(),
                policy: render(&config),
                resource_version: before.map(|before| before.resource_version.clone()),
            });
        }
    }
    for (name, before) in stored.iter().filter(|(name, _)| !desired.contains_key(*name)) {
        changes.push(MapChange::Delete {
            name: name.clone(),
            resource_version: before.resource_version.clone(),
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let map = StoredMap {
            policy: policy.to_owned(),
            foreign: false,
            resource_version: "7".to_owned(),
        };
        BTreeMap::from([("smilax-web".to_owned(), map)])
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
    fn a_leader_of_an_older_term_still_writes_behind_what_is_stored() {
        let mut sequence = Sequence::new(1, Revision { term: 3, counter: 9 });
        assert_eq!(sequence.next(), Revision { term: 3, counter: 10 });
    }
}
