//! Pods prove to each other who they are, and nothing else is taken for it.

use serde_json::{Value, json};
use smilax_e2e::guarded::{Callers, answers};
use smilax_e2e::namespace::must;
use smilax_e2e::objects::port;
use smilax_e2e::wait::{PATIENCE, wait_within};
use smilax_e2e::{
    Client, Guarded, Inject, Load, Match, Namespace, Object, Probe, Progress, RouteGroup, Service,
    TrafficTarget, Workload,
};

static GUARDED: Guarded = Guarded::new("identity");

/// A namespace that is closed to whoever proves nothing and whom nothing allows.
fn closed(callers: &Callers, purpose: &str) -> Namespace {
    let namespace = Namespace::fresh(&callers.mesh, purpose, Inject::Enabled);
    namespace.annotate("smilax.dev/tls-mode", Some("strict"));
    namespace.annotate("smilax.dev/access-mode", Some("deny"));
    namespace
}

fn metrics_hold(server: &Client, name: &str) -> bool {
    server
        .proxy_metrics()
        .lines()
        .any(|line| line.starts_with(name) && !line.ends_with(" 0"))
}

/// A pod outside of the mesh.
fn outsider(callers: &Callers, name: &str) -> Client {
    callers
        .namespace
        .apply(Workload::deployment(name).label("smilax.dev/inject", "disabled"));
    callers.namespace.ready(&[&format!("deployment/{name}")]);
    Client::of(&callers.namespace, name, "default")
}

#[test]
fn requests_between_pods_of_the_mesh_travel_in_mutual_tls() {
    let callers = GUARDED.callers();
    let server = callers.server("secured");
    assert_eq!(callers.friend.get(&server.url("/")).status, Some(200));
    let page = server.pod.proxy_metrics();
    let secured = page.lines().any(|line| {
        line.starts_with("istio_requests_total") && line.contains("connection_security_policy=\"mutual_tls\"")
    });
    assert!(secured, "{page}");
    assert!(
        !metrics_hold(&server.pod, "smilax_proxy_plaintext_connections_total{"),
        "{page}"
    );
}

#[test]
fn permissive_lets_plaintext_in_and_counts_who_sends_it() {
    let callers = GUARDED.callers();
    let server = callers.server("lenient");
    let outside = outsider(callers, "outside-lenient");
    outside.reaches(&server.url("/"));
    assert!(
        metrics_hold(&server.pod, "smilax_proxy_plaintext_connections_total{"),
        "{}",
        server.pod.proxy_metrics()
    );
}

#[test]
fn strict_refuses_plaintext_from_the_service_address_and_from_the_pods() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "strict", Inject::Enabled);
    namespace.annotate("smilax.dev/tls-mode", Some("strict"));
    namespace.account("web");
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").account("web"));
    let insider = namespace.client("insider");
    namespace.ready(&["deployment/web"]);
    insider.secures("web");
    insider.reaches("http://web/");
    let outside = outsider(callers, "outside-strict");
    let address = namespace.pod("web")["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for url in [
        format!("http://web.{}/", namespace.name()),
        format!("http://{address}:{}/", port::HTTP),
    ] {
        let refused = outside.get(&url);
        assert!(
            refused.status.is_none() && refused.error.is_some(),
            "{url}: {refused:?}"
        );
    }
    let talked = outside.tcp(&format!("{address}:{}", port::TCP), &["--send=hello"]);
    assert!(talked.error.is_some() && talked.lines.is_empty(), "{talked:?}");
}

