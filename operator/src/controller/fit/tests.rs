use serde_json::{Value, json};

use super::*;

/// Text that does not compress.
fn noise(seed: u64, length: usize) -> String {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        text.push(char::from(33 + u8::try_from(random % 90).unwrap()));
    }
    text.replace(['"', '\\'], "x")
}

/// A destination whose one route takes so many bytes.
fn destination(name: &str, route: usize) -> Value {
    let source =
        json!({"kind": "TrafficSplit", "namespace": name.split('/').next(), "name": name, "generation": 1});
    let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
    let matches = json!([{"name": "m", "path": noise(seed, route)}]);
    json!({"name": name, "ports": [{"port": 80, "routes": [
        {"source": source, "matches": matches, "backends": [{"destination": name, "weight": 1}]},
    ]}]})
}

fn target(size: usize) -> Value {
    let source = json!({"kind": "TrafficTarget", "namespace": "shop", "name": "t", "generation": 1});
    json!({"source": source, "sources": [{"account": {"namespace": "shop", "account": "client"}}],
        "http": [{"name": "m", "path": noise(3, size)}]})
}

fn config(destinations: &[Value], target: &Value) -> ProxyConfig {
    let policy = json!({
        "workload": {"namespace": "shop", "account": "web"},
        "destinations": destinations, "inbound": [{"access": "allow", "targets": [target]}],
    });
    smilax_core::decode(policy.to_string().as_bytes()).unwrap()
}

const SMALL: usize = 1000;
const HALF: usize = MOST_STORED * 7 / 10;
const ALL: usize = 2 * MOST_STORED;

fn names(config: &ProxyConfig) -> Vec<(String, usize)> {
    let destinations = config.destinations.iter();
    destinations
        .map(|one| (one.name.to_string(), one.ports[0].routes.len()))
        .collect()
}

fn can_be_kept(fitted: &Fitted) {
    assert!(kept(&fitted.config).is_ok());
}

/// Destinations that take so many bytes without any route.
fn secured(namespace: &str, size: usize) -> Value {
    let account = |number: usize| json!({"namespace": namespace, "account": noise(number as u64, 100)});
    let accounts: Vec<Value> = (0..size / 100).map(account).collect();
    json!({"name": format!("{namespace}/many"), "accounts": accounts, "ports": [{"port": 80}]})
}

#[test]
fn s2_the_routes_of_the_largest_import_are_left_out_and_how_it_is_secured_stays() {
    let all = [
        destination("shop/web", HALF),
        destination("bank/web", SMALL),
        destination("thief/web", HALF),
    ];
    let config = config(&all, &target(SMALL));
    let fitted = fit(&config);
    can_be_kept(&fitted);
    assert_eq!(fitted.left_out, LeftOut::ImportedRoutes(["thief".into()].into()));
    let expected = [("shop/web", 1), ("bank/web", 1), ("thief/web", 0)];
    assert_eq!(
        names(&fitted.config),
        expected.map(|(name, routes)| (name.to_owned(), routes))
    );
    assert_eq!(fitted.config.inbound, config.inbound);
    assert_eq!(
        fitted.objects,
        [].into(),
        "others are not at fault that somebody imports too much"
    );
}

#[test]
fn s2_imports_that_are_large_without_their_routes_take_no_room_of_own_routes() {
    let all = [
        destination("shop/web", HALF),
        destination("bank/web", SMALL),
        secured("thief", ALL),
    ];
    let config = config(&all, &target(SMALL));
    let fitted = fit(&config);
    can_be_kept(&fitted);
    assert_eq!(fitted.left_out, LeftOut::Imports(["thief".into()].into()));
    assert_eq!(
        names(&fitted.config),
        [("shop/web".to_owned(), 1), ("bank/web".to_owned(), 0)]
    );
}

#[test]
fn s2_own_routes_are_left_out_after_every_import_and_the_policy_stays() {
    let all = [
        destination("shop/large", HALF),
        destination("shop/also", HALF - SMALL),
        destination("shop/small", SMALL),
        destination("bank/web", SMALL),
    ];
    let config = config(&all, &target(SMALL));
    let fitted = fit(&config);
    can_be_kept(&fitted);
    assert_eq!(fitted.left_out, LeftOut::Routes);
    let expected = [("shop/large", 0), ("shop/also", 1), ("shop/small", 1)];
    assert_eq!(
        names(&fitted.config),
        expected.map(|(name, routes)| (name.to_owned(), routes))
    );
    assert_eq!(fitted.config.inbound, config.inbound);
}

#[test]
fn s2_a_policy_that_leaves_no_room_is_written_alone() {
    let without = |name: &str| json!({"name": name, "ports": []});
    let destinations: Vec<Value> = (0..3000)
        .map(|number| without(&format!("shop/{}", noise(number, 60).replace('/', "x"))))
        .collect();
    let config = config(&destinations, &target(MOST_STORED * 11 / 10));
    let fitted = fit(&config);
    can_be_kept(&fitted);
    assert_eq!(fitted.left_out, LeftOut::Destinations);
    assert_eq!(fitted.config.inbound, config.inbound);
}

#[test]
fn s2_a_policy_that_cannot_be_expressed_refuses_everybody() {
    let config = config(&[destination("shop/web", SMALL)], &target(ALL));
    let fitted = fit(&config);
    can_be_kept(&fitted);
    assert_eq!(fitted.left_out, LeftOut::Policy);
    assert_eq!(fitted.config.inbound.len(), 1);
    assert_eq!(fitted.config.inbound[0].access, Some(AccessMode::Deny));
    assert!(fitted.config.inbound[0].targets.is_empty());
    assert_eq!(fitted.config.requires, config.requires);
}
