//! Two namespaces with everything that targets may refer to, rightly or wrongly.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use serde_json::{Value, json};
use smilax_compiler::index::{Index, Settings};
use smilax_compiler::{Callers, callers_of_address, compile, ingest, members};
use smilax_core::access::Caller;
use smilax_core::{Identity, Members, PodView, RequestView, RouteTable, SpiffeId, TrustDomain, Workload};

/// A pod that is called or calls.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: &'static str,
    pub(crate) account: &'static str,
    pub(crate) name: &'static str,
    pub(crate) labels: &'static [(&'static str, &'static str)],
}

const fn pod(
    namespace: &'static str,
    account: &'static str,
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
) -> Pod {
    Pod {
        namespace,
        account,
        name,
        labels,
    }
}

/// Pods that are called. Each has a port 8080 named `http`.
pub(crate) const CALLEES: [Pod; 4] = [
    pod("shop", "web", "web-0", &[("app", "web")]),
    pod("shop", "api", "api-0", &[("app", "api"), ("tier", "front")]),
    pod("bank", "web", "bank-0", &[("app", "web")]),
    pod("bank", "ledger", "ledger-0", &[("tier", "front")]),
];

/// Pods that call.
pub(crate) const CALLERS: [Pod; 4] = [
    pod("shop", "client", "client-0", &[("role", "caller")]),
    pod(
        "bank",
        "client",
        "client-1",
        &[("role", "caller"), ("tier", "front")],
    ),
    pod("bank", "other", "other-0", &[("tier", "front")]),
    pod("shop", "other", "other-1", &[]),
];

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) callee: &'static Pod,
    pub(crate) caller: Option<&'static Pod>,
    pub(crate) port: u16,
    /// Method, path and the value of header `x`; `None` for bytes.
    pub(crate) request: Option<(&'static str, &'static str, Option<&'static str>)>,
}

/// Bindings, by namespace and name: labels, account, SPIFFE ids.
pub(crate) fn bindings() -> Vec<Value> {
    let binding = |namespace: &str, name: &str, schemes: Value| json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"schemes": schemes}});
    vec![
        binding(
            "shop",
            "labels",
            json!({"podLabelSelector": {"matchLabels": {"tier": "front"}}}),
        ),
        binding(
            "bank",
            "labels",
            json!({"podLabelSelector": {"matchLabels": {"tier": "front"}}}),
        ),
        binding("shop", "account", json!({"serviceAccount": "client"})),
        binding(
            "bank",
            "account",
            json!({"serviceAccount": "client", "spiffeIdentities": ["cluster.local/ns/bank/sa/web"]}),
        ),
        binding(
            "shop",
            "ids",
            json!({"spiffeIdentities": ["spiffe://cluster.local/ns/shop/sa/web", "cluster.local/ns/bank/sa/client", "Bad"]}),
        ),
        binding(
            "bank",
            "ids",
            json!({"spiffeIdentities": ["spiffe://cluster.local/ns/bank/sa/client"]}),
        ),
        binding(
            "shop",
            "both",
            json!({"podLabelSelector": {"matchLabels": {"app": "web"}}, "serviceAccount": "api"}),
        ),
        binding("bank", "both", json!({"podLabelSelector": {"matchLabels": {}}})),
    ]
}

/// Groups of both namespaces.
pub(crate) fn groups() -> Vec<Value> {
    vec![
        json!({"name": "g1", "matches": [
            {"name": "a", "pathRegex": "/a", "methods": ["GET"]},
            {"name": "b", "methods": ["*"], "headers": [{"X": "1|2"}]},
            {"name": "broken", "pathRegex": "("},
        ]}),
        json!({"name": "g2", "matches": [{"name": "c", "methods": ["POST", "GET"], "headers": {"x": "1"}}, {"name": "d", "pathRegex": "/b"}]}),
        json!({"name": "g3", "matches": [{"name": "all"}]}),
    ]
}

/// TCPRoutes of both namespaces: name and ports.
pub(crate) const TCP_ROUTES: [(&str, &[i64]); 4] = [
    ("t80", &[80]),
    ("t81", &[81, 0]),
    ("tall", &[]),
    ("tbad", &[70000]),
];

/// Services of both namespaces, in front of the pods with `app: web`: port and target.
pub(crate) const SERVICE_PORTS: [(u16, &str); 2] = [(80, "8080"), (81, "http")];

