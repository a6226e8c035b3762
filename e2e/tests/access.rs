//! Who may call whom is decided by the called side: by account, path, method, header and port, at once and for open
//! connections too.

use std::thread;

use serde_json::{Value, json};
use smilax_core::config::AccessMode;
use smilax_e2e::client::metric;
use smilax_e2e::guarded::answers;
use smilax_e2e::objects::port;
use smilax_e2e::{
    Client, Fetched, Guarded, IdentityBinding, Inject, Load, Match, Namespace, Object, Progress, RouteGroup,
    Server, Service, TcpRoute, TrafficTarget, Workload, wait_until,
};

static GUARDED: Guarded = Guarded::new("access");

const FORBIDDEN: Option<u16> = Some(403);
const FINE: Option<u16> = Some(200);

/// A group that selects every request.
fn everything(name: &str) -> RouteGroup {
    RouteGroup::named(name).or(Match::named("all"))
}

fn get(caller: &Client, server: &Server, path: &str) -> Option<u16> {
    caller.get(&server.url(path)).status
}

/// Lines that a caller gets back over one TCP connection, or how it failed.
fn talk(caller: &Client, server: &Server) -> Result<Vec<String>, String> {
    let talked = caller.tcp(&format!("{}:{}", server.name, port::TCP), &["--send=hello"]);
    talked.error.map_or(Ok(talked.lines), Err)
}

#[test]
fn a_target_lets_its_sources_in_and_nobody_else() {
    let callers = GUARDED.callers();
    let server = callers.server("target");
    callers.namespace.apply(everything("target-all"));
    callers.protect(
        &server,
        TrafficTarget::of("target").from("friend").http("target-all"),
    );
    assert_eq!(get(&callers.friend, &server, "/"), FINE);
    let refused = callers.stranger.get(&server.url("/"));
    assert_eq!(refused.status, FORBIDDEN);
    assert!(
        !refused.headers.contains_key("smilax-reason") && !refused.body.contains("TrafficTarget"),
        "an answer tells what rules there are: {refused:?}"
    );
}

#[test]
fn a_caller_is_told_why_it_is_refused_where_the_pod_asks_for_that() {
    let callers = GUARDED.callers();
    let workload = Workload::deployment("frank").annotation("smilax.dev/denial-reasons", "told");
    let server = callers.serve(workload, "frank");
    callers.namespace.apply(everything("frank"));
    callers.protect(&server, TrafficTarget::of("frank").from("friend").http("frank"));
    let refused = callers.stranger.get(&server.url("/"));
    assert_eq!(refused.status, FORBIDDEN);
    assert_eq!(refused.headers["smilax-reason"], ["source"]);
}

#[test]
fn requests_are_allowed_by_path_method_and_header() {
    let callers = GUARDED.callers();
    let server = callers.server("rules");
    callers.namespace.apply(
        RouteGroup::named("rules")
            .or(Match::named("read").path("/read").methods(&["GET"]))
            .or(Match::named("write").path("/write").methods(&["POST"]))
            .or(Match::named("vip").headers(json!([{"x-user": "vip.*"}]))),
    );
    callers.protect(&server, TrafficTarget::of("rules").from("friend").http("rules"));
    let asks = |path: &str, flags: &[&str]| callers.friend.get_with(&server.url(path), flags).status;
    assert_eq!(asks("/read/more?x=1", &[]), FINE);
    assert_eq!(
        asks("/readings", &[]),
        FINE,
        "a path is anchored at its start only"
    );
    assert_eq!(asks("/other", &[]), FORBIDDEN);
    assert_eq!(
        asks("/other?/read", &[]),
        FORBIDDEN,
        "the query is no part of the path"
    );
    assert_eq!(asks("/read", &["--method=POST"]), FORBIDDEN);
    assert_eq!(asks("/read", &["--method=HEAD"]), FORBIDDEN);
    assert_eq!(asks("/", &["--header=X-User=vip-1"]), FINE);
    assert_eq!(
        asks("/", &["--header=X-User=vip-1", "--header=X-User=other"]),
        FORBIDDEN
    );
    assert_eq!(get(&callers.stranger, &server, "/read"), FORBIDDEN);
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused_where_rules_read_paths() {
    let callers = GUARDED.callers();
    let server = callers.server("paths");
    callers.namespace.apply(
        RouteGroup::named("paths")
            .or(Match::named("public").path("/public"))
            .or(Match::named("costly").path("/(x+x+)+y")),
    );
    callers.protect(&server, TrafficTarget::of("paths").from("friend").http("paths"));
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "//public",
        "/public\\x",
    ] {
        assert_eq!(get(&callers.friend, &server, path), Some(400), "{path}");
    }
    assert_eq!(
        get(&callers.friend, &server, "/%70ublic"),
        FINE,
        "allowed as what it is"
    );
    assert_eq!(
        get(&callers.friend, &server, "/public/"),
        FINE,
        "a slash at the end is part of the path"
    );
    assert_eq!(get(&callers.friend, &server, "/admin"), FORBIDDEN);
    assert_eq!(get(&callers.friend, &server, "/Public"), FORBIDDEN);
    assert_eq!(
        get(&callers.friend, &server, &format!("/{}", "x".repeat(2000))),
        FORBIDDEN,
        "an expression that others would not come back from is answered"
    );
}

