use proptest::prelude::*;
use smilax_core::convention::{METRICS_PORT, PROXY_PORTS, key};

use super::*;
use crate::index::{Moved, Settings};
use crate::model::Slice;
use crate::testing::{Change, Cluster, PodBuilder, apply, endpoint, endpoint_of, pod, service, slice, split};

fn web() -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new("shop", "web"),
        port: 80,
    }
}

/// One that the Service selects.
fn web_pod(name: &str) -> PodBuilder {
    pod(name).label("app", "web")
}

fn shop() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .service(service("web").not_ready().selecting("app", "web"))
}

fn strict() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, "strict")])
        .service(service("web").not_ready().selecting("app", "web"))
}

/// Address, account (`-` for plaintext) and state of each.
fn told(cluster: &Cluster) -> Option<Vec<String>> {
    let found = endpoints(&cluster.index(), &web())?;
    let line = |one: &Endpoint| {
        let workload = one
            .workload
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string);
        format!("{} {workload} {:?}", one.address, one.state)
    };
    Some(found.iter().map(line).collect())
}

fn in_state(state: Option<EndpointState>, endpoint: SliceEndpoint) -> SliceEndpoint {
    SliceEndpoint { state, ..endpoint }
}

#[test]
fn endpoints_are_the_pods_of_every_slice_in_order_with_the_accounts_of_those_that_have_a_proxy() {
    let cluster = shop()
        .add_pod(web_pod("a").account("one").injected())
        .add_pod(web_pod("b").account("two"))
        .slice("s1", slice("web", [endpoint_of("b", "10.1.0.2")]))
        .slice("s2", slice("web", [endpoint_of("a", "10.1.0.1")]))
        .slice("s3", slice("web-v2", [endpoint_of("a", "10.1.0.3")]));
    assert_eq!(
        told(&cluster).unwrap(),
        ["10.1.0.1:8080 shop/one Ready", "10.1.0.2:8080 - Ready"]
    );
}

#[test]
fn what_is_written_into_a_slice_and_is_no_pod_of_the_service_must_prove_to_be_one() {
    let with = |cluster: Cluster| {
        cluster
            .add_pod(pod("impostor").account("impostor").injected())
            .slice(
                "s",
                slice("web", [endpoint("10.1.0.8"), endpoint_of("impostor", "10.1.0.9")]),
            )
    };
    let proving = ["10.1.0.8:8080 shop/one Ready", "10.1.0.9:8080 shop/one Ready"];
    let rightful = web_pod("a").account("one").injected();
    assert_eq!(told(&with(shop().add_pod(rightful))).unwrap(), proving);
    let rightful = web_pod("a").account("one").injected();
    assert_eq!(told(&with(strict().add_pod(rightful))).unwrap(), proving);
    assert!(
        told(&with(strict())).unwrap().is_empty(),
        "where plaintext is refused and nobody could prove it, nobody is there"
    );
}

#[test]
fn in_a_strict_namespace_pods_without_a_sidecar_are_not_told_of_as_they_could_not_prove_who_they_are() {
    let cluster = strict()
        .add_pod(web_pod("a").account("one"))
        .add_pod(web_pod("b").account("two").on_host_network())
        .add_pod(web_pod("c").account("three").injected())
        .slice(
            "s",
            slice(
                "web",
                [
                    endpoint_of("a", "10.1.0.1"),
                    endpoint_of("b", "10.1.0.2"),
                    endpoint_of("c", "10.1.0.3"),
                ],
            ),
        );
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.3:8080 shop/three Ready"]);
}

#[test]
fn a_port_that_a_proxy_leaves_alone_is_plaintext() {
    let cluster = strict()
        .add_pod(web_pod("a").injected().skipping(8080))
        .slice("s", slice("web", [endpoint_of("a", "10.1.0.1")]));
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 - Ready"]);
}