#[test]
fn probes_of_every_kind_work_in_a_closed_namespace() {
    let callers = GUARDED.callers();
    let namespace = closed(callers, "probes");
    let kinds = [
        (
            "by-http",
            json!({"httpGet": {"path": "/healthz", "port": "http"}}),
        ),
        (
            "by-https",
            json!({"httpGet": {"path": "/healthz", "port": port::HTTPS, "scheme": "HTTPS"}}),
        ),
        ("by-tcp", json!({"tcpSocket": {"port": port::TCP}})),
        ("by-grpc", json!({"grpc": {"port": port::GRPC}})),
        (
            "by-exec",
            json!({"exec": {"command": ["/smilax-testapp", "get", "http://127.0.0.1:8080/healthz", "--expect=200"]}}),
        ),
    ];
    for (name, handler) in &kinds {
        namespace.apply(
            Workload::deployment(name)
                .probe(Probe::Startup, handler.clone())
                .probe(Probe::Readiness, handler.clone())
                .probe(Probe::Liveness, handler.clone()),
        );
    }
    let all: Vec<String> = kinds
        .iter()
        .map(|(name, _)| format!("deployment/{name}"))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    namespace.ready(&all);
    // The way that probes take leads nowhere else.
    let address = namespace.pod("by-http")["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let outside = outsider(callers, "outside-probes");
    let stray = outside.get(&format!("http://{address}:15021/status/201"));
    assert_eq!(stray.status, Some(404), "{stray:?}");
}

#[test]
fn a_pod_of_another_account_on_a_stolen_address_is_not_answered_to() {
    let callers = GUARDED.callers();
    let server = callers.server("rightful");
    let namespace = &callers.namespace;
    namespace.account("impostor");
    namespace.apply(Workload::deployment("impostor").account("impostor"));
    namespace.ready(&["deployment/impostor"]);
    let thief = namespace.pod("impostor");
    namespace.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "stolen", "labels": {"kubernetes.io/service-name": "rightful"}},
        "ports": [{"name": "http", "port": port::HTTP}],
        "endpoints": [{"addresses": [thief["status"]["podIP"]], "conditions": {"ready": true}}],
    }));
    // A connection that meets the impostor is given up before anything is sent, and what it was for goes elsewhere.
    let met = wait_within(PATIENCE * 2, "some connection meets the impostor", || {
        let report = callers
            .friend
            .load(Load::to(&server.url("/")).requests(40).connections(8));
        assert!(!report.by_backend.contains_key("impostor"), "{report:?}");
        let page = callers.friend.proxy_metrics();
        let refused = page.lines().find(|line| {
            line.starts_with("smilax_proxy_tls_failures_total")
                && line.contains("direction=\"outbound\"")
                && line.contains("reason=\"unexpected_peer\"")
        });
        Progress::when(refused.is_some(), report.clone(), || format!("{report:?}"))
    });
    assert!(
        met.failures.iter().all(|failure| failure.kind == "status-503"),
        "{met:?}"
    );
    namespace.delete(&Object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "stolen"},
    })));
}

#[test]
fn pods_behind_a_service_without_selector_prove_who_they_are_as_others_do() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "by-hand", Inject::Enabled);
    namespace.annotate("smilax.dev/tls-mode", Some("strict"));
    let caller = namespace.client("caller");
    namespace.account("db");
    namespace.apply(Workload::deployment("db").account("db"));
    namespace.ready(&["deployment/db"]);
    let pod = namespace.pod("db");
    namespace.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "by-hand"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }));
    namespace.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": "by-hand"}},
        "ports": [{"name": "http", "port": port::HTTP}],
        "endpoints": [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": true}}],
    }));
    answers(&caller, "http://by-hand/", 200);
    namespace.apply(RouteGroup::named("all").or(Match::named("all")));
    let target = namespace.apply(TrafficTarget::of("db").from("caller").http("all"));
    Client::of(&namespace, "db", "db").enforces_target(&target);
    answers(&caller, "http://by-hand/", 200);
}

