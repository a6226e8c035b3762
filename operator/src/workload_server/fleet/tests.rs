use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use smilax_core::workload_connection::{
    Ack, CertificateInfo, Hello, KeyId, MOST_LEARNED, Outcome, ProxyMessage, Subject,
};
use smilax_core::{ObjectRef, Revision, Workload};

use super::forget::Missed;
use super::said::LONGEST;
use super::*;

fn at(seconds: u64) -> Moment {
    Moment { seconds, millis: 0 }
}

fn revision(counter: u64) -> Revision {
    Revision { term: 1, counter }
}

fn report(bundle: u64, not_after: u64, since: u64) -> Report {
    let hello = Hello {
        pod: "web-1".to_owned(),
        version: "1".to_owned(),
        bundle: Some(bundle),
        certificate: Some(CertificateInfo {
            issuer: KeyId(format!("key {not_after}")),
            not_after,
        }),
        ..Hello::default()
    };
    Report::new(Workload::new("shop", "web"), hello, at(since))
}

fn applied(subject: Subject) -> ProxyMessage {
    ProxyMessage::Ack(Ack {
        subject,
        outcome: Outcome::Applied,
    })
}

fn rejected(subject: Subject) -> ProxyMessage {
    ProxyMessage::Ack(Ack {
        subject,
        outcome: Outcome::Rejected {
            path: "routes".to_owned(),
            reason: "x".repeat(9999),
        },
    })
}

#[test]
fn an_acknowledgement_counts_and_a_rejection_leaves_what_was_in_force() {
    let mut report = report(7, 1, 1);
    report.take(rejected(Subject::Bundle(8)), at(2));
    assert_eq!(report.bundle, Some(7));
    assert_eq!(report.rejected.as_ref().unwrap().1.len(), LONGEST);
    report.take(applied(Subject::Bundle(8)), at(3));
    assert_eq!((report.bundle, &report.rejected), (Some(8), &None));
}

#[test]
fn what_a_proxy_learned_is_what_it_told_last() {
    let split = |name: &str| ObjectRef {
        kind: "TrafficSplit".into(),
        namespace: "shop".into(),
        name: name.into(),
        generation: 1,
    };
    let hello = Hello {
        learned: vec![split("web")],
        ..Hello::default()
    };
    let mut report = Report::new(Workload::new("bank", "teller"), hello, at(1));
    assert_eq!(report.learned, [split("web")]);
    report.take(ProxyMessage::Learned(vec![split("cart"); 300]), at(2));
    assert_eq!(report.learned, vec![split("cart"); MOST_LEARNED]);
    report.take(ProxyMessage::Learned(vec![]), at(3));
    assert_eq!(report.learned, []);
}

#[test]
fn a_rejection_stands_until_a_later_revision_is_in_force() {
    let mut report = report(7, 1, 1);
    report.take(applied(Subject::Revision(revision(1))), at(2));
    report.take(rejected(Subject::Revision(revision(3))), at(3));
    // Its mount brings one that is older than the rejected one, and a new bundle comes.
    report.take(applied(Subject::Revision(revision(2))), at(4));
    report.take(applied(Subject::Bundle(8)), at(4));
    assert_eq!(
        report.rejected_revision().map(|(revision, _)| revision),
        Some(revision(3))
    );
    report.take(applied(Subject::Revision(revision(4))), at(5));
    assert_eq!(report.rejected_revision(), None);
}

#[test]
fn a_rejected_bundle_does_not_hide_a_rejected_configuration() {
    let mut report = report(7, 1, 1);
    report.take(rejected(Subject::Revision(revision(3))), at(2));
    report.take(rejected(Subject::Bundle(8)), at(3));
    assert!(report.rejected_revision().is_some());
}

#[test]
fn it_is_told_since_when_a_revision_is_in_force_or_rejected() {
    let mut report = report(7, 1, 1);
    assert_eq!(
        report.changed, None,
        "who connects has it from before, and does not say since when"
    );
    report.take(applied(Subject::Revision(revision(1))), at(5));
    report.take(applied(Subject::Revision(revision(1))), at(6));
    assert_eq!(report.changed, Some(5));
    report.take(rejected(Subject::Revision(revision(2))), at(7));
    assert_eq!(report.changed, Some(7));
}

#[test]
fn a_pods_new_stream_ends_its_old_one_and_the_old_ones_end_changes_nothing() {
    let store = FleetStore::new();
    let old = store.begin("u", report(1, 1, 1));
    let new = store.begin("u", report(2, 1, 2));
    assert!(old.superseded.is_cancelled() && !new.superseded.is_cancelled());
    drop(old);
    assert_eq!(store.connected().0["u"].bundle, Some(2));
    drop(new);
    assert_eq!(store.connected(), Fleet::default());
    assert_eq!(store.known().0["u"].bundle, Some(2), "what it told is still true");
    store.retain(|_| false);
    assert_eq!(store.known(), Fleet::default());
}

#[test]
fn a_pod_that_the_watch_has_not_told_of_yet_is_not_forgotten_and_one_that_is_gone_is() {
    let store = FleetStore::new();
    store.merge(Fleet(BTreeMap::from([("u".into(), report(1, 1, 1))])));
    let (mut missed, nobody, pods) = (
        Missed::default(),
        BTreeSet::new(),
        BTreeSet::from(["u".to_owned()]),
    );
    missed.look(&store, &nobody);
    assert_eq!(store.len(), 1, "it was heard of before the watch told of it");
    missed.look(&store, &pods);
    missed.look(&store, &nobody);
    assert_eq!(
        store.len(),
        1,
        "it is missed for the first time since it was there"
    );
    missed.look(&store, &nobody);
    assert_eq!(store.len(), 0);
}