#[test]
fn targets_add_up() {
    let callers = GUARDED.callers();
    let server = callers.server("sum");
    callers.namespace.apply(
        RouteGroup::named("sum")
            .or(Match::named("a").path("/status/201"))
            .or(Match::named("b").path("/status/202")),
    );
    callers.protect(
        &server,
        TrafficTarget::of("sum")
            .from("friend")
            .http_matches("sum", &["a"]),
    );
    assert_eq!(get(&callers.friend, &server, "/status/201"), Some(201));
    assert_eq!(get(&callers.friend, &server, "/status/202"), FORBIDDEN);
    callers.protect(
        &server,
        TrafficTarget::of("sum")
            .named("sum-more")
            .from("friend")
            .from("stranger")
            .http_matches("sum", &["b"]),
    );
    assert_eq!(get(&callers.friend, &server, "/status/201"), Some(201));
    assert_eq!(get(&callers.friend, &server, "/status/202"), Some(202));
    assert_eq!(get(&callers.stranger, &server, "/status/202"), Some(202));
    assert_eq!(get(&callers.stranger, &server, "/status/201"), FORBIDDEN);
}

#[test]
fn a_tcp_route_allows_whatever_is_spoken_on_its_ports() {
    let callers = GUARDED.callers();
    let server = callers.server("ports");
    callers
        .namespace
        .apply(TcpRoute::named("ports").port(port::TCP).port(80));
    callers.protect(&server, TrafficTarget::of("ports").from("friend").tcp("ports"));
    assert!(talk(&callers.friend, &server).is_ok());
    assert!(talk(&callers.stranger, &server).is_err());
    assert_eq!(
        get(&callers.friend, &server, "/"),
        FINE,
        "80 is the Service's port of the pod's 8080"
    );
    let grpc = format!("http://{}:{}/", server.name, port::GRPC);
    assert_eq!(callers.friend.get(&grpc).status, FORBIDDEN);
}

#[test]
fn a_port_name_that_two_containers_give_opens_the_port_that_the_service_leads_to() {
    const EXPORTER: u16 = 9090;
    let callers = GUARDED.callers();
    let name = "twice";
    callers.namespace.account(name);
    let mut workload = Object::from(Workload::deployment(name).account(name));
    let containers = workload
        .0
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut)
        .expect("a Deployment has containers");
    let mut exporter = containers[0].clone();
    exporter["name"] = json!("exporter");
    exporter["args"] = json!(["serve", format!("--http-port={EXPORTER}")]);
    exporter["ports"] = json!([{"name": "http", "containerPort": EXPORTER}]);
    exporter["readinessProbe"] = Value::Null;
    containers.push(exporter);
    callers
        .namespace
        .apply(
            Service::named(name)
                .port("http", 80, "http")
                .port("http-exporter", EXPORTER, EXPORTER),
        );
    callers.namespace.apply(workload);
    callers.namespace.ready(&[&format!("deployment/{name}")]);
    callers.friend.secures(name);
    let server = Server {
        name: name.to_owned(),
        pod: Client::of(&callers.namespace, name, name),
    };
    let exporter = format!("http://{name}:{EXPORTER}/");
    callers.friend.reaches(&server.url("/"));
    callers.friend.reaches(&exporter);
    callers.namespace.apply(TcpRoute::named(name).port(80));
    callers.protect(&server, TrafficTarget::of(name).from("friend").tcp(name));
    assert_eq!(get(&callers.friend, &server, "/"), FINE);
    assert_eq!(callers.friend.get(&exporter).status, FORBIDDEN);
}

