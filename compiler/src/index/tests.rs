use proptest::prelude::*;
use smilax_core::Workload;
use smilax_core::config::Protocol;
use smilax_core::convention::key;

use super::*;
use crate::compile::compile;
use crate::testing::{Change, Cluster, apply, binding, endpoint, group, pod, service, slice, split, target};

/// A cluster in which most things refer to each other, rightly or wrongly.
fn tangle(weights: &[i64]) -> Vec<Change> {
    let mut cluster = Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .account("shop", "default", &[])
        .injected_pod("shop", "a", "default")
        .group(group("ab").path("one", "/a").path("bad", "("))
        .tcp_route("any", &[])
        .tcp_route("some", &[81, 0])
        .udp_route("dns")
        .binding(binding("bank", "tellers", "app", "teller"))
        .binding(binding("shop", "front", "app", "web"))
        .account("bank", "teller", &[])
        .namespace("bank", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, "strict")])
        .add_pod(
            pod("t")
                .of("bank")
                .account("teller")
                .label("app", "teller")
                .injected(),
        )
        .service(service("till").of("bank").selecting("app", "teller"))
        .target(
            target("open", "default")
                .source("IdentityBinding", Some("bank"), "tellers")
                .from("bank", "gone")
                .matches("HTTPRouteGroup", "ab", &["one", "three"])
                .rule("TCPRoute", "some"),
        )
        .target(
            target("labels", "x")
                .about("IdentityBinding", "front")
                .from("bank", "teller")
                .rule("UDPRoute", "dns")
                .rule("TCPRoute", "any"),
        )
        .target(
            target("till", "teller")
                .of("bank")
                .from("shop", "default")
                .rules(crate::model::Rules::Everything),
        );
    for name in ["web", "web-v1", "db"] {
        cluster = cluster.service(service(name).protocol(81, Protocol::Tcp));
    }
    for (index, &weight) in weights.iter().enumerate() {
        let root = ["web", "db", "gone"][index % 3];
        let mut one = split(root)
            .named(&format!("s{index}"))
            .created(i64::try_from(index % 2).unwrap());
        one = one
            .backend("web-v1", weight)
            .backend("web", 1)
            .backend("missing", 2);
        if index % 4 == 3 {
            one = one.matching("ab").matching("gone");
        }
        cluster = cluster.split(one);
    }
    cluster.changes
}

fn apply_all(index: &mut Index, changes: &[Change]) {
    for change in changes {
        apply(index, change.clone());
    }
}

fn outcome(index: &mut Index) -> (Vec<String>, Vec<crate::status::DesiredStatus>) {
    let configs = [("shop", "default"), ("bank", "teller")].map(|(namespace, account)| {
        let (config, _) = compile(index, &Workload::new(namespace, account));
        serde_json::to_string(&config).unwrap()
    });
    let mut statuses = crate::status::statuses(index, "shop");
    statuses.extend(crate::status::statuses(index, "bank"));
    (configs.into(), statuses)
}

/// What a writer knows that compiles only what is marked.
fn incremental(index: &mut Index, known: &mut std::collections::BTreeMap<Name, (Vec<String>, String)>) {
    let mut looked_at = index.take_dirty();
    looked_at.append(&mut index.take_held_elsewhere());
    for namespace in looked_at {
        let workloads = crate::compile::workloads(index, &namespace);
        let configs = workloads
            .iter()
            .map(|workload| serde_json::to_string(&compile(index, workload).0).unwrap())
            .collect();
        let statuses = format!("{:?}", crate::status::statuses(index, &namespace));
        known.insert(namespace, (configs, statuses));
    }
}

