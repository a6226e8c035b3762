use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;
use futures::FutureExt as _;
use prometheus::Registry;
use serde_json::json;
use smilax_compiler::index::Settings;
use smilax_compiler::ingest;
use smilax_compiler::model::Namespace;
use smilax_core::convention::key;
use smilax_core::endpoints::{Endpoint, Found, Resource, Update};
use smilax_core::workload_connection::{self as wire, Hello, Locality, OperatorMessage, Policy, Subscribe};
use smilax_core::{Members, Revision, Workload};
use tokio::sync::watch;

use crate::controller::State;
use crate::controller::kinds::Watched;
use crate::workload_server::publish::{Connection, Hub};
use crate::workload_server::tests::bind;
use crate::workload_server::tests::seen::{self, port_80, told_policy};
use crate::workload_server::{TlsContext, WorkloadMetrics};

struct Fixture {
    state: Arc<State>,
    hub: Arc<Hub>,
    metrics: WorkloadMetrics,
    _contexts: watch::Sender<Option<Arc<TlsContext>>>,
}

impl Fixture {
    fn listed() -> Self {
        let fixture = Self::unlisted();
        fixture.list();
        fixture
    }

    fn unlisted() -> Self {
        let state = State::new(Settings::default());
        let metrics = WorkloadMetrics::new(&Registry::new()).unwrap();
        let (contexts, seen) = watch::channel(None);
        let hub = Arc::new(Hub::new(Arc::clone(&state), seen, metrics.clone()));
        Self {
            state,
            hub,
            metrics,
            _contexts: contexts,
        }
    }

    fn list(&self) {
        self.state
            .update(|inner| Watched::all().for_each(|kind| inner.listed(kind)));
        self.hub.follow();
    }

    fn connect(&self, account: &str, revision: Option<Revision>) -> Connection {
        self.connect_as(Workload::new("shop", account), revision)
    }

    fn connect_as(&self, workload: Workload, revision: Option<Revision>) -> Connection {
        let connection = Connection::new(Arc::clone(&self.hub), workload);
        let hello = Hello {
            revision,
            ..Hello::default()
        };
        connection.hello(&hello);
        connection
    }

    /// The ConfigMap of an account comes to hold this revision.
    fn store(&self, account: &str, revision: &str) {
        seen::store(&self.state, account, &seen::policy(revision));
        self.hub.follow();
    }

    fn pod(&self, name: &str, address: &str) {
        seen::pod(&self.state, name, address);
        self.hub.follow();
    }

    fn slice(&self, service: &str, endpoints: &[(&str, &str)]) {
        seen::slice(&self.state, service, endpoints);
        self.hub.follow();
    }

    fn service(&self, name: &str, address: &str) {
        seen::service(&self.state, name, address);
        self.hub.follow();
    }
}

fn zone(fixture: &Fixture, node: &str, zone: Option<&str>) {
    fixture
        .state
        .update(|inner| inner.index.set_zone(node, zone.map(Into::into)));
    fixture.hub.follow();
}

fn follow(connection: &Connection, resource: Resource) {
    connection.subscribe(Subscribe {
        add: vec![resource],
        ..Subscribe::default()
    });
}

/// What is told now.
fn told(connection: &Connection) -> Vec<OperatorMessage> {
    let mut all = Vec::new();
    while let Some(frame) = connection.frame().now_or_never() {
        all.push(wire::decode(&mut BytesMut::from(&frame[..])).unwrap().unwrap());
    }
    all
}

/// The same, of connections that are told of members at first.
fn told_first(connection: &Connection) -> Vec<OperatorMessage> {
    let mut all = told(connection);
    assert_eq!(all.remove(0), OperatorMessage::Members(Members::default()));
    all
}

