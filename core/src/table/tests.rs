use super::*;
use crate::config::{HttpMatch, WeightedBackend};

struct Get<'a>(&'a str);

impl RequestView for Get<'_> {
    fn method(&self) -> &'static str {
        "GET"
    }
    fn path(&self) -> &str {
        self.0
    }
    fn header(&self, _: &str) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

fn destination(name: &str, address: Option<&str>, routes: Vec<RouteConfig>) -> Destination {
    Destination {
        name: name.parse().unwrap(),
        addresses: address
            .map(|address| address.parse().unwrap())
            .into_iter()
            .collect(),
        accounts: vec![],
        ports: vec![DestinationPort {
            routes,
            ..DestinationPort::plaintext(80, Protocol::Http)
        }],
    }
}

fn route(path: Option<&str>, backend: &str, weight: u32) -> RouteConfig {
    RouteConfig {
        source: ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
        },
        matches: path
            .map(|path| HttpMatch {
                path: Some(path.to_owned()),
                ..HttpMatch::default()
            })
            .into_iter()
            .collect(),
        groups: vec![],
        backends: vec![WeightedBackend {
            destination: backend.parse().unwrap(),
            weight,
        }],
    }
}

fn config(destinations: Vec<Destination>) -> ProxyConfig {
    ProxyConfig {
        revision: Revision { term: 1, counter: 1 },
        destinations,
        ..ProxyConfig::empty(Workload::new("shop", "client"))
    }
}

fn lower(config: &ProxyConfig) -> Result<RouteTable, LowerError> {
    RouteTable::lower(config, &PodView::default())
}

fn target<'a>(table: &'a RouteTable, path: &'a str) -> &'a str {
    let port = table.port("10.0.0.1:80".parse().unwrap()).unwrap();
    match port.select(&Get(path)) {
        Selection::Own(_) => "own",
        Selection::Route(route) => &route.backends[0].destination.name,
        Selection::AmbiguousPath(_) => "refused",
    }
}

#[test]
fn the_first_route_that_matches_decides_and_the_rest_goes_to_the_destination_itself() {
    let routes = vec![
        route(Some("^/a"), "shop/v1", 1),
        route(Some("^/a/b|^/c"), "shop/v2", 1),
    ];
    let table = lower(&config(vec![
        destination("shop/web", Some("10.0.0.1"), routes),
        destination("shop/v1", Some("10.0.0.2"), vec![]),
        destination("shop/v2", Some("10.0.0.3"), vec![]),
    ]))
    .unwrap();
    assert_eq!(target(&table, "/a/b"), "v1");
    assert_eq!(target(&table, "/c"), "v2");
    assert_eq!(target(&table, "/d"), "own");
}

#[test]
fn an_ambiguous_path_is_refused_only_where_a_rule_reads_paths() {
    let lowered = |path| {
        lower(&config(vec![
            destination("shop/web", Some("10.0.0.1"), vec![route(path, "shop/v1", 1)]),
            destination("shop/v1", Some("10.0.0.2"), vec![]),
        ]))
        .unwrap()
    };
    assert_eq!(target(&lowered(Some("^/a")), "/a/../b"), "refused");
    assert_eq!(target(&lowered(None), "/a/../b"), "v1");
}

#[test]
fn a_route_with_matches_never_selects_a_connection() {
    let table = lower(&config(vec![
        destination(
            "shop/web",
            Some("10.0.0.1"),
            vec![route(Some("^/"), "shop/v1", 1)],
        ),
        destination("shop/v1", Some("10.0.0.2"), vec![]),
    ]))
    .unwrap();
    let port = table.port("10.0.0.1:80".parse().unwrap()).unwrap();
    assert!(matches!(port.select_connection(), Selection::Own(_)));
}

#[test]
fn a_headless_destination_is_found_by_host_and_port() {
    let table = lower(&config(vec![destination("shop/db", None, vec![])])).unwrap();
    assert!(table.has_headless_port(80) && !table.has_headless_port(81));
    assert!(table.headless("db.shop.svc", 80).is_some());
    assert!(table.headless("db-0.db.shop.svc", 80).is_none());
    assert!(table.headless("db", 81).is_none());
}

#[test]
fn what_cannot_be_honoured_is_refused_with_the_path_of_the_field() {
    let broken = |routes| {
        lower(&config(vec![destination("shop/web", Some("10.0.0.1"), routes)]))
            .unwrap_err()
            .path
    };
    assert_eq!(
        broken(vec![route(None, "shop/web", 0)]),
        "destinations[0].ports[0].routes[0].backends"
    );
    assert_eq!(
        broken(vec![route(None, "shop/gone", 1)]),
        "destinations[0].ports[0].routes[0].backends[0].destination"
    );
    assert_eq!(
        broken(vec![route(Some("("), "shop/web", 1)]),
        "destinations[0].ports[0].routes[0].matches[0].path"
    );
}