fn shuffled(changes: &[Change], seed: u64) -> Vec<Change> {
    let mut keyed: Vec<(u64, &Change)> = changes
        .iter()
        .enumerate()
        .map(|(place, change)| ((place as u64 + 1).wrapping_mul(seed | 1).rotate_left(17), change))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, change)| change.clone()).collect()
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_events_compiles_to_the_same_bytes(
        weights in proptest::collection::vec(-1i64..100, 0..6), seed: u64, again in 0usize..8,
    ) {
        let changes = tangle(&weights);
        let mut straight = Index::new(Settings::default());
        apply_all(&mut straight, &changes);
        let mut mixed = Index::new(Settings::default());
        for change in shuffled(&changes, seed) {
            // Looking in between must not change what comes out in the end.
            if again % 2 == 0 {
                outcome(&mut mixed);
            }
            apply(&mut mixed, change);
        }
        let repeated: Vec<Change> = shuffled(&changes, seed.rotate_left(9)).into_iter().take(again).collect();
        apply_all(&mut mixed, &repeated);
        prop_assert_eq!(outcome(&mut straight), outcome(&mut mixed));
    }

    #[test]
    fn what_is_marked_is_enough_to_look_at(
        weights in proptest::collection::vec(-1i64..100, 0..4), seed: u64, looks in 1usize..5,
    ) {
        let changes = shuffled(&tangle(&weights), seed);
        let mut index = Index::new(Settings::default());
        let mut known = std::collections::BTreeMap::new();
        for (place, change) in changes.iter().enumerate() {
            apply(&mut index, change.clone());
            if place % looks == 0 {
                incremental(&mut index, &mut known);
            }
        }
        incremental(&mut index, &mut known);
        let mut straight = Index::new(Settings::default());
        apply_all(&mut straight, &changes);
        let mut fresh = std::collections::BTreeMap::new();
        incremental(&mut straight, &mut fresh);
        prop_assert_eq!(known, fresh);
    }

    #[test]
    fn workloads_whose_members_changed_are_among_those_that_moved(seed: u64, weights in Just(vec![1i64])) {
        let workloads = [Workload::new("shop", "default"), Workload::new("shop", "x"), Workload::new("bank", "teller")];
        let mut index = Index::new(Settings::default());
        let changes = tangle(&weights);
        for change in shuffled(&changes, seed).into_iter().chain(shuffled(&changes, seed.rotate_left(7))) {
            let before = workloads.each_ref().map(|workload| crate::members(&mut index, workload));
            index.take_moved();
            apply(&mut index, change);
            let moved = index.take_moved().members;
            let after = workloads.each_ref().map(|workload| crate::members(&mut index, workload));
            for ((workload, before), after) in workloads.iter().zip(before).zip(after) {
                prop_assert!(before == after || moved.contains(&workload.namespace), "{workload}: {before:?} {after:?}");
            }
        }
    }

    #[test]
    fn a_relist_leads_to_the_same_as_the_events_that_were_lost(
        before in proptest::collection::vec(0i64..9, 0..5), after in proptest::collection::vec(0i64..9, 0..5),
    ) {
        let splits = |weights: &[i64]| -> Vec<Split> {
            tangle(weights).into_iter().filter_map(|change| match change { Change::Split(one) => Some(one), _ => None }).collect()
        };
        let mut fresh = Index::new(Settings::default());
        apply_all(&mut fresh, &tangle(&after));
        let mut relisted = Index::new(Settings::default());
        apply_all(&mut relisted, &tangle(&before));
        outcome(&mut relisted);
        relisted.reset_splits(splits(&after).into_iter().map(|one| (one.meta.namespace.clone(), one.meta.name.clone(), one)));
        prop_assert_eq!(outcome(&mut fresh), outcome(&mut relisted));
    }
}

#[test]
fn equal_content_marks_nothing() {
    let changes = tangle(&[1, 2, 3]);
    let mut index = Index::new(Settings::default());
    changes
        .iter()
        .cloned()
        .for_each(|change| apply(&mut index, change));
    index.take_dirty();
    apply_all(&mut index, &changes);
    assert!(index.take_dirty().is_empty());
}

#[test]
fn pods_that_come_and_go_mark_nothing_while_one_stays_ready() {
    let mut index = Index::new(Settings::default());
    let with = |addresses: &[&str]| Some(slice("web", addresses.iter().map(|one| endpoint(one))));
    let (a, b) = (Name::from("a"), Name::from("b"));
    index.set_slice("shop", &a, with(&["10.1.0.1"]));
    index.take_dirty();
    index.set_slice("shop", &a, with(&["10.1.0.2", "10.1.0.3"]));
    index.set_slice("shop", &b, with(&["10.1.0.4"]));
    index.set_slice("shop", &a, None);
    assert!(index.take_dirty().is_empty());
    index.set_slice("shop", &b, with(&[]));
    assert!(!index.take_dirty().is_empty());
}

#[test]
fn a_service_whose_name_begins_like_anothers_is_not_taken_for_it() {
    let mut index = Index::new(Settings::default());
    index.set_slice("shop", &"a".into(), Some(slice("web-v2", [endpoint("10.1.0.1")])));
    assert!(!index.is_ready("shop", "web"));
    assert!(index.is_ready("shop", "web-v2"));
}