#[test]
fn a_tcp_route_and_a_group_must_both_allow_a_request() {
    let callers = GUARDED.callers();
    let server = callers.server("both");
    callers
        .namespace
        .apply(RouteGroup::named("both").or(Match::named("one").path("/status/201")));
    callers.namespace.apply(TcpRoute::named("both").port(80));
    callers.protect(
        &server,
        TrafficTarget::of("both").from("friend").tcp("both").http("both"),
    );
    assert_eq!(get(&callers.friend, &server, "/status/201"), Some(201));
    assert_eq!(get(&callers.friend, &server, "/status/202"), FORBIDDEN);
    let elsewhere = format!("http://{}:{}/status/201", server.name, port::GRPC);
    assert_eq!(callers.friend.get(&elsewhere).status, FORBIDDEN);
}

#[test]
fn rules_about_requests_allow_no_tcp() {
    let callers = GUARDED.callers();
    let server = callers.server("httponly");
    callers.namespace.apply(everything("httponly"));
    callers.protect(
        &server,
        TrafficTarget::of("httponly").from("friend").http("httponly"),
    );
    assert_eq!(get(&callers.friend, &server, "/"), FINE);
    assert!(talk(&callers.friend, &server).is_err());
    let https = callers.friend.get(&format!("https://{}/", server.name));
    assert!(
        https.error.is_some(),
        "TLS that the mesh does not look into: {https:?}"
    );
}

#[test]
fn grpc_is_refused_in_its_own_words() {
    let callers = GUARDED.callers();
    let server = callers.server("calls");
    callers
        .namespace
        .apply(RouteGroup::named("calls").or(Match::named("none").path("/nothing")));
    callers.protect(&server, TrafficTarget::of("calls").from("friend").http("calls"));
    let report = callers.friend.load(Load::grpc("calls").requests(5));
    assert_eq!(report.failed(), 5, "{report:?}");
    assert!(report.failures[0].kind.starts_with("grpc-7"), "{report:?}");
}

#[test]
fn the_same_account_name_in_another_namespace_is_somebody_else() {
    let callers = GUARDED.callers();
    let server = callers.server("homonym");
    let elsewhere = Namespace::fresh(&callers.mesh, "homonym", Inject::Enabled);
    let namesake = elsewhere.client("friend");
    callers.namespace.apply(everything("homonym"));
    callers.protect(
        &server,
        TrafficTarget::of("homonym").from("friend").http("homonym"),
    );
    let url = format!("http://homonym.{}/", callers.namespace.name());
    assert_eq!(answers(&namesake, &url, 403).status, FORBIDDEN);
    assert_eq!(get(&callers.friend, &server, "/"), FINE);

    callers.protect(
        &server,
        TrafficTarget::of("homonym")
            .from_namespace(elsewhere.name(), "friend")
            .http("homonym"),
    );
    assert_eq!(answers(&namesake, &url, 200).status, FINE);
    assert_eq!(get(&callers.friend, &server, "/"), FORBIDDEN);
    // Whoever is let in asks for the Service when it calls it; its configuration does not change.
    namesake.enforces("holds nothing of those who let it in", |config| {
        let mut destinations = config.destinations.iter();
        destinations.all(|one| *one.name.namespace == *elsewhere.name())
    });
}

#[test]
fn bindings_mean_accounts_ids_and_labels() {
    let callers = GUARDED.callers();
    let server = callers.server("bound");
    callers.namespace.apply(everything("bound"));
    let target = |binding: &str| TrafficTarget::of("bound").from_binding(binding).http("bound");
    callers
        .namespace
        .apply(IdentityBinding::named("by-account").account("friend"));
    callers.protect(&server, target("by-account"));
    assert_eq!(get(&callers.friend, &server, "/"), FINE);
    assert_eq!(get(&callers.stranger, &server, "/"), FORBIDDEN);

    let stranger = callers.id("stranger");
    callers
        .namespace
        .apply(IdentityBinding::named("by-id").spiffe(&[&stranger]));
    callers.protect(&server, target("by-id"));
    assert_eq!(get(&callers.stranger, &server, "/"), FINE);
    assert_eq!(get(&callers.friend, &server, "/"), FORBIDDEN);

    callers
        .namespace
        .apply(IdentityBinding::named("by-label").label("app", "friend"));
    callers.protect(&server, target("by-label"));
    // Which pods these are, the proxies are told apart from their configuration.
    answers(&callers.friend, &server.url("/"), 200);
    assert_eq!(get(&callers.stranger, &server, "/"), FORBIDDEN);
}