#[test]
fn a_pod_that_is_not_known_yet_is_not_told_of_as_nobody_knows_whether_plaintext_may_go_there() {
    let cluster = shop().add_pod(web_pod("known").injected()).slice(
        "s",
        slice(
            "web",
            [("known", "10.1.0.1"), ("a", "10.1.0.2")].map(|(pod, at)| endpoint_of(pod, at)),
        ),
    );
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 shop/web Ready"]);
    let cluster = cluster.add_pod(web_pod("a").injected());
    assert_eq!(told(&cluster).unwrap().len(), 2);
}

#[test]
fn while_no_pod_of_a_service_is_known_its_virtual_address_is_used() {
    for cluster in [shop(), strict()] {
        let cluster = cluster.slice("s", slice("web", [endpoint_of("a", "10.1.0.1")]));
        assert_eq!(
            told(&cluster),
            None,
            "a rollout of which only the slices are known"
        );
        let not_ready = in_state(None, endpoint_of("a", "10.1.0.1"));
        let cluster = cluster.slice("s", slice("web", [not_ready]));
        assert_eq!(told(&cluster).unwrap(), [""; 0], "nothing serves");
    }
}

#[test]
fn an_endpoint_that_is_no_pod_is_plaintext_and_in_a_strict_namespace_nothing() {
    let by_hand = || slice("web", [endpoint("10.1.0.1")]);
    assert_eq!(
        told(&shop().slice("s", by_hand())).unwrap(),
        ["10.1.0.1:8080 - Ready"]
    );
    assert_eq!(told(&strict().slice("s", by_hand())).unwrap(), [""; 0]);
}

/// A strict namespace whose pods may loosen that.
fn relaxed(cluster: Cluster) -> Cluster {
    cluster.namespace(
        "shop",
        &[(key::INJECT, "enabled")],
        &[(key::TLS_MODE, "strict"), (key::ALLOW_RELAX, "true")],
    )
}

fn by_hand() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, "strict")])
        .service(service("web").not_ready())
}

#[test]
fn endpoints_made_by_hand_that_are_no_pods_are_plaintext() {
    let cluster = by_hand().slice("s", slice("web", [endpoint("192.0.2.7")]));
    assert_eq!(told(&cluster).unwrap(), ["192.0.2.7:8080 - Ready"]);
}

#[test]
fn endpoints_made_by_hand_must_prove_to_be_the_pods_that_have_their_addresses() {
    let cluster = by_hand()
        .add_pod(pod("a").account("one").injected().at("10.1.0.1"))
        .add_pod(pod("b").of("other").account("two").injected().at("10.1.0.2"))
        .add_pod(pod("c").of("other").at("10.1.0.3"))
        .add_pod(pod("d").injected().skipping(8080).at("10.1.0.4"))
        .slice(
            "s",
            slice(
                "web",
                ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"].map(endpoint),
            ),
        );
    assert_eq!(
        told(&cluster).unwrap(),
        [
            "10.1.0.1:8080 shop/one Ready",
            "10.1.0.2:8080 other/two Ready",
            "10.1.0.3:8080 - Ready",
            "10.1.0.4:8080 - Ready",
        ]
    );
}

#[test]
fn a_service_without_selector_whose_endpoints_kube_proxy_picks_is_told_of() {
    let told = |service: crate::testing::ServiceBuilder| {
        let cluster = by_hand().service(service.not_ready());
        let told = plaintext_only(&cluster.index(), "shop");
        told.into_iter().map(|one| one.message).collect::<Vec<_>>()
    };
    let message = told(service("web").reached(Reach::Same)).join("");
    assert!(
        message.starts_with("Service web has no selector and spec.sessionAffinity: ClientIP"),
        "{message}"
    );
    assert_eq!(told(service("web").reached(Reach::Node)).len(), 1);
    assert_eq!(told(service("web")), [""; 0]);
    assert_eq!(
        told(service("web").reached(Reach::Same).selecting("app", "web")),
        [""; 0]
    );
}