#[test]
fn a_rejection_outlives_the_stream_on_which_it_was_told() {
    let store = FleetStore::new();
    let old = store.begin("u", report(1, 1, 1));
    old.take(rejected(Subject::Revision(revision(3))));
    let _new = store.begin("u", report(1, 1, 2));
    assert!(store.known().0["u"].rejected_revision().is_some());
}

#[test]
fn only_what_changed_is_news() {
    let store = FleetStore::new();
    let mut seen = Seen::default();
    let names = |fleet: &Fleet| fleet.0.keys().map(ToString::to_string).collect::<Vec<_>>();
    let one = store.begin("a", report(1, 1, 1));
    let _other = store.begin("b", report(1, 1, 1));
    store.merge(Fleet(BTreeMap::from([("c".into(), report(1, 1, 1))])));
    assert_eq!(names(&store.news(&mut seen.clone())), ["a", "b", "c"]);
    assert_eq!(names(&store.news_of_connected(&mut seen)), ["a", "b"]);
    assert_eq!(store.news(&mut seen), Fleet::default());
    one.take(applied(Subject::Bundle(2)));
    store.merge(Fleet(BTreeMap::from([("c".into(), report(1, 1, 1))])));
    assert_eq!(names(&store.news(&mut seen)), ["a"], "what is known is no news");
}

#[test]
fn what_a_replica_told_last_counts_also_when_all_of_it_happened_in_one_second() {
    let store = FleetStore::new();
    let mut relayed = report(1, 1, 1);
    let tell = |report: &Report| store.merge(Fleet(BTreeMap::from([("u".into(), report.clone())])));
    tell(&relayed);
    relayed.take(rejected(Subject::Revision(revision(3))), at(1));
    tell(&relayed);
    assert!(store.known().0["u"].rejected_revision().is_some());
}

#[test]
fn an_acknowledgement_of_what_this_process_wrote_is_timed_once() {
    let lag = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("lag", "lag")).unwrap();
    let store = FleetStore::timed(lag.clone());
    let place = store.begin("u", report(1, 1, 1));
    place.take(applied(Subject::Revision(revision(1))));
    assert_eq!(lag.get_sample_count(), 0, "somebody else wrote it");
    store.is_written(revision(2));
    place.take(applied(Subject::Revision(revision(2))));
    place.take(applied(Subject::Revision(revision(2))));
    assert_eq!(lag.get_sample_count(), 1);
    let mut elsewhere = report(1, 1, 1);
    elsewhere.take(applied(Subject::Revision(revision(2))), at(2));
    store.merge(Fleet(BTreeMap::from([("v".into(), elsewhere)])));
    assert_eq!(lag.get_sample_count(), 2, "another replica heard it");
}

#[test]
fn a_report_of_a_replica_of_an_older_version_is_understood() {
    let text = json!({
        "workload": {"namespace": "shop", "account": "web"}, "pod": "web-1", "version": "1", "revision": "1.2", "since": 7,
    });
    let report: Report = serde_json::from_value(text).unwrap();
    assert_eq!((report.changed, report.place), (None, Place::default()));
}

#[test]
fn the_page_shows_what_is_wanted_and_who_is_connected_here() {
    let known = Fleet(BTreeMap::from([
        ("u".into(), report(1, 9, 5)),
        ("v".into(), report(1, 9, 5)),
    ]));
    let mut here = known.clone();
    here.0.remove("v");
    let shown = serde_json::to_value(page(known, &here, |_| Some(revision(4)))).unwrap();
    assert_eq!(
        shown["u"],
        json!({
            "workload": {"namespace": "shop", "account": "web"}, "pod": "web-1", "version": "1", "bundle": 1,
            "revision": null, "rejected": null, "certificate": {"issuer": "key 9", "notAfter": 9}, "since": 5,
            "changed": null, "place": {"millis": 0, "heard": 0}, "wanted": "1.4", "connected": true,
        })
    );
    assert_eq!(shown["v"]["connected"], json!(false));
}

/// Something that a proxy did.
fn arbitrary_report() -> impl Strategy<Value = Report> {
    let rejected_one = prop::option::of((0u64..4, any::<bool>()));
    (
        0u64..4,
        0u64..4,
        0u64..3,
        0u64..3,
        prop::option::of(0u64..4),
        rejected_one,
    )
        .prop_map(|(bundle, not_after, since, heard, in_force, refused)| {
            let mut report = report(bundle, not_after, since);
            report.place.heard = heard;
            report.revision = in_force.map(revision);
            report.rejected = refused.map(|(counter, policy)| {
                let subject = if policy {
                    Subject::Revision(revision(counter))
                } else {
                    Subject::Bundle(counter)
                };
                (subject, "no".to_owned())
            });
            report
        })
}

proptest! {
    #[test]
    fn what_replicas_tell_each_other_is_the_same_in_any_order(
        (reports, shuffled) in prop::collection::vec(arbitrary_report(), 1..6)
            .prop_flat_map(|reports| (Just(reports.clone()), Just(reports).prop_shuffle())),
    ) {
        let merged = |reports: &[Report]| {
            let store = FleetStore::new();
            for report in reports {
                store.merge(Fleet(BTreeMap::from([("u".into(), report.clone())])));
            }
            store.known()
        };
        prop_assert_eq!(merged(&reports), merged(&shuffled));
        let highest = reports.iter().map(|report| report.bundle).max().flatten();
        prop_assert_eq!(merged(&reports).0["u"].bundle, highest);
    }
}