#[test]
fn a_backend_is_reached_over_the_family_that_the_caller_used() {
    let mut dual = destination("shop/web", Some("10.0.0.1"), vec![]);
    dual.addresses.push("fd00::1".parse().unwrap());
    let table = lower(&config(vec![dual])).unwrap();
    let own = &table.port("[fd00::1]:80".parse().unwrap()).unwrap().own;
    assert_eq!(
        own.address("fd00::9".parse().unwrap()),
        Some("[fd00::1]:80".parse().unwrap())
    );
    assert_eq!(
        own.address("10.9.9.9".parse().unwrap()),
        Some("10.0.0.1:80".parse().unwrap())
    );
}

#[test]
fn what_was_found_is_there_with_its_routes_and_the_configuration_counts_more() {
    let own = config(vec![
        destination("shop/web", Some("10.0.0.1"), vec![]),
        destination("shop/v1", Some("10.0.0.2"), vec![]),
    ]);
    let found = [
        vec![
            destination("bank/web", Some("10.0.0.8"), vec![route(None, "shop/v1", 1)]),
            destination("shop/v1", Some("10.0.0.9"), vec![]),
        ],
        vec![destination(
            "shop/web",
            Some("10.0.0.7"),
            vec![route(None, "shop/v1", 1)],
        )],
        vec![destination("bank/thief", Some("10.0.0.1"), vec![])],
        vec![destination(
            "bank/broken",
            Some("10.0.0.6"),
            vec![route(Some("("), "bank/broken", 1)],
        )],
    ];
    let table = RouteTable::lower_with(
        &own,
        &PodView::default(),
        found.iter().map(Vec::as_slice),
        &mut Compiled::default(),
    )
    .unwrap();
    let at = |address: &str| table.port(format!("{address}:80").parse().unwrap());
    let web = at("10.0.0.8").unwrap();
    assert_eq!(web.origin, Origin::Lookup);
    assert_eq!(
        &*web.routes[0].backends[0].addresses,
        ["10.0.0.2".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(at("10.0.0.1").unwrap().own.destination.to_string(), "shop/web");
    assert_eq!(at("10.0.0.1").unwrap().origin, Origin::Configuration);
    assert!(at("10.0.0.1").unwrap().routes.is_empty());
    assert!(at("10.0.0.7").is_none());
    assert!(
        at("10.0.0.6").unwrap().routes.is_empty(),
        "its routes alone cannot be used"
    );
}

/// An expression that counts for more than 128 KiB, each another.
fn heavy(number: usize) -> String {
    format!("^x{number:03}.*(?:a|b).{{40}}")
}

/// A destination whose routes count for about so many times 128 KiB.
fn heavy_destination(name: &str, address: &str, times: usize) -> Destination {
    let routes = (0..times)
        .map(|number| {
            let pattern = format!("{}{name}", heavy(number));
            route(Some(&pattern), name, 1)
        })
        .collect();
    destination(name, Some(address), routes)
}

#[test]
fn s1_a_configuration_that_the_proxy_cannot_hold_is_refused_whole() {
    let error = lower(&config(vec![heavy_destination("shop/web", "10.0.0.1", 100)])).unwrap_err();
    assert!(
        error.path.starts_with("destinations[0].ports[0].routes["),
        "{error}"
    );
    assert!(error.reason.contains("count for more than"), "{error}");
    assert!(lower(&config(vec![heavy_destination("shop/web", "10.0.0.1", 40)])).is_ok());
}

#[test]
fn s1_routes_that_were_found_and_are_too_many_leave_those_of_others_alone() {
    let own = config(vec![destination("shop/web", Some("10.0.0.1"), vec![])]);
    let found = [
        vec![heavy_destination("bank/web", "10.0.0.2", 40)],
        vec![destination("till/web", Some("10.0.0.3"), vec![])],
    ];
    let found = found.iter().map(Vec::as_slice);
    let table = RouteTable::lower_with(&own, &PodView::default(), found, &mut Compiled::default()).unwrap();
    let at = |address: &str| table.port(format!("{address}:80").parse().unwrap()).unwrap();
    assert!(at("10.0.0.2").routes.is_empty());
    assert_eq!(at("10.0.0.3").own.destination.to_string(), "till/web");
}

#[test]
fn what_two_lookups_found_is_there_once_and_as_the_one_that_asked_for_it_was_told() {
    let own = config(vec![]);
    let found = [
        vec![
            destination("bank/web", Some("10.0.0.8"), vec![route(None, "bank/v1", 1)]),
            destination("bank/v1", Some("10.0.0.9"), vec![]),
        ],
        vec![destination(
            "bank/v1",
            Some("10.0.0.9"),
            vec![route(None, "bank/v1", 1)],
        )],
        vec![destination("bank/v1", Some("10.0.0.9"), vec![])],
    ];
    let table = RouteTable::lower_with(
        &own,
        &PodView::default(),
        found.iter().map(Vec::as_slice),
        &mut Compiled::default(),
    )
    .unwrap();
    let v1 = table.port("10.0.0.9:80".parse().unwrap()).unwrap();
    assert_eq!(v1.routes.len(), 1);
    assert_eq!(table.route_count(), 2);
}
