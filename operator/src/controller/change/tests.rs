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
    let Comparison { changes, .. } = super::map_changes(&stored("broken"), &desired(), None, &mut sequence());
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