/// A target of the shape that the API server may hold.
pub(crate) fn targets() -> impl Strategy<Value = Value> {
    let namespace = || prop_oneof![Just("shop"), Just("bank")];
    let any_namespace = || prop_oneof![3 => Just(json!(null)), 2 => Just(json!("shop")), 2 => Just(json!("bank")), 1 => Just(json!(7))];
    let binding = || {
        prop_oneof![
            Just("labels"),
            Just("account"),
            Just("ids"),
            Just("both"),
            Just("gone")
        ]
    };
    let destination = prop_oneof![
        3 => prop_oneof![Just("web"), Just("api"), Just("ledger")].prop_map(|name| ("ServiceAccount", name)),
        2 => binding().prop_map(|name| ("IdentityBinding", name)),
        1 => Just(("Group", "web")),
    ];
    let port = prop_oneof![6 => Just(json!(null)), 1 => Just(json!(80)), 1 => Just(json!("8080")), 1 => Just(json!(0))];
    let source = prop_oneof![
        3 => prop_oneof![Just("client"), Just("other"), Just("web")].prop_map(|name| ("ServiceAccount", name)),
        2 => binding().prop_map(|name| ("IdentityBinding", name)),
        1 => Just(("Teapot", "client")),
    ];
    let source = (source, any_namespace())
        .prop_map(|((kind, name), namespace)| json!({"kind": kind, "name": name, "namespace": namespace}));
    let matches = prop_oneof![
        3 => Just(json!(null)),
        1 => Just(json!([])),
        1 => Just(json!(["a"])),
        1 => Just(json!(["b", "zz"])),
        1 => Just(json!(["broken", "c"])),
        1 => Just(json!("a")),
    ];
    let rule = prop_oneof![
        4 => (prop_oneof![Just("g1"), Just("g2"), Just("g3"), Just("gone")], matches)
            .prop_map(|(name, matches)| json!({"kind": "HTTPRouteGroup", "name": name, "matches": matches})),
        3 => prop_oneof![Just("t80"), Just("t81"), Just("tall"), Just("tbad"), Just("gone")]
            .prop_map(|name| json!({"kind": "TCPRoute", "name": name})),
        1 => Just(json!({"kind": "UDPRoute", "name": "u"})),
        1 => Just(json!({"kind": "GRPCRoute", "name": "x"})),
    ];
    let rules = prop_oneof![
        6 => proptest::collection::vec(rule, 1..4).prop_map(|rules| json!(rules)),
        1 => Just(json!([])),
        1 => Just(json!(null)),
    ];
    let empty = prop_oneof![Just(json!(null)), Just(json!("allow")), Just(json!("deny"))];
    (
        namespace(),
        destination,
        prop_oneof![3 => Just(json!(null)), 1 => any_namespace()],
        port,
        proptest::collection::vec(source, 0..4),
        rules,
        empty,
    )
        .prop_map(|(own, (kind, name), of, port, sources, rules, empty)| {
            json!({
                "metadata": {
                    "namespace": own,
                    "annotations": {"conversion.smilax.dev/empty-rules": empty},
                },
                "spec": {
                    "destination": {"kind": kind, "name": name, "namespace": of, "port": port},
                    "sources": sources,
                    "rules": rules,
                },
            })
        })
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    let request = (
        prop_oneof![Just("GET"), Just("POST"), Just("get")],
        prop_oneof![Just("/a"), Just("/ab/c"), Just("/b"), Just("/"), Just("/%61")],
        prop_oneof![Just(None), Just(Some("1")), Just(Some("2")), Just(Some("12"))],
    );
    (
        0..CALLEES.len(),
        proptest::option::weighted(0.9, 0..CALLERS.len()),
        prop_oneof![Just(80), Just(8080), Just(81), Just(9000)],
        proptest::option::weighted(0.8, request),
    )
        .prop_map(|(callee, caller, port, request)| Call {
            callee: &CALLEES[callee],
            caller: caller.map(|caller| &CALLERS[caller]),
            port,
            request,
        })
}

pub(crate) struct World {
    pub(crate) targets: Vec<Value>,
    index: Index,
}

struct Request(&'static str, &'static str, Option<&'static str>);

impl RequestView for Request {
    fn method(&self) -> &str {
        self.0
    }
    fn path(&self) -> &str {
        self.1
    }
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.2.filter(|_| name == "x").map(str::as_bytes).into_iter()
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.2.map(|_| "x").into_iter()
    }
}

