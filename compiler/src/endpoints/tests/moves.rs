//! What a change moves, and that nothing else moves.

use proptest::prelude::*;

use super::*;
use crate::index::{Moved, Settings};
use crate::model::Slice;
use crate::testing::split;

#[test]
fn what_a_change_moves_is_told_and_nothing_else() {
    let mut index = shop()
        .service(service("other").not_ready())
        .add_pod(web_pod("a").at("10.1.0.1"))
        .slice("s", slice("web", [endpoint_of("a", "10.1.0.1")]))
        .index();
    let moved = |index: &mut Index, change: Change| {
        index.take_moved();
        apply(index, change);
        index.take_moved()
    };
    let services = || [("shop".into(), "web".into())].into();
    let endpoint = moved(
        &mut index,
        Change::Slice("s", Some(slice("web", [endpoint_of("a", "10.1.0.9")]))),
    );
    assert_eq!(
        endpoint,
        Moved {
            services: services(),
            ..Moved::default()
        }
    );
    let pod = moved(&mut index, Change::Pod(web_pod("a").injected().at("10.1.0.2").0));
    assert_eq!(pod.services, services());
    let addresses = ["10.1.0.1", "10.1.0.2"].map(|one| one.parse().unwrap());
    assert_eq!(pod.addresses, addresses.into());
    let policy = moved(
        &mut index,
        Change::Split(split("web").backend("other", 1).into_inner()),
    );
    assert_eq!(
        (policy.services, policy.plans),
        ([].into(), ["shop".into()].into())
    );
}

#[test]
fn a_pod_that_gets_its_address_compiles_nothing() {
    let mut index = shop().add_pod(web_pod("a")).index();
    index.take_dirty();
    apply(&mut index, Change::Pod(web_pod("a").at("10.1.0.1").0));
    assert!(index.take_dirty().is_empty());
    index.reset_pods([("shop".into(), "a".into(), web_pod("a").at("10.1.0.2").0)]);
    assert!(index.take_dirty().is_empty());
}

const SLICES: [&str; 3] = ["s0", "s1", "s2"];
const SERVICES: [&str; 2] = ["web", "web-v2"];
const PODS: [&str; 3] = ["a", "b", "c"];

fn any_slice() -> impl Strategy<Value = Option<Slice>> {
    let state = prop_oneof![
        Just(Some(EndpointState::Ready)),
        Just(Some(EndpointState::Draining)),
        Just(None)
    ];
    let any = (0usize..4, 0u8..4, state).prop_map(|(pod, last, state)| {
        let address = format!("10.1.0.{last}");
        let named = PODS
            .get(pod)
            .map_or_else(|| endpoint(&address), |pod| endpoint_of(pod, &address));
        in_state(state, named)
    });
    let slice = (0usize..2, prop::collection::vec(any, 0..4))
        .prop_map(|(service, endpoints)| slice(SERVICES[service], endpoints));
    prop::option::of(slice)
}

fn any_change() -> impl Strategy<Value = Change> {
    let slice = (0usize..3, any_slice()).prop_map(|(name, slice)| Change::Slice(SLICES[name], slice));
    let pods = (0usize..3, 0u8..4, 0u8..6).prop_map(|(name, last, kind)| {
        let pod = web_pod(PODS[name]).at(&format!("10.1.0.{last}"));
        match kind {
            0 => Change::PodGone(PODS[name]),
            1 => Change::Pod(pod.0),
            2 => Change::Pod(pod.injected().0),
            3 => Change::Pod(pod.injected().finished().0),
            5 => Change::Pod(pod.on_host_network().0),
            _ => Change::Pod(pod.injected().account("two").skipping(8080).0),
        }
    });
    let service = (0usize..2, 0u8..3).prop_map(|(name, kind)| {
        let service = service(SERVICES[name]).not_ready();
        let service = match kind {
            0 => service.reached(Reach::Node),
            1 => service.headless(),
            _ => service.selecting("app", "web"),
        };
        Change::Service(service.into_inner(), false)
    });
    let modes = any::<bool>().prop_map(|strict| {
        let mode = if strict { "strict" } else { "permissive" };
        let cluster = Cluster::new().namespace("shop", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, mode)]);
        cluster.changes[0].clone()
    });
    prop_oneof![4 => slice, 4 => pods, 1 => service, 1 => modes]
}