/// Addresses of the endpoints that are told, one update after the other.
fn addresses(messages: Vec<OperatorMessage>) -> Vec<Vec<String>> {
    messages
        .into_iter()
        .map(|message| match message {
            OperatorMessage::Update(Update::Endpoints { endpoints, .. }) => endpoints
                .unwrap()
                .iter()
                .map(|one: &Endpoint| one.address.ip().to_string())
                .collect(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_policy_is_told_to_the_proxies_of_its_account_and_to_nobody_else() {
    let fixture = Fixture::listed();
    let (web, other) = (fixture.connect("web", None), fixture.connect("other", None));
    assert_eq!((told_first(&web), told_first(&other)), (vec![], vec![]));
    fixture.store("web", "1.1");
    assert_eq!((told(&web), told(&other)), (vec![told_policy("1.1")], vec![]));
    let late = fixture.connect("web", None);
    assert_eq!(told_first(&late), [told_policy("1.1")]);
}

#[test]
fn a_proxy_is_told_the_zone_of_its_node_when_it_is_known_and_when_it_is_another() {
    let fixture = Fixture::listed();
    let connection = Connection::new(Arc::clone(&fixture.hub), Workload::new("shop", "web"));
    let hello = Hello {
        node: Some("n1".to_owned()),
        ..Hello::default()
    };
    connection.hello(&hello);
    assert_eq!(told_first(&connection), []);
    let locality = |zone: &str| OperatorMessage::Locality(Locality { zone: zone.into() });
    zone(&fixture, "n1", Some("a"));
    assert_eq!(told(&connection), [locality("a")]);
    zone(&fixture, "n2", Some("b"));
    assert_eq!(told(&connection), []);
    zone(&fixture, "n1", Some("b"));
    assert_eq!(told(&connection), [locality("b")]);
}

#[test]
fn a_proxy_that_has_the_policy_is_not_sent_it_and_is_sent_the_next() {
    let fixture = Fixture::listed();
    fixture.store("web", "1.1");
    let web = fixture.connect("web", Some(Revision { term: 1, counter: 1 }));
    assert_eq!(told_first(&web), []);
    fixture.store("web", "1.2");
    assert_eq!(told(&web), [told_policy("1.2")]);
}

#[test]
fn policy_never_goes_back_whatever_is_stored() {
    let fixture = Fixture::listed();
    let web = fixture.connect("web", None);
    fixture.store("web", "2.1");
    told(&web);
    for older in ["2.1", "2.0", "1.9"] {
        fixture.store("web", older);
    }
    fixture
        .state
        .tell(|inner| inner.set_map("shop", "smilax-web", None));
    fixture.hub.follow();
    assert_eq!(told(&web), []);
    let late = fixture.connect("web", None);
    assert_eq!(told_first(&late), [told_policy("2.1")]);
    fixture.store("web", "2.2");
    assert_eq!(told(&web), [told_policy("2.2")]);
}

#[test]
fn who_does_not_read_is_told_the_newest_policy_only() {
    let fixture = Fixture::listed();
    let web = fixture.connect("web", None);
    for counter in 1..100 {
        fixture.store("web", &format!("1.{counter}"));
    }
    assert_eq!(told_first(&web), [told_policy("1.99")]);
}

#[test]
fn nothing_is_told_before_everything_was_listed() {
    let fixture = Fixture::unlisted();
    let web = fixture.connect("web", None);
    follow(&web, Resource::Endpoints(port_80("web")));
    fixture.store("web", "1.1");
    fixture.service("web", "10.0.0.1");
    assert_eq!(told(&web), []);
    fixture.list();
    let told = told_first(&web);
    assert_eq!(told[0], told_policy("1.1"));
    assert_eq!(addresses(told[1..].to_vec()), [[""; 0]]);
}

#[test]
fn endpoints_are_told_at_once_and_when_they_change_and_only_to_who_asked() {
    let fixture = Fixture::listed();
    fixture.service("web", "10.0.0.1");
    fixture.pod("web-1", "10.1.0.1");
    fixture.pod("web-2", "10.1.0.2");
    fixture.slice("web", &[("web-1", "10.1.0.1")]);
    let (asks, other) = (fixture.connect("a", None), fixture.connect("b", None));
    told(&asks);
    told(&other);
    follow(&asks, Resource::Endpoints(port_80("web")));
    follow(&other, Resource::Endpoints(port_80("web-v2")));
    assert_eq!(addresses(told(&asks)), [["10.1.0.1"]]);
    told(&other);
    fixture.slice("web", &[("web-1", "10.1.0.1"), ("web-2", "10.1.0.2")]);
    assert_eq!(addresses(told(&asks)), [["10.1.0.1", "10.1.0.2"]]);
    // Of the pod itself it is heard first.
    fixture
        .state
        .update(|inner| inner.index.set_pod("shop", "web-2".into(), None));
    fixture.hub.follow();
    assert_eq!(addresses(told(&asks)), [["10.1.0.1"]]);
    fixture.slice("web", &[("web-1", "10.1.0.1")]);
    assert_eq!((told(&asks), told(&other)), (vec![], vec![]));
}

#[test]
fn when_a_namespace_no_longer_takes_plaintext_its_endpoints_are_told_anew() {
    let fixture = Fixture::listed();
    fixture.service("web", "10.0.0.1");
    fixture.pod("web-1", "10.1.0.1");
    fixture.slice("web", &[("web-1", "10.1.0.1")]);
    let web = fixture.connect("web", None);
    follow(&web, Resource::Endpoints(port_80("web")));
    let last = |told: Vec<OperatorMessage>| addresses(told.into_iter().last().into_iter().collect());
    assert_eq!(last(told(&web)), [["10.1.0.1"]]);
    let namespace = Namespace {
        name: "shop".into(),
        labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
        annotations: [(key::TLS_MODE.to_owned(), "strict".to_owned())].into(),
        ..Namespace::default()
    };
    fixture
        .state
        .update(|inner| inner.index.set_namespace("shop", Some(namespace)));
    fixture.hub.follow();
    assert_eq!(
        last(told(&web)),
        [[""; 0]],
        "a pod without a proxy is not worth trying any more"
    );
}

#[test]
fn what_is_no_longer_subscribed_to_is_not_told() {
    let fixture = Fixture::listed();
    fixture.service("web", "10.0.0.1");
    fixture.pod("web-1", "10.1.0.1");
    let web = fixture.connect("web", None);
    follow(&web, Resource::Endpoints(port_80("web")));
    told(&web);
    web.subscribe(Subscribe {
        remove: vec![Resource::Endpoints(port_80("web"))],
        ..Subscribe::default()
    });
    fixture.slice("web", &[("web-1", "10.1.0.1")]);
    assert_eq!(told(&web), []);
}

#[test]
fn what_stands_behind_an_address_is_told_and_told_again_when_it_is_another() {
    let fixture = Fixture::listed();
    let web = fixture.connect("web", None);
    told(&web);
    let address = "10.0.0.1:80".parse().unwrap();
    follow(&web, Resource::Address(address));
    let mapped = fixture.connect("web", None);
    follow(
        &mapped,
        Resource::Address("[::ffff:10.0.0.1]:80".parse().unwrap()),
    );
    told(&mapped);
    let nothing = OperatorMessage::Update(Update::Address {
        of: address,
        found: Found::Nothing,
    });
    assert_eq!(told(&web), [nothing]);
    fixture.service("web", "10.0.0.1");
    let found = told(&web);
    let [
        OperatorMessage::Update(Update::Address {
            found: Found::Destinations(all),
            ..
        }),
    ] = &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!(all[0].name, port_80("web").destination);
    assert_eq!(told(&mapped).len(), 1, "it is the same address");
    let split = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"service": "web", "backends": [{"service": "web", "weight": 1}]},
    });
    fixture.state.update(|inner| {
        inner
            .index
            .set_split("shop", "web".into(), Some(ingest::split(&split)));
    });
    fixture.hub.follow();
    assert_eq!(told(&web).len(), 1, "its routes are others");
}

#[test]
fn members_are_told_when_pods_of_a_binding_come_and_go() {
    let fixture = Fixture::listed();
    bind(&fixture.state);
    fixture.hub.follow();
    let web = fixture.connect("web", None);
    let uids = |told: Vec<OperatorMessage>| match &told[..] {
        [OperatorMessage::Members(members)] => members.0["shop/labelled"].len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(uids(told(&web)), 0);
    let object = json!({
        "metadata": {"name": "c", "namespace": "shop", "uid": "c-1", "labels": {"app": "client"}},
        "spec": {"containers": []},
    });
    let pod = ingest::pod(&serde_json::from_value(object).unwrap());
    fixture
        .state
        .update(|inner| inner.index.set_pod("shop", "c".into(), Some(pod)));
    fixture.hub.follow();
    assert_eq!(uids(told(&web)), 1);
}

#[test]
fn what_nobody_follows_is_forgotten() {
    let fixture = Fixture::listed();
    let (one, two) = (fixture.connect("web", None), fixture.connect("web", None));
    follow(&one, Resource::Endpoints(port_80("web")));
    let counted = || (fixture.metrics.topics.get(), fixture.metrics.subscriptions.get());
    assert_eq!(counted(), (4, 7));
    drop(one);
    assert_eq!(counted(), (3, 3));
    drop(two);
    assert_eq!(counted(), (0, 0));
}

#[test]
fn a_frame_is_made_once_for_all_who_follow_it() {
    let fixture = Fixture::listed();
    fixture.store("web", "1.1");
    let connections: Vec<Connection> = (0..3).map(|_| fixture.connect("web", None)).collect();
    let places: BTreeSet<_> = connections
        .iter()
        .map(|connection| {
            connection.frame().now_or_never().expect("the members");
            connection.frame().now_or_never().expect("the policy").as_ptr()
        })
        .collect();
    assert_eq!(places.len(), 1);
}

#[test]
fn what_is_sent_is_counted_by_kind() {
    let fixture = Fixture::listed();
    fixture.store("web", "1.1");
    told(&fixture.connect("web", None));
    let pushes = |kind| fixture.metrics.pushes.with_label_values(&[kind]).get();
    assert_eq!(
        (pushes("members"), pushes("policy"), pushes("endpoints")),
        (1, 1, 0)
    );
    let bytes = fixture.metrics.pushed_bytes.with_label_values(&["policy"]).get();
    assert_eq!(bytes, wire::encode(&told_policy("1.1")).unwrap().len() as u64);
}

#[test]
fn a_long_policy_is_told_packed() {
    let fixture = Fixture::listed();
    let web = fixture.connect("web", None);
    told(&web);
    let long = json!({"revision": "1.1", "x": "y".repeat(smilax_core::packed::MOST_STORED)}).to_string();
    seen::store(&fixture.state, "web", &long);
    fixture.hub.follow();
    let told = told(&web);
    let [OperatorMessage::Policy(Policy::Packed(packed))] = &told[..] else {
        panic!("it is not packed")
    };
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, packed).unwrap();
    assert!(smilax_core::packed::unpack(&bytes).unwrap() == long.as_bytes());
}

/// The namespace `shop` in this access mode.
fn access_mode(fixture: &Fixture, mode: &str) {
    let namespace = Namespace {
        name: "shop".into(),
        labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
        annotations: [(key::ACCESS_MODE.to_owned(), mode.to_owned())].into(),
        ..Namespace::default()
    };
    fixture
        .state
        .update(|inner| inner.index.set_namespace("shop", Some(namespace)));
    fixture.hub.follow();
}

/// A TrafficTarget that lets `bank/client` call the account `web`; or it is gone.
fn target(fixture: &Fixture, there: Option<()>) {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "t"},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": "web"},
            "sources": [{"kind": "ServiceAccount", "name": "client", "namespace": "bank"}],
            "rules": [{"kind": "TCPRoute", "name": "any"}],
        },
    });
    let target = there.map(|()| ingest::traffic_target(&object));
    fixture
        .state
        .update(|inner| inner.index.set_target("shop", "t".into(), target));
    fixture.hub.follow();
}