impl World {
    /// Everything there is, with these targets, in this access mode.
    pub(crate) fn new(mode: &str, mut targets: Vec<Value>) -> Self {
        let mut index = Index::new(Settings::default());
        for namespace in ["shop", "bank"] {
            let object = json!({"metadata": {
                "name": namespace,
                "labels": {"smilax.dev/inject": "enabled"},
                "annotations": {"smilax.dev/access-mode": mode},
            }});
            index.set_namespace(
                namespace,
                Some(ingest::namespace(&serde_json::from_value(object).unwrap())),
            );
            for group in groups() {
                let object = json!({
                    "metadata": {"namespace": namespace, "name": group["name"]},
                    "spec": {"matches": group["matches"]},
                });
                let name = group["name"].as_str().unwrap().into();
                index.set_group(namespace, name, Some(ingest::route_group(&object)));
            }
            for (name, ports) in TCP_ROUTES {
                let object = json!({
                    "metadata": {"namespace": namespace, "name": name},
                    "spec": {"matches": {"ports": ports}},
                });
                index.set_tcp_route(namespace, name.into(), Some(ingest::port_route(&object)));
            }
            let ports: Vec<Value> = SERVICE_PORTS
                .iter()
                .map(|(port, target)| {
                    let target = target
                        .parse::<u16>()
                        .map_or_else(|_| json!(target), |number| json!(number));
                    json!({"port": port, "targetPort": target})
                })
                .collect();
            let object = json!({
                "metadata": {"namespace": namespace, "name": "web"},
                "spec": {"selector": {"app": "web"}, "clusterIP": "10.0.0.1", "ports": ports},
            });
            index.set_service(
                namespace,
                "web".into(),
                Some(ingest::service(&serde_json::from_value(object).unwrap())),
            );
        }
        for binding in bindings() {
            let meta = &binding["metadata"];
            let (namespace, name) = (
                meta["namespace"].as_str().unwrap(),
                meta["name"].as_str().unwrap(),
            );
            index.set_binding(namespace, name.into(), Some(ingest::identity_binding(&binding)));
        }
        for (number, pod) in CALLEES.iter().chain(&CALLERS).enumerate() {
            let labels: serde_json::Map<String, Value> = pod
                .labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect();
            let object = json!({
                "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.name, "labels": labels},
                "spec": {"serviceAccountName": pod.account, "containers": [], "initContainers": [
                    {"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]},
                ]},
                "status": {"podIP": format!("10.1.1.{number}")},
            });
            index.set_pod(
                pod.namespace,
                pod.name.into(),
                Some(ingest::pod(&serde_json::from_value(object).unwrap())),
            );
        }
        for (number, target) in targets.iter_mut().enumerate() {
            let name = format!("t{number}");
            target["metadata"]["name"] = json!(name);
            let namespace = target["metadata"]["namespace"].as_str().unwrap().to_owned();
            index.set_target(&namespace, name.into(), Some(ingest::traffic_target(target)));
        }
        Self { targets, index }
    }

    /// Who is told everything of a called pod, by its number.
    pub(crate) fn callers(&mut self, callee: usize) -> Callers {
        let address = format!("10.1.1.{callee}:8080").parse().unwrap();
        callers_of_address(&mut self.index, address)
    }

    /// What the proxy of the called pod decides.
    pub(crate) fn decide(&mut self, call: &Call) -> bool {
        let workload = Workload::new(call.callee.namespace, call.callee.account);
        let (config, _) = compile(&mut self.index, &workload);
        let members: Members = members(&mut self.index, &workload);
        let view = PodView {
            labels: call
                .callee
                .labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            port_names: [("http".to_owned(), 8080)].into(),
            ..PodView::default()
        };
        let table = RouteTable::lower(&config, &view).unwrap();
        let identity = call.caller.map(|pod| {
            let workload = Workload::new(pod.namespace, pod.account);
            Identity::new(
                SpiffeId::of(&TrustDomain::default(), &workload),
                Some(pod.name.into()),
            )
        });
        let caller = Caller {
            identity: identity.as_ref(),
            address: Ipv4Addr::new(10, 1, 0, 1).into(),
        };
        let standing = table.access.standing(caller, call.port, &members);
        match call.request {
            Some((method, path, header)) => table
                .access
                .decide_request(&standing, &Request(method, path, header))
                .is_allowed(),
            None => table.access.decide_connection(&standing).is_allowed(),
        }
    }
}