#[test]
fn a_pod_without_a_sidecar_in_a_strict_namespace_is_not_called_through_endpoints_made_by_hand_either() {
    let cluster = by_hand()
        .add_pod(pod("a").at("10.1.0.1"))
        .add_pod(pod("b").skipping(8080).at("10.1.0.2"))
        .slice("s", slice("web", ["10.1.0.1", "10.1.0.2"].map(endpoint)));
    assert!(told(&cluster).unwrap().is_empty());
    assert_eq!(told(&relaxed(cluster)).unwrap(), ["10.1.0.2:8080 - Ready"]);
}

#[test]
fn when_the_namespace_of_a_pod_becomes_strict_the_endpoints_made_by_hand_at_its_address_move() {
    let mut index = shop()
        .add_pod(pod("a").at("10.1.0.1"))
        .service(service("web").not_ready())
        .slice("s", slice("web", [endpoint("10.1.0.1")]))
        .index();
    index.take_moved();
    let strict = strict().changes[0].clone();
    apply(&mut index, strict);
    let services = index.take_moved().services;
    assert!(services.contains(&("shop".into(), "web".into())), "{services:?}");
}

#[test]
fn a_headless_service_without_selector_has_the_pods_at_its_addresses() {
    let cluster = Cluster::new()
        .service(service("web").not_ready().headless())
        .add_pod(pod("a").account("one").injected().at("10.1.0.1"))
        .slice("s", slice("web", [endpoint("10.1.0.1")]));
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 shop/one Ready"]);
}

#[test]
fn a_slice_that_names_another_pod_than_has_the_address_is_not_believed() {
    let named = |address: &str| {
        by_hand()
            .add_pod(pod("a").account("one").injected().at("10.1.0.1"))
            .add_pod(pod("plain").at("10.1.0.2"))
            .slice("s", slice("web", [endpoint_of("plain", address)]))
    };
    assert_eq!(
        told(&named("10.1.0.1")).unwrap(),
        ["10.1.0.1:8080 shop/one Ready"],
        "no plaintext to a pod with a proxy"
    );
    assert_eq!(
        told(&named("10.1.0.9")).unwrap(),
        [""; 0],
        "where no pod is, the named one is not"
    );
}

#[test]
fn an_endpoint_made_by_hand_that_names_a_pod_which_is_not_known_yet_is_not_told_of() {
    let cluster = by_hand().slice("s", slice("web", [endpoint_of("a", "10.1.0.1")]));
    assert_eq!(told(&cluster).unwrap(), [""; 0]);
}

#[test]
fn a_pod_that_ends_keeps_its_address_and_its_identity_until_it_is_gone() {
    let ending = || pod("a").account("one").injected().finished().at("10.1.0.1");
    let cluster = by_hand()
        .add_pod(ending())
        .slice("s", slice("web", [endpoint("10.1.0.1")]));
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 shop/one Draining"]);
    let cluster = cluster.add_pod(pod("b").account("two").injected().at("10.1.0.1"));
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 shop/two Ready"]);
}

#[test]
fn a_pod_on_its_nodes_network_behind_endpoints_made_by_hand_is_plaintext() {
    let cluster = by_hand()
        .add_pod(pod("a").on_host_network().at("10.9.0.1"))
        .slice("s", slice("web", [endpoint_of("a", "10.9.0.1")]));
    assert_eq!(told(&cluster).unwrap(), ["10.9.0.1:8080 - Ready"]);
}

#[test]
fn a_pod_of_another_namespace_that_changes_moves_the_endpoints_made_by_hand_at_its_address() {
    let mut index = by_hand().slice("s", slice("web", [endpoint("10.1.0.1")])).index();
    index.take_moved();
    apply(
        &mut index,
        Change::Pod(pod("a").of("other").injected().at("10.1.0.1").0),
    );
    assert!(
        index
            .take_moved()
            .services
            .contains(&("shop".into(), "web".into()))
    );
}

