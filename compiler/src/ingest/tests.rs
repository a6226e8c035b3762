use serde_json::json;
use smilax_core::config::Protocol;

use super::*;

fn service_from(spec: &serde_json::Value) -> Service {
    let object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    service(&serde_json::from_value(object).unwrap())
}

#[test]
fn a_service_is_reached_by_all_its_addresses_and_its_tcp_ports() {
    let found = service_from(&json!({
        "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
        "ports": [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}, {"port": 9000, "appProtocol": "grpc"}],
    }));
    assert_eq!(
        found.addressing,
        Addressing::Virtual(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])
    );
    assert_eq!(
        found.ports,
        BTreeMap::from([(80, Protocol::Http), (9000, Protocol::Http)])
    );
    assert!(found.other_ports.contains(&53));
}

#[test]
fn headless_external_and_new_services_are_told_apart() {
    assert_eq!(
        service_from(&json!({"clusterIP": "None"})).addressing,
        Addressing::Headless
    );
    assert_eq!(
        service_from(&json!({"type": "ExternalName", "externalName": "example.com"})).addressing,
        Addressing::External("example.com".to_owned())
    );
    assert_eq!(service_from(&json!({})).addressing, Addressing::Pending);
}

#[test]
fn an_ended_pod_is_finished() {
    let object = json!({
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"containers": []}, "status": {"phase": "Succeeded"},
    });
    let found = pod(&serde_json::from_value(object).unwrap());
    assert!(found.finished);
    assert_eq!(&*found.account, "default");
}

#[test]
fn both_forms_of_headers_read_the_same() {
    let group = |headers: serde_json::Value| {
        route_group(&json!({"metadata": {}, "spec": {"matches": [{"name": "m", "headers": headers}]}}))
            .matches
    };
    let list = group(json!([{"X-B": "2"}, {"x-a": "1"}]));
    assert_eq!(
        list[0].headers,
        [
            ("x-b".to_owned(), "2".to_owned()),
            ("x-a".to_owned(), "1".to_owned())
        ]
    );
    let mut map = group(json!({"X-B": "2", "x-a": "1"}));
    map[0].headers.reverse();
    assert_eq!(
        list,
        if map[0].headers[0].0 == "x-b" {
            map
        } else {
            map[0].headers.reverse();
            map
        }
    );
}

#[test]
fn matches_at_the_root_count_when_the_specification_has_none() {
    assert_eq!(
        route_group(&json!({"metadata": {}, "matches": [{"name": "m"}]}))
            .matches
            .len(),
        1
    );
    assert_eq!(
        route_group(&json!({"spec": {"matches": []}, "matches": [{"name": "m"}]}))
            .matches
            .len(),
        0
    );
}

#[test]
fn a_pattern_that_is_no_text_never_selects_more_than_was_written() {
    let found = route_group(&json!({"spec": {"matches": [{"pathRegex": 7, "headers": {"x": 7}}]}}));
    assert_eq!(found.matches[0].path_regex.as_deref(), Some("("));
    assert_eq!(found.matches[0].headers[0].1, "(");
}

#[test]
fn headers_and_methods_of_the_wrong_shape_never_select_more_than_was_written() {
    let found = route_group(&json!({"spec": {"matches": [{"methods": "GET", "headers": "x"}]}}));
    assert_eq!(found.matches[0].methods, [""]);
    assert_eq!(found.matches[0].headers[0].1, "(");
}

proptest::proptest! {
    #[test]
    fn weights_of_any_shape_are_read(weight in "\\PC{0,8}") {
        let found = split(&json!({"spec": {"service": 1, "backends": [{"weight": weight}, 3], "matches": "x"}}));
        assert_eq!(found.backends.len(), 2);
    }
}

#[test]
fn the_zone_of_a_node_is_that_of_its_label() {
    let zone = |labels: serde_json::Value| {
        let meta = serde_json::from_value(json!({"labels": labels})).unwrap();
        super::zone(&meta).map(|zone| zone.to_string())
    };
    assert_eq!(
        zone(json!({"topology.kubernetes.io/zone": "a"})),
        Some("a".to_owned())
    );
    assert_eq!(zone(json!({"topology.kubernetes.io/zone": ""})), None);
    assert_eq!(zone(json!({"zone": "a"})), None);
}
