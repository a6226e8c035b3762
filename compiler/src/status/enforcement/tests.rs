use proptest::prelude::*;

use super::*;
use crate::status::{DesiredStatus, merge, statuses};
use crate::testing::{Cluster, service, split};
use smilax_core::convention::key;

fn desired() -> DesiredStatus {
    let cluster = Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .account("shop", "default", &[])
        .service(service("web"))
        .service(service("web-v1"))
        .split(split("web").backend("web-v1", 1));
    statuses(&mut cluster.index(), "shop").remove(0)
}

fn enforced(enforced: usize, of: usize) -> Enforcement {
    Enforcement {
        enforced,
        of,
        ..Enforcement::default()
    }
}

fn rejected(pods: usize) -> Enforcement {
    let rejection = |number| Rejection {
        pod: format!("shop/web-{number}"),
        reason: "routes: no".to_owned(),
    };
    Enforcement {
        enforced: 1,
        of: 9,
        rejections: (0..pods.min(MOST_NAMED)).map(rejection).collect(),
        more_rejections: pods.saturating_sub(MOST_NAMED),
    }
}

/// What is stored after this was settled.
fn store(stored: &[Stored], enforcement: &Enforcement, knowledge: Knowledge) -> Vec<Stored> {
    let mut status = desired();
    status.settle(enforcement, stored, knowledge);
    merge(stored, &status.conditions, "now").unwrap_or_else(|| stored.to_vec())
}

fn word(stored: &[Stored], kind: &str) -> String {
    let one = stored.iter().find(|one| one.kind == kind).unwrap();
    format!("{}/{}: {}", one.status, one.reason, one.message)
}

fn fresh(enforcement: &Enforcement) -> Vec<Stored> {
    store(&[], enforcement, Knowledge::Complete)
}

#[test]
fn it_is_programmed_when_all_proxies_enforce_it() {
    assert_eq!(
        word(&fresh(&enforced(12, 12)), "Programmed"),
        "True/Programmed: generation 1 enforced by 12/12 proxies"
    );
}

#[test]
fn it_is_pending_as_long_as_one_does_not() {
    let stored = fresh(&enforced(3, 12));
    assert_eq!(
        word(&stored, "Programmed"),
        "Unknown/Pending: generation 1 enforced by 3/12 proxies"
    );
    assert!(word(&stored, "Ready").starts_with("True/Ready"));
}

#[test]
fn a_rejection_names_three_pods_and_makes_it_unready() {
    let stored = fresh(&rejected(5));
    assert_eq!(
        word(&stored, "Programmed"),
        "False/Rejected: generation 1 enforced by 1/9 proxies; rejected by shop/web-0, which says \"routes: no\"; \
         shop/web-1, which says \"routes: no\"; shop/web-2, which says \"routes: no\"; and 2 more"
    );
    assert!(word(&stored, "Ready").starts_with("False/Rejected"));
}

#[test]
fn proxies_that_come_later_do_not_undo_what_was_true() {
    let stored = fresh(&enforced(2, 2));
    let stored = store(&stored, &enforced(2, 3), Knowledge::Complete);
    assert_eq!(
        word(&stored, "Programmed"),
        "True/Programmed: generation 1 enforced by 2/3 proxies"
    );
}

#[test]
fn what_concerned_no_proxy_is_pending_once_it_concerns_some() {
    for knowledge in [Knowledge::Gathering, Knowledge::Complete] {
        let stored = store(&fresh(&enforced(0, 0)), &enforced(0, 2), knowledge);
        assert_eq!(
            word(&stored, "Programmed"),
            "Unknown/Pending: generation 1 enforced by 0/2 proxies"
        );
    }
}

#[test]
fn a_rejection_undoes_what_was_true() {
    let stored = store(&fresh(&enforced(2, 2)), &rejected(1), Knowledge::Complete);
    assert!(word(&stored, "Programmed").starts_with("False/Rejected"));
}

#[test]
fn what_was_true_of_an_earlier_generation_says_nothing_of_this_one() {
    let mut stored = fresh(&enforced(2, 2));
    for one in &mut stored {
        one.observed_generation = Some(0);
    }
    let stored = store(&stored, &enforced(1, 2), Knowledge::Gathering);
    assert!(word(&stored, "Programmed").starts_with("Unknown/Pending"));
}

#[test]
fn after_a_restart_nothing_is_written_until_proxies_have_had_time_to_tell() {
    for before in [enforced(2, 2), enforced(1, 2), rejected(2)] {
        let stored = fresh(&before);
        let mut status = desired();
        status.settle(&enforced(0, 2), &stored, Knowledge::Gathering);
        assert_eq!(merge(&stored, &status.conditions, "later"), None, "{before:?}");
    }
}

#[test]
fn after_a_restart_a_rejection_is_forgotten_as_soon_as_all_enforce_it() {
    let stored = store(&fresh(&rejected(1)), &enforced(2, 2), Knowledge::Gathering);
    assert!(word(&stored, "Programmed").starts_with("True/Programmed"));
    assert!(word(&stored, "Ready").starts_with("True/Ready"));
}

#[test]
fn another_count_is_told_from_another_state() {
    let stored = fresh(&enforced(1, 3));
    let differs = |enforcement: &Enforcement| {
        let mut status = desired();
        status.settle(enforcement, &stored, Knowledge::Complete);
        differs_in_count_only(&stored, &status.conditions)
    };
    assert!(differs(&enforced(2, 3)));
    assert!(!differs(&enforced(1, 3)), "nothing differs");
    assert!(!differs(&enforced(3, 3)), "it has become true");
    assert!(!differs(&rejected(1)));
}

proptest! {
    #[test]
    fn once_all_proxies_enforce_a_generation_it_is_never_unknown_again_while_it_concerns_some(
        steps in prop::collection::vec((0usize..4, 0usize..4, any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut stored = Vec::new();
        let mut was_true = false;
        for (enforced_by, more, rejects, gathering) in steps {
            let mut enforcement = enforced(enforced_by, enforced_by + more);
            if rejects {
                enforcement.of += 1;
                enforcement.rejections = rejected(1).rejections;
            }
            let knowledge = if gathering { Knowledge::Gathering } else { Knowledge::Complete };
            stored = store(&stored, &enforcement, knowledge);
            let programmed = stored.iter().find(|one| one.kind == "Programmed").unwrap();
            prop_assert!(!(was_true && programmed.status == "Unknown" && programmed.reason != "NoProxies"));
            // A rejection ends it, and so does it when no proxy is left: what follows may wait for proxies again.
            was_true = programmed.reason == "Programmed";
            prop_assert_eq!(rejects, rejects && programmed.status == "False");
        }
    }
}