#[test]
fn who_ends_is_draining_as_soon_as_its_pod_or_its_slice_says_so_and_who_serves_no_longer_is_gone() {
    let draining = Some(EndpointState::Draining);
    let cluster = shop()
        .add_pod(web_pod("a").finished())
        .add_pod(web_pod("b"))
        .add_pod(web_pod("c"))
        .slice(
            "s",
            slice(
                "web",
                [
                    endpoint_of("a", "10.1.0.1"),
                    in_state(draining, endpoint_of("b", "10.1.0.2")),
                    in_state(None, endpoint_of("c", "10.1.0.3")),
                ],
            ),
        );
    assert_eq!(
        told(&cluster).unwrap(),
        ["10.1.0.1:8080 - Draining", "10.1.0.2:8080 - Draining"]
    );
}

#[test]
fn an_endpoint_in_two_slices_is_one_and_the_better_of_the_two() {
    let draining = in_state(Some(EndpointState::Draining), endpoint_of("a", "10.1.0.1"));
    let cluster = shop()
        .add_pod(web_pod("a"))
        .slice("s1", slice("web", [draining]))
        .slice("s2", slice("web", [endpoint_of("a", "10.1.0.1")]));
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:8080 - Ready"]);
}

#[test]
fn a_pod_with_an_address_of_each_family_is_one_endpoint_of_the_services_first_family() {
    let cluster = |addresses: &[&str]| {
        Cluster::new()
            .service(service("web").not_ready().at(addresses).selecting("app", "web"))
            .add_pod(web_pod("a"))
            .slice("four", slice("web", [endpoint_of("a", "10.1.0.1")]))
            .slice("six", slice("web", [endpoint_of("a", "fd00::1")]))
    };
    assert_eq!(
        told(&cluster(&["10.0.0.9", "fd01::9"])).unwrap(),
        ["10.1.0.1:8080 - Ready"]
    );
    assert_eq!(
        told(&cluster(&["fd01::9", "10.0.0.9"])).unwrap(),
        ["[fd00::1]:8080 - Ready"]
    );
}

#[test]
fn a_port_is_joined_by_its_name() {
    let mut named = slice("web", [endpoint_of("a", "10.1.0.1")]);
    named.ports[0].name = "admin".into();
    let cluster = shop().add_pod(web_pod("a")).slice("s", named);
    assert_eq!(told(&cluster).unwrap(), [""; 0]);
}

#[test]
fn the_virtual_address_is_used_where_endpoints_do_not_tell_where_requests_go() {
    let with = |service| {
        Cluster::new()
            .service(service)
            .slice("s", slice("web", [endpoint("10.1.0.1")]))
    };
    assert_eq!(told(&with(service("web").external("example.com"))), None);
    assert_eq!(told(&with(service("web").reached(Reach::Same))), None);
    assert_eq!(told(&with(service("web").reached(Reach::Node))), None);
    assert_eq!(told(&with(service("other"))), None);
    assert!(told(&with(service("web").headless())).is_some());
    let index = with(service("web")).index();
    let other_port = DestinationPortName { port: 81, ..web() };
    assert_eq!(endpoints(&index, &other_port), None);
}

#[test]
fn behind_a_services_address_is_its_destination_with_routes_and_its_backends_without() {
    let mut index = Cluster::new()
        .service(service("web").at(&["10.0.0.1"]))
        .service(service("web-v1").at(&["10.0.0.2"]))
        .service(service("other").at(&["10.0.0.3"]))
        .split(split("web").backend("web-v1", 1))
        .split(split("web-v1").backend("web", 1))
        .index();
    let Found::Destinations(all) = found(&mut index, "10.0.0.1:80".parse().unwrap()) else {
        panic!("it is a Service's")
    };
    let names: Vec<_> = all.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["shop/web", "shop/web-v1"]);
    let routes: Vec<_> = all.iter().map(|one| one.ports[0].routes.len()).collect();
    assert_eq!(routes, [1, 0]);
    let mapped = found(&mut index, "[::ffff:10.0.0.1]:80".parse().unwrap());
    assert_eq!(mapped, Found::Destinations(all));
    for nothing in ["10.0.0.1:81", "10.0.0.9:80"] {
        assert_eq!(found(&mut index, nothing.parse().unwrap()), Found::Nothing);
    }
}