/// What is told of the account of each endpoint, `-` for nothing.
fn accounts(messages: Vec<OperatorMessage>) -> Vec<Vec<String>> {
    let of = |message| match message {
        OperatorMessage::Update(Update::Endpoints { endpoints, .. }) => {
            let account = |one: &Endpoint| one.workload.as_ref().map_or("-".to_owned(), ToString::to_string);
            endpoints.unwrap().iter().map(account).collect()
        }
        other => panic!("{other:?}"),
    };
    messages.into_iter().map(of).collect()
}

#[test]
fn s12_a_subscription_is_answered_by_what_its_workload_may_call_and_anew_when_that_changes() {
    let fixture = Fixture::listed();
    access_mode(&fixture, "deny");
    fixture.service("web", "10.0.0.1");
    seen::injected_pod(&fixture.state, "web-1", "10.1.0.1");
    fixture.slice("web", &[("web-1", "10.1.0.1")]);
    let stranger = fixture.connect_as(Workload::new("bank", "client"), None);
    let other = fixture.connect_as(Workload::new("bank", "other"), None);
    let neighbour = fixture.connect("client", None);
    for connection in [&stranger, &other, &neighbour] {
        told(connection);
        follow(connection, Resource::Endpoints(port_80("web")));
    }
    assert_eq!(accounts(told(&stranger)), [["shop/*"]]);
    assert_eq!(accounts(told(&other)), [["shop/*"]]);
    assert_eq!(accounts(told(&neighbour)), [["shop/web"]]);
    target(&fixture, Some(()));
    assert_eq!(accounts(told(&stranger)), [["shop/web"]]);
    assert_eq!(
        (told(&other), told(&neighbour)),
        (vec![], vec![]),
        "to whom nothing changes, nothing is told"
    );
    target(&fixture, None);
    assert_eq!(accounts(told(&stranger)), [["shop/*"]]);
}

#[test]
fn s12_zones_and_nodes_are_told_to_who_may_call() {
    let fixture = Fixture::listed();
    access_mode(&fixture, "deny");
    fixture.service("web", "10.0.0.1");
    seen::injected_pod(&fixture.state, "web-1", "10.1.0.1");
    let object = json!({
        "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{
            "addresses": ["10.1.0.1"], "targetRef": {"kind": "Pod", "name": "web-1"}, "zone": "a", "nodeName": "n1",
            "hints": {"forZones": [{"name": "a"}]},
        }],
    });
    let slice = ingest::slice(&serde_json::from_value(object).unwrap());
    fixture
        .state
        .update(|inner| inner.index.set_slice("shop", &"web".into(), slice));
    fixture.hub.follow();
    let mut seen = Vec::new();
    for workload in [Workload::new("shop", "client"), Workload::new("bank", "client")] {
        let connection = fixture.connect_as(workload, None);
        told(&connection);
        follow(&connection, Resource::Endpoints(port_80("web")));
        let frame = connection.frame().now_or_never().unwrap();
        seen.push(["\"zone\"", "forZones", "n1"].map(|word| String::from_utf8_lossy(&frame).contains(word)));
    }
    assert_eq!(seen, [[true; 3], [false; 3]]);
}