#[test]
fn references_that_lead_nowhere_grant_nothing_and_say_so() {
    let callers = GUARDED.callers();
    let server = callers.server("dangling");
    let namespace = &callers.namespace;
    let target = callers.protect(
        &server,
        TrafficTarget::of("dangling").from("friend").http("missing-group"),
    );
    namespace.await_condition(&target, "Accepted", "True", "Accepted");
    namespace.await_condition(&target, "ResolvedRefs", "False", "RouteGroupNotFound");
    namespace.await_event(&target, "RouteGroupNotFound");
    assert_eq!(get(&callers.friend, &server, "/"), FORBIDDEN);

    namespace.apply(RouteGroup::named("partial").or(Match::named("known").path("/status/201")));
    let target = callers.protect(
        &server,
        TrafficTarget::of("dangling")
            .from("friend")
            .http_matches("partial", &["known", "unknown"]),
    );
    namespace.await_condition(&target, "ResolvedRefs", "False", "MatchNotFound");
    assert_eq!(get(&callers.friend, &server, "/status/201"), Some(201));
    assert_eq!(get(&callers.friend, &server, "/"), FORBIDDEN);

    namespace.apply(everything("missing-group"));
    let target = callers.protect(
        &server,
        TrafficTarget::of("dangling").from("friend").http("missing-group"),
    );
    namespace.await_condition(&target, "ResolvedRefs", "True", "ResolvedRefs");
    answers(&callers.friend, &server.url("/"), 200);
}

#[test]
fn a_target_for_another_namespace_or_without_rules_is_refused_when_it_is_applied() {
    let callers = GUARDED.callers();
    let refusal = callers.namespace.refused(
        TrafficTarget::of("victim")
            .in_namespace("default")
            .from("friend")
            .tcp("any"),
    );
    assert!(refusal.contains("spec.destination.namespace"), "{refusal}");
    let refusal = callers
        .namespace
        .refused(TrafficTarget::of("victim").from("friend"));
    assert!(refusal.contains("spec.rules"), "{refusal}");
    let refusal = callers.namespace.refused(TrafficTarget::of("victim").tcp("any"));
    assert!(refusal.contains("spec.sources"), "{refusal}");
}

#[test]
fn in_deny_nothing_is_allowed_until_a_target_allows_it() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "deny", Inject::Enabled);
    namespace.annotate("smilax.dev/access-mode", Some("deny"));
    namespace.account("web");
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").account("web"));
    let friend = namespace.client("friend");
    namespace.ready(&["deployment/web"]);
    let web = Server {
        name: "web".to_owned(),
        pod: Client::of(&namespace, "web", "web"),
    };
    web.judges_in(AccessMode::Deny);
    friend.secures("web");
    answers(&friend, &web.url("/"), 403);
    assert!(talk(&friend, &web).is_err());
    namespace.apply(everything("all"));
    let target = namespace.apply(TrafficTarget::of("web").from("friend").http("all"));
    web.pod.enforces_target(&target);
    assert_eq!(get(&friend, &web, "/"), FINE);

    namespace.delete(&target);
    web.pod.forgot_target("web");
    assert_eq!(get(&friend, &web, "/"), FORBIDDEN);
    namespace.annotate("smilax.dev/access-mode", Some("allow"));
    answers(&friend, &web.url("/"), 200);
}

#[test]
fn audit_counts_what_it_would_refuse_and_lets_it_pass() {
    let callers = GUARDED.callers();
    let namespace = Namespace::fresh(&callers.mesh, "audit", Inject::Enabled);
    namespace.annotate("smilax.dev/access-mode", Some("audit"));
    namespace.account("web");
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").account("web"));
    let friend = namespace.client("friend");
    namespace.ready(&["deployment/web"]);
    let web = Server {
        name: "web".to_owned(),
        pod: Client::of(&namespace, "web", "web"),
    };
    web.judges_in(AccessMode::Audit);
    friend.secures("web");
    friend.reaches(&web.url("/"));
    let counted = web
        .pod
        .proxy_metrics()
        .lines()
        .any(|line| line.starts_with("smilax_proxy_access_decisions_total") && line.contains("audit"));
    assert!(counted, "{}", web.pod.proxy_metrics());
}