#[test]
fn behind_a_pods_address_is_the_pod_where_its_proxy_answers() {
    let mut index = Cluster::new()
        .add_pod(
            web_pod("a")
                .account("one")
                .injected()
                .skipping(9090)
                .at("10.1.0.1"),
        )
        .add_pod(web_pod("plain").at("10.1.0.2"))
        .add_pod(web_pod("host").injected().on_host_network().at("10.1.0.3"))
        .add_pod(web_pod("ended").injected().finished().at("10.1.0.4"))
        .index();
    let mut at = |address: &str| found(&mut index, address.parse().unwrap());
    let expected = Found::Pod {
        workload: Workload::new("shop", "one").into(),
        protocol: Protocol::Detect,
        sidecar: Sidecar::Present,
    };
    assert_eq!(at("10.1.0.1:8080"), expected);
    for nothing in ["10.1.0.1:9090", "10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80"] {
        assert_eq!(at(nothing), Found::Nothing, "{nothing}");
    }
}

#[test]
fn the_ports_of_a_sidecar_itself_are_plaintext_in_every_mode() {
    let closed = Cluster::new().namespace(
        "shop",
        &[(key::INJECT, "enabled")],
        &[(key::TLS_MODE, "strict"), (key::ACCESS_MODE, "deny")],
    );
    for cluster in [shop(), strict(), closed] {
        let mut index = cluster.add_pod(web_pod("a").injected().at("10.1.0.1")).index();
        for port in PROXY_PORTS {
            let address = SocketAddr::new("10.1.0.1".parse().unwrap(), port);
            assert_eq!(found(&mut index, address), Found::Nothing, "{port}");
        }
    }
}

#[test]
fn a_pod_without_a_sidecar_has_no_ports_of_a_sidecar() {
    let mut index = strict().add_pod(web_pod("plain").at("10.1.0.1")).index();
    let at = found(&mut index, "10.1.0.1:15020".parse().unwrap());
    assert!(
        matches!(
            at,
            Found::Pod {
                sidecar: Sidecar::Absent,
                ..
            }
        ),
        "{at:?}"
    );
}

#[test]
fn endpoints_on_the_metrics_port_of_sidecars_are_plaintext() {
    let mut of_metrics = slice("web", [endpoint_of("a", "10.1.0.1")]);
    of_metrics.ports[0].number = METRICS_PORT;
    let cluster = strict().add_pod(web_pod("a").injected()).slice("s", of_metrics);
    assert_eq!(told(&cluster).unwrap(), ["10.1.0.1:15020 - Ready"]);
}

#[test]
fn behind_the_address_of_a_strict_pod_without_a_sidecar_is_that_it_has_none() {
    let mut host = web_pod("host").on_host_network().at("10.9.0.1");
    host.0.host_ports = vec![9100];
    let mut index = strict()
        .add_pod(web_pod("plain").account("one").at("10.1.0.1"))
        .add_pod(host)
        .add_pod(
            web_pod("skips")
                .account("one")
                .injected()
                .skipping(8080)
                .at("10.1.0.2"),
        )
        .index();
    let mut at = |address: &str| found(&mut index, address.parse().unwrap());
    let is_absent = |found: Found| {
        matches!(
            found,
            Found::Pod {
                sidecar: Sidecar::Absent,
                ..
            }
        )
    };
    assert!(is_absent(at("10.1.0.1:8080")));
    assert!(is_absent(at("10.9.0.1:9100")), "a port that it declares");
    assert!(is_absent(at("10.9.0.1:80")), "a port that a Service leads to");
    for nothing in ["10.9.0.1:10250", "10.1.0.2:8080"] {
        assert_eq!(at(nothing), Found::Nothing, "{nothing}");
    }
}

