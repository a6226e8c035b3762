use serde_json::json;

use super::*;

const NOW: u64 = 1_000_000;

fn config() -> Bytes {
    let split = json!({"kind": "TrafficSplit", "namespace": "shop", "name": "web", "generation": 4});
    let target = json!({"kind": "TrafficTarget", "namespace": "shop", "name": "readers", "generation": 1});
    let config = json!({
        "revision": "2.7",
        "workload": {"namespace": "shop", "account": "client"},
        "destinations": [{
            "name": "shop/web",
            "addresses": ["10.0.0.1"],
            "accounts": [{"namespace": "shop", "account": "web"}],
            "ports": [{
                "port": 80, "protocol": "http", "security": "mutualTls",
                "routes": [
                    {"source": split, "matches": [{"name": "beta", "path": "^(?:/beta)", "headers": [{"name": "x-user", "value": "^(?:jo)$"}]}],
                     "backends": [{"destination": "shop/web-v2", "weight": 1}]},
                    {"source": split, "backends": [{"destination": "shop/web-v1", "weight": 9}, {"destination": "shop/web-v2", "weight": 1}]},
                ],
            }],
        }],
        "inbound": [{"access": "deny", "targets": [{
            "source": target,
            "sources": [{"account": {"namespace": "bank", "account": "teller"}}],
            "http": [{"name": "read", "path": "^(?:/read)", "methods": ["GET"]}],
        }]}],
    });
    config.to_string().into()
}

fn endpoints() -> Bytes {
    json!([
        {"destination": "shop/web-v1", "port": 80, "endpoints": [
            {"address": "10.1.0.1:8080", "workload": {"namespace": "shop", "account": "web"}, "zone": "a"},
            {"address": "10.1.0.2:8080", "state": "draining"},
        ]},
        {"destination": "shop/web-v2", "port": 80, "endpoints": []},
    ])
    .to_string()
    .into()
}

fn certificates() -> Bytes {
    json!({
        "certificate": {
            "identity": "spiffe://cluster.local/ns/shop/sa/client", "podUid": "u-1",
            "notBefore": NOW - 10, "notAfter": NOW + 80_000, "issuer": "abc",
        },
        "bundle": {"generation": 3, "trustDomain": "cluster.local", "roots": ["r1", "r2"], "issuer": "abc", "refused": null},
        "operatorConnected": true,
    })
    .to_string()
    .into()
}

fn told(body: &Bytes) -> Told {
    Told {
        body: json_of(body).unwrap(),
        addresses: json!([]),
    }
}

/// A Service of another namespace, which the proxy learned when its pod called it.
fn learned() -> Value {
    let split = json!({"kind": "TrafficSplit", "namespace": "bank", "name": "web", "generation": 2});
    let web = json!({
        "name": "bank/web", "addresses": ["10.0.9.1"], "accounts": [],
        "ports": [{"port": 80, "protocol": "http", "routes": [
            {"source": split, "backends": [{"destination": "bank/web-v1", "weight": 1}]},
        ]}],
    });
    let own = json!({"name": "shop/web", "addresses": ["10.0.0.1"], "accounts": [], "ports": []});
    json!([
        {"address": "10.0.9.1:80", "found": "destination", "destinations": [web, own]},
        {"address": "10.0.9.7:5432", "found": "nothing"},
    ])
}