#[test]
fn a_right_that_is_taken_away_is_gone_for_open_connections_too() {
    let callers = GUARDED.callers();
    let server = callers.server("revoked");
    callers.namespace.apply(everything("revoked"));
    callers.namespace.apply(TcpRoute::named("revoked"));
    callers.protect(
        &server,
        TrafficTarget::of("revoked").from("friend").http("revoked"),
    );
    let stream = callers.protect(
        &server,
        TrafficTarget::of("revoked")
            .named("revoked-tcp")
            .from("friend")
            .tcp("revoked"),
    );
    let kept = callers
        .friend
        .start(Load::http("revoked").rate(20).connections(1));
    kept.goes_on(20);
    thread::scope(|scope| {
        let address = format!("revoked:{}", port::TCP);
        let flags = [
            "--send=hello",
            "--repeat=600",
            "--every-ms=100",
            "--timeout-ms=60000",
        ];
        let friend = &callers.friend;
        let open = scope.spawn(move || friend.tcp(&address, &flags));
        let web = &server.pod;
        wait_until("the TCP connection is carried", || {
            let open = metric(
                &web.proxy_metrics(),
                "smilax_proxy_open_connections{direction=\"inbound\"}",
            );
            Progress::when(open.unwrap_or_default() >= 2, (), || format!("{open:?}"))
        });
        callers.namespace.delete(&stream);
        let ended = open.join().expect("the thread of the open connection");
        assert!(
            ended.error.is_some() && ended.lines.len() < 600,
            "the stream went on to its end: {} lines, {:?}",
            ended.lines.len(),
            ended.error
        );
    });
    assert_eq!(get(&callers.friend, &server, "/"), FINE);
    // Closed to everybody by a target that lets nobody of these in.
    callers.protect(
        &server,
        TrafficTarget::of("revoked").from("nobody").http("revoked"),
    );
    assert_eq!(get(&callers.friend, &server, "/"), FORBIDDEN);
    let report = kept.stop();
    assert_eq!(report.connections, 1, "{report:?}");
    assert!(report.by_status.contains_key("403"), "{report:?}");
}

#[test]
fn what_a_target_says_is_seen_in_a_list() {
    let callers = GUARDED.callers();
    callers.namespace.account("listed");
    callers.namespace.apply(everything("listed"));
    let target = callers
        .namespace
        .apply(TrafficTarget::of("listed").from("friend").http("listed"));
    callers
        .namespace
        .await_condition(&target, "Accepted", "True", "Accepted");
    let table = callers
        .namespace
        .kubectl()
        .run(&["get", "traffictargets", "listed"])
        .expect("a table");
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        [
            "NAME",
            "DESTINATION",
            "SOURCES",
            "RULES",
            "ACCEPTED",
            "RESOLVED",
            "PROGRAMMED",
            "AGE"
        ],
        "{table}"
    );
    assert!(table.contains("friend") && table.contains("True"), "{table}");
}

#[test]
fn udp_routes_are_stored_and_say_that_nothing_carries_them_out() {
    let callers = GUARDED.callers();
    let route = callers.namespace.apply(json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "UDPRoute",
        "metadata": {"name": "dns"}, "spec": {"matches": {"ports": [53]}},
    }));
    callers
        .namespace
        .await_condition(&Object(route.0), "Accepted", "False", "Unsupported");
}

#[test]
fn the_application_is_told_who_calls_and_nobody_else_can_tell_it() {
    let callers = GUARDED.callers();
    let server = callers.server("told");
    let flags = [
        "--header=smilax-client-identity=spiffe://cluster.local/ns/x/sa/admin",
        "--header=x-forwarded-client-cert=By=me;URI=spiffe://cluster.local/ns/x/sa/admin",
        "--header=Smilax_Client_Identity=spiffe://cluster.local/ns/x/sa/admin",
    ];
    let fetched: Fetched = callers.friend.get_with(&server.url("/"), &flags);
    let seen: smilax_e2e::Answer =
        serde_json::from_str(&fetched.body).expect("an answer of the test application");
    assert_eq!(seen.headers["smilax-client-identity"], [callers.id("friend")]);
    let certificate = seen.headers["x-forwarded-client-cert"].join(",");
    assert!(certificate.contains(&callers.id("friend")), "{certificate}");
    assert!(!fetched.body.contains("sa/admin"), "{}", fetched.body);
}