/// Everything that could be asked.
fn asked(index: &mut Index) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for name in SERVICES {
        let of = DestinationPortName {
            destination: DestinationName::new("shop", name),
            port: 80,
        };
        all.insert(name.to_owned(), format!("{:?}", endpoints(index, &of)));
    }
    for last in 0..4 {
        let address: SocketAddr = format!("10.1.0.{last}:8080").parse().unwrap();
        let behind = [address, SocketAddr::new(address.ip(), 80)].map(|one| found(index, one));
        all.insert(address.ip().to_string(), format!("{behind:?}"));
    }
    all
}

proptest! {
    #[test]
    fn endpoints_follow_from_what_there_is_now_in_whatever_order_it_came(
        history in prop::collection::vec(any_change(), 0..12), last in prop::collection::vec(any_change(), 0..12),
        seed in any::<u64>(),
    ) {
        // Of every object only its last state counts.
        let key = |change: &Change| match change {
            Change::Slice(name, _) | Change::PodGone(name) => format!("{name} of shop"),
            Change::Pod(pod) => format!("{} of shop", pod.meta.name),
            Change::Service(service, _) => format!("service {}", service.meta.name),
            _ => "modes".to_owned(),
        };
        let last: BTreeMap<String, Change> = last.into_iter().map(|change| (key(&change), change)).collect();
        let mut straight = Index::new(Settings::default());
        for change in history.iter().filter(|change| !last.contains_key(&key(change))) {
            apply(&mut straight, change.clone());
        }
        for change in last.values() {
            apply(&mut straight, change.clone());
        }
        let mut mixed = Index::new(Settings::default());
        for change in history {
            apply(&mut mixed, change);
        }
        let mut order: Vec<&Change> = last.values().collect();
        let count = order.len().max(1);
        order.rotate_left(usize::try_from(seed % 97).unwrap() % count);
        if seed % 2 == 0 {
            order.reverse();
        }
        for change in order {
            apply(&mut mixed, change.clone());
        }
        prop_assert_eq!(asked(&mut straight), asked(&mut mixed));
    }

    #[test]
    fn what_changed_for_somebody_is_among_what_moved(changes in prop::collection::vec(any_change(), 1..20)) {
        let mut index = Index::new(Settings::default());
        for change in changes {
            let before = asked(&mut index);
            index.take_moved();
            apply(&mut index, change);
            let after = asked(&mut index);
            let moved = index.take_moved();
            for (what, now) in &after {
                if before.get(what) == Some(now) {
                    continue;
                }
                let told = moved.modes.contains("shop")
                    || moved.services.contains(&("shop".into(), what.as_str().into()))
                    || what.parse().is_ok_and(|address: IpAddr| moved.addresses.contains(&address));
                prop_assert!(told, "{what} changed and {moved:?} does not name it");
            }
        }
    }

    #[test]
    fn a_relist_leads_to_the_same_as_the_events_that_were_lost(
        before in prop::collection::vec(any_slice(), 3), after in prop::collection::vec(any_slice(), 3),
    ) {
        let with = |slices: &[Option<Slice>]| {
            let mut index = shop().add_pod(web_pod("a")).add_pod(web_pod("b").injected()).index();
            for (name, slice) in SLICES.iter().zip(slices) {
                apply(&mut index, Change::Slice(name, slice.clone()));
            }
            index
        };
        let mut relisted = with(&before);
        let all = SLICES.iter().zip(&after).filter_map(|(name, slice)| {
            Some(("shop".into(), (*name).into(), slice.clone()?))
        });
        relisted.reset_slices(all.collect::<Vec<_>>());
        prop_assert_eq!(asked(&mut with(&after)), asked(&mut relisted));
    }
}
