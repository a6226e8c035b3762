mod behind;
mod moves;

use smilax_core::convention::key;

use super::*;
use crate::testing::{Change, Cluster, PodBuilder, apply, endpoint, endpoint_of, pod, service, slice};

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