#[test]
fn routes_and_destinations_that_were_looked_up_are_shown_beside_those_of_the_configuration() {
    let all = Told {
        addresses: learned(),
        ..told(&config())
    };
    insta::assert_snapshot!(shown(Part::Routes, &all, View::usual(NOW)).unwrap(), @r#"
    DESTINATION   PORT   OBJECT                  GENERATION   REQUESTS                                   BACKENDS                       FROM
    shop/web      80     TrafficSplit/shop/web   4            any method ^(?:/beta) [x-user: ^(?:jo)$]   shop/web-v2 1                  configuration
    shop/web      80     TrafficSplit/shop/web   4            all                                        shop/web-v1 9, shop/web-v2 1   configuration
    bank/web      80     TrafficSplit/bank/web   2            all                                        bank/web-v1 1                  lookup of 10.0.9.1:80
    "#);
    insta::assert_snapshot!(shown(Part::Destinations, &all, View::usual(NOW)).unwrap(), @r#"
    DESTINATION   PORT   PROTOCOL   ADDRESSES   ROUTES   SECURITY                   FROM
    shop/web      80     http       10.0.0.1    2        mutual TLS with shop/web   configuration
    bank/web      80     http       10.0.9.1    1        plaintext                  lookup of 10.0.9.1:80
    "#);
    assert_eq!(all.for_programs()["learned"], learned());
}

#[test]
fn programs_read_times_in_rfc_3339() {
    let all = told(&certificates()).for_programs();
    assert_eq!(all["certificate"]["notAfter"], "1970-01-13T12:00:00Z");
}

#[test]
fn routes_name_the_object_and_the_generation_that_they_come_from() {
    insta::assert_snapshot!(shown(Part::Routes, &told(&config()), View::usual(NOW)).unwrap(), @r#"
    DESTINATION   PORT   OBJECT                  GENERATION   REQUESTS                                   BACKENDS                       FROM
    shop/web      80     TrafficSplit/shop/web   4            any method ^(?:/beta) [x-user: ^(?:jo)$]   shop/web-v2 1                  configuration
    shop/web      80     TrafficSplit/shop/web   4            all                                        shop/web-v1 9, shop/web-v2 1   configuration
    "#);
}

#[test]
fn destinations_say_how_they_are_secured() {
    insta::assert_snapshot!(shown(Part::Destinations, &told(&config()), View::usual(NOW)).unwrap(), @r#"
    DESTINATION   PORT   PROTOCOL   ADDRESSES   ROUTES   SECURITY                   FROM
    shop/web      80     http       10.0.0.1    2        mutual TLS with shop/web   configuration
    "#);
}

#[test]
fn access_says_who_may_send_what() {
    insta::assert_snapshot!(shown(Part::Access, &told(&config()), View::usual(NOW)).unwrap(), @r#"
    WHAT                BY                           RULE
    calls to its pods   TrafficTarget/shop/readers   bank/teller may send GET ^(?:/read)
    calls to its pods   access mode                  deny
    "#);
}

#[test]
fn endpoints_are_listed_and_a_port_without_any_says_so() {
    insta::assert_snapshot!(shown(Part::Endpoints, &told(&endpoints()), View::usual(NOW)).unwrap(), @r#"
    DESTINATION   PORT   ADDRESS         STATE      SECURITY                   ZONE
    shop/web-v1   80     10.1.0.1:8080   Ready      mutual TLS with shop/web   a
    shop/web-v1   80     10.1.0.2:8080   Draining   plaintext                  -
    shop/web-v2   80     none            -          -                          -
    "#);
}

#[test]
fn certificates_say_whom_the_proxy_is_and_whom_it_trusts() {
    insta::assert_snapshot!(shown(Part::Certificates, &told(&certificates()), View::usual(NOW)).unwrap(), @r#"
    identity:             spiffe://cluster.local/ns/shop/sa/client
    pod:                  u-1
    expires:              in 22h
    signed by key:        abc
    trust domain:         cluster.local
    bundle:               3
    trusts key:           r1
    trusts key:           r2
    operator:             connected
    "#);
}

#[test]
fn the_summary_holds_even_when_the_proxy_lacks_a_part() {
    let read = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap();
    let all = json!({
        "status": {
            "revision": "2.7", "appliedAt": NOW - 90,
            "rejection": {"reason": "malformed", "message": "configuration is malformed at destinations[0]: no", "at": NOW - 5},
        },
        "config": read(&config()),
        "certificates": read(&certificates()),
        "endpoints": {"error": "404 Not Found"},
    });
    insta::assert_snapshot!(view::summary(&all, View::usual(NOW)), @r#"
    revision:             2.7, applied 90s ago
    refuses the newest:   configuration is malformed at destinations[0]: no, 5s ago
    account:              shop/client
    destinations:         1
    routes:               2
    access rules:         1
    endpoints:            404 Not Found
    certificate expires:  in 22h
    operator:             connected
    "#);
}

#[test]
fn nothing_is_said_in_words() {
    let empty = json!({"workload": {"namespace": "shop", "account": "client"}})
        .to_string()
        .into();
    for (part, says) in [
        (Part::Routes, "No route"),
        (Part::Destinations, "No destination"),
        (Part::Access, "No rule"),
    ] {
        assert!(
            shown(part, &told(&empty), View::usual(NOW))
                .unwrap()
                .starts_with(says)
        );
    }
    assert!(
        shown(Part::Endpoints, &told(&"[]".into()), View::usual(NOW))
            .unwrap()
            .starts_with("No endpoint")
    );
}

#[test]
fn a_proxy_is_named_as_proxy_status_and_as_kubectl_write_it() {
    let name = |namespace: Option<&str>| Target::Pod {
        namespace: namespace.map(str::to_owned),
        pod: "web-1".to_owned(),
    };
    assert_eq!("web-1".parse(), Ok(name(None)));
    assert_eq!("pod/web-1".parse(), Ok(name(None)));
    assert_eq!("shop/web-1".parse(), Ok(name(Some("shop"))));
    for bad in ["", "/", "shop/", "a/b/c"] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
}

#[test]
fn of_a_controller_a_pod_that_is_ready_is_chosen() {
    let any = |text: &str| text.parse::<Target>().unwrap();
    let deployment = Target::Controller {
        kind: "deployment",
        name: "web".to_owned(),
    };
    assert_eq!(
        (any("deploy/web"), any("deployments/web")),
        (deployment.clone(), deployment)
    );
    let pod = |name: &str, of: &str, ready: &str| {
        json!({
            "metadata": {
                "name": name, "labels": {"pod-template-hash": "5d"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{of}-5d"), "controller": true}],
            },
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let pods = [
        pod("api-1", "api", "True"),
        pod("web-1", "web", "False"),
        pod("web-2", "web", "True"),
    ];
    assert_eq!(chosen(&pods, "deployment", "web").as_deref(), Some("web-2"));
    assert_eq!(chosen(&pods, "deployment", "shop"), None);
}