/// A Deployment on the network of its node with a Service of its name, and the address of its pod.
fn on_host_network(namespace: &Namespace, name: &str, port: u16) -> String {
    let workload = Workload::deployment(name)
        .command(&["serve", &format!("--http-port={port}")])
        .port("http", port)
        .pod_spec(json!({"hostNetwork": true}));
    namespace.apply(workload);
    namespace.apply(Service::named(name).port("http", 80, "http"));
    namespace.ready(&[&format!("deployment/{name}")]);
    let pod = namespace.pod(name);
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    format!("http://{address}:{port}/")
}

#[test]
fn a_pod_on_the_host_network_of_a_strict_namespace_is_refused_at_once_and_both_sides_are_told_why() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "host-strict", Inject::Enabled);
    namespace.annotate("smilax.dev/tls-mode", Some("strict"));
    // Without it, the pod would be refused.
    namespace.annotate("smilax.dev/allow-relax", Some("true"));
    let caller = namespace.client("caller");
    let by_address = on_host_network(&namespace, "host", 18_080);
    for url in ["http://host/", &by_address] {
        let fetched = answers(&caller, url, 503);
        assert!(
            fetched.body.contains("no pod there has a sidecar"),
            "{url}: {fetched:?}"
        );
    }
    namespace.await_event(&Object(namespace.pod("host")), "UnreachableFromMesh");
}

#[test]
fn a_pod_on_the_host_network_of_a_permissive_namespace_is_called_in_plaintext() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "host-lenient", Inject::Enabled);
    let caller = namespace.client("caller");
    let by_address = on_host_network(&namespace, "host", 18_081);
    for url in ["http://host/", &by_address] {
        answers(&caller, url, 200);
    }
}

#[test]
fn a_pod_that_opted_out_of_a_strict_namespace_is_refused_at_once() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "opted-out", Inject::Enabled);
    namespace.annotate("smilax.dev/tls-mode", Some("strict"));
    namespace.annotate("smilax.dev/allow-relax", Some("true"));
    let caller = namespace.client("caller");
    namespace.apply(Workload::deployment("out").label("smilax.dev/inject", "disabled"));
    namespace.apply(Service::named("out"));
    namespace.ready(&["deployment/out"]);
    let pod = namespace.pod("out");
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    for url in ["http://out/", &format!("http://{address}:{}/", port::HTTP)] {
        let fetched = answers(&caller, url, 503);
        assert!(
            fetched.body.contains("no pod there has a sidecar"),
            "{url}: {fetched:?}"
        );
    }
}

#[test]
fn tls_of_the_application_travels_within_the_meshs_own() {
    let callers = GUARDED.callers();
    let server = callers.server("tunnel");
    let fetched = callers.friend.get(&format!("https://{}/", server.name));
    assert_eq!(fetched.status, Some(200), "{fetched:?}");
    assert!(!metrics_hold(
        &server.pod,
        "smilax_proxy_plaintext_connections_total{"
    ));
}

#[test]
fn every_kind_of_traffic_passes_between_pods_of_a_closed_namespace() {
    let callers = GUARDED.callers();
    let namespace = closed(callers, "closed");
    namespace.account("web");
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").account("web"));
    let friend = namespace.client("friend");
    namespace.ready(&["deployment/web"]);
    namespace.apply(smilax_e2e::TcpRoute::named("any"));
    let target = namespace.apply(TrafficTarget::of("web").from("friend").tcp("any"));
    Client::of(&namespace, "web", "web").enforces_target(&target);
    friend.secures("web");
    friend.reaches("http://web/");
    for load in [
        Load::http("web"),
        Load::h2("web"),
        Load::grpc("web"),
        Load::tcp("web"),
        Load::server_first("web"),
    ] {
        let report = friend.load(load.clone().requests(100));
        assert_eq!(report.failed(), 0, "{load:?}: {report:?}");
    }
    let talked = friend.upgrade("http://web/upgrade", &["one", "two"]);
    assert_eq!((talked.error, talked.lines.len()), (None, 2));
    let large = friend.get("http://web/bytes/3000000");
    assert_eq!((large.status, large.body.len()), (Some(200), 3_000_000));
    assert_eq!(friend.get("https://web/").status, Some(200));
}