#[test]
fn when_a_namespace_becomes_strict_the_addresses_of_its_pods_are_told_anew() {
    let mut index = shop()
        .add_pod(web_pod("plain").at("10.1.0.1"))
        .add_pod(web_pod("host").on_host_network().at("10.9.0.1"))
        .index();
    index.take_moved();
    let strict = strict().changes[0].clone();
    apply(&mut index, strict);
    let addresses = ["10.1.0.1", "10.9.0.1"].map(|one| one.parse().unwrap());
    assert_eq!(index.take_moved().addresses, addresses.into());
}

#[test]
fn pods_of_a_strict_namespace_that_a_service_leads_to_and_that_have_no_sidecar_cannot_be_called() {
    let with_pods = |cluster: Cluster| {
        cluster
            .add_pod(web_pod("host").on_host_network())
            .add_pod(web_pod("plain"))
            .add_pod(web_pod("skips").skipping(80))
            .add_pod(web_pod("injected").injected())
            .add_pod(web_pod("ended").finished())
            .add_pod(pod("alone"))
            .index()
    };
    let names = |index: &Index| -> Vec<String> {
        uncallable(index, "shop")
            .map(|pod| pod.meta.name.to_string())
            .collect()
    };
    assert_eq!(names(&with_pods(relaxed(strict()))), ["host", "plain"]);
    assert_eq!(names(&with_pods(shop())), [""; 0]);
}

#[test]
fn s31_a_pod_cannot_be_made_one_that_is_called_in_plaintext_where_pods_must_not_loosen_that() {
    let with = |pod| {
        strict()
            .add_pod(pod)
            .slice("s", slice("web", [endpoint_of("a", "10.1.0.1")]))
    };
    let asking = with(web_pod("a").at("10.1.0.1").skipping(8080));
    assert!(told(&asking).unwrap().is_empty());
    assert_eq!(told(&relaxed(asking)).unwrap(), ["10.1.0.1:8080 - Ready"]);
}

#[test]
fn in_a_permissive_namespace_nothing_is_behind_the_address_of_a_pod_without_a_sidecar() {
    let mut index = shop().add_pod(web_pod("plain").at("10.1.0.1")).index();
    assert_eq!(
        found(&mut index, "10.1.0.1:8080".parse().unwrap()),
        Found::Nothing
    );
}

#[test]
fn behind_a_pods_address_is_spoken_what_the_services_say_that_lead_there() {
    let spoken = |cluster: Cluster, port: u16| {
        let pod = web_pod("a").injected().named_port("db", 5432).at("10.1.0.1");
        let address = SocketAddr::new("10.1.0.1".parse().unwrap(), port);
        match found(&mut cluster.add_pod(pod).index(), address) {
            Found::Pod { protocol, .. } => protocol,
            other => panic!("{other:?}"),
        }
    };
    let web = || service("web").selecting("app", "web");
    let tcp = || web().protocol(70, Protocol::Tcp).leading_to(70, "db");
    assert_eq!(spoken(Cluster::new().service(web()), 80), Protocol::Http);
    assert_eq!(spoken(Cluster::new().service(web()), 81), Protocol::Detect);
    assert_eq!(spoken(Cluster::new().service(tcp()), 5432), Protocol::Tcp);
    assert_eq!(
        spoken(Cluster::new().service(service("web")), 80),
        Protocol::Detect
    );
    let other = service("other")
        .selecting("app", "web")
        .protocol(80, Protocol::Tcp);
    assert_eq!(
        spoken(Cluster::new().service(web()).service(other), 80),
        Protocol::Detect
    );
}

#[test]
fn an_address_that_a_pod_left_to_another_is_the_others() {
    let mut index = Cluster::new()
        .add_pod(web_pod("old").account("one").injected().at("10.1.0.1"))
        .add_pod(web_pod("new").account("two").injected().at("10.1.0.1"))
        .add_pod(web_pod("old").account("one").injected().finished().at("10.1.0.1"))
        .index();
    let expected = Found::Pod {
        workload: Workload::new("shop", "two").into(),
        protocol: Protocol::Detect,
        sidecar: Sidecar::Present,
    };
    assert_eq!(found(&mut index, "10.1.0.1:80".parse().unwrap()), expected);
}

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
