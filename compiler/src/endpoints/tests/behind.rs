//! What stands behind an address.

use smilax_core::convention::{METRICS_PORT, PROXY_PORTS};

use super::*;
use crate::testing::split;

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