#[test]
fn callers_that_smi_has_no_word_for_are_let_in_by_address_and_port() {
    let callers = GUARDED.callers();
    let namespace = closed(callers, "ingress");
    namespace.account("web");
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").account("web"));
    namespace.ready(&["deployment/web"]);
    let outside = outsider(callers, "outside-ingress");
    let address = callers.namespace.pod("outside-ingress")["status"]["podIPs"].clone();
    let cidrs: Vec<String> = address
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["ip"].as_str())
        .map(|ip| format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 }))
        .collect();
    let url = |port: u16| format!("http://web.{}:{port}/", namespace.name());
    let before = outside.get(&url(80));
    assert!(before.status.is_none(), "{before:?}");
    let sources = json!([{"cidrs": cidrs, "ports": [port::HTTP]}]).to_string();
    namespace.annotate("smilax.dev/unauthenticated-sources", Some(&sources));
    answers(&outside, &url(80), 200);
    let other = outside.get(&url(port::GRPC));
    assert!(other.status.is_none(), "{other:?}");
}

#[test]
fn a_pod_may_be_stricter_than_its_namespace_and_not_laxer() {
    let callers = GUARDED.callers();
    let namespace = closed(callers, "own");
    let refusal =
        namespace.refused(Workload::deployment("lax").annotation("smilax.dev/tls-mode", "permissive"));
    assert!(
        refusal.contains("smilax.dev/tls-mode") && refusal.contains("smilax.dev/allow-relax"),
        "{refusal}"
    );
    namespace.annotate("smilax.dev/allow-relax", Some("true"));
    namespace.apply(
        Workload::deployment("lax")
            .annotation("smilax.dev/tls-mode", "permissive")
            .annotation("smilax.dev/access-mode", "allow"),
    );
    namespace.apply(Service::named("lax"));
    namespace.ready(&["deployment/lax"]);
    let outside = outsider(callers, "outside-own");
    outside.reaches(&format!("http://lax.{}/", namespace.name()));
}

#[test]
fn no_secret_is_found_where_others_could_read_it() {
    let callers = GUARDED.callers();
    let server = callers.server("discreet");
    callers
        .namespace
        .apply(RouteGroup::named("discreet").or(smilax_e2e::Match::named("all")));
    callers.protect(
        &server,
        TrafficTarget::of("discreet").from("friend").http("discreet"),
    );
    assert_eq!(callers.friend.get(&server.url("/")).status, Some(200));
    let kubectl = callers.namespace.kubectl();
    let operator = callers.mesh.operator();
    let of_pods = |pods: &[Value]| pods.iter().map(ToString::to_string).collect::<String>();
    let mut places = vec![
        (
            "ConfigMaps",
            must(kubectl.run(&["get", "configmaps", "--output=yaml"])),
        ),
        ("Events", must(kubectl.run(&["get", "events", "--output=yaml"]))),
        ("pods", of_pods(&callers.namespace.pods("discreet"))),
        ("metrics", server.pod.proxy_metrics()),
        (
            "logs of the operator",
            must(operator.run(&[
                "logs",
                "--selector=app.kubernetes.io/name=smilax-operator",
                "--tail=-1",
            ])),
        ),
    ];
    for pod in [server.pod.pod(), callers.friend.pod()] {
        places.push((
            "logs of a proxy",
            must(kubectl.run(&["logs", pod, "--all-containers", "--tail=-1"])),
        ));
    }
    for page in ["config", "certificates"] {
        let fetched = server.pod.get(&format!("http://127.0.0.1:15000/{page}"));
        places.push(("administration", fetched.body));
    }
    for (place, text) in places {
        for mark in ["PRIVATE KEY", "eyJhbGciOi"] {
            assert!(!text.contains(mark), "{place} hold {mark}");
        }
    }
}
