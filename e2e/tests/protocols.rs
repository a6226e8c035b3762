//! Every protocol passes, and is split as it can be: by request where there are requests, else by connection.

use smilax_e2e::objects::port;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Answer, Client, Fetched, Load, Service, Shared, TrafficSplit, Web, Workload, assert_share};

static WEB: Shared = Shared::new("protocols");

/// A root that is split half and half.
#[track_caller]
fn halved(web: &Web, root: &str) {
    web.root(root);
    web.enforce(TrafficSplit::of(root).backend("web-v1", 1).backend("web-v2", 1));
}

/// Who answered, as the application saw the request.
#[track_caller]
fn answer(fetched: &Fetched) -> Answer {
    assert_eq!(fetched.status, Some(200), "{fetched:?}");
    serde_json::from_str(&fetched.body).expect("the answer is that of the test application")
}

#[test]
fn http1_is_split_by_request_over_one_kept_connection() {
    let web = WEB.hold();
    halved(&web, "kept");
    let report = web.client.load(Load::http("kept").requests(2000));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
    assert_eq!(report.connections, 1, "{report:?}");
}

#[test]
fn http2_is_split_by_request_over_one_connection() {
    let web = WEB.hold();
    halved(&web, "prior");
    let report = web.client.load(Load::h2("prior").requests(2000));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
    assert_eq!(report.connections, 1, "{report:?}");
    assert_eq!(
        answer(&web.client.get_with("http://prior/", &["--h2"])).protocol,
        "HTTP/2.0"
    );
}

#[test]
fn grpc_is_split_by_call_over_one_connection() {
    let web = WEB.hold();
    halved(&web, "rpc");
    let report = web.client.load(Load::grpc("rpc").requests(2000));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
    assert_share(&report, "web-v2", 0.5);
    assert_eq!(report.connections, 1, "{report:?}");
}

#[test]
fn tcp_is_split_by_connection() {
    let web = WEB.hold();
    halved(&web, "stream");
    let report = web.client.load(Load::tcp("stream").requests(1000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
    assert_share(&report, "web-v2", 0.5);
}

#[test]
fn a_protocol_in_which_the_server_speaks_first_is_split_by_connection() {
    let web = WEB.hold();
    halved(&web, "greeting");
    let report = web
        .client
        .load(Load::server_first("greeting").requests(1000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
}

#[test]
fn a_server_that_speaks_first_on_a_port_of_unknown_protocol_is_not_stalled() {
    let web = WEB.hold();
    let unnamed = |name: &str, app: &str| Service::named(name).selecting(app).port("mail", 25, port::GREET);
    web.namespace.apply(unnamed("mail", "web-root"));
    web.namespace.apply(unnamed("mail-v2", "web-v2"));
    web.enforce(TrafficSplit::of("mail").backend("mail-v2", 1));
    let talked = smilax_e2e::wait_until("the server greets", || {
        let talked = web
            .client
            .tcp("mail:25", &["--server-first", "--timeout-ms=3000"]);
        smilax_e2e::Progress::when(talked.error.is_none(), talked.clone(), || format!("{talked:?}"))
    });
    assert!(talked.lines[0].starts_with("web-v2 "), "{talked:?}");
}

#[test]
fn http_on_a_port_of_unknown_protocol_is_detected_and_split_by_request() {
    let web = WEB.hold();
    let unnamed = |name: &str, app: &str| {
        Service::named(name)
            .selecting(app)
            .port("thing", 1234, port::HTTP)
    };
    web.namespace.apply(unnamed("guess", "web-root"));
    web.namespace.apply(unnamed("guess-v1", "web-v1"));
    web.namespace.apply(unnamed("guess-v2", "web-v2"));
    for name in ["guess", "guess-v1", "guess-v2"] {
        web.client.reaches(&format!("http://{name}:1234/"));
    }
    web.enforce(
        TrafficSplit::of("guess")
            .backend("guess-v1", 1)
            .backend("guess-v2", 1),
    );
    let report = web.client.load(Load::to("http://guess:1234/").requests(2000));
    assert_no_failures(&report);
    assert_share(&report, "web-v1", 0.5);
    assert_eq!(report.connections, 1, "{report:?}");
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let web = WEB.hold();
    halved(&web, "upgraded");
    let talked = web
        .client
        .upgrade("http://upgraded/upgrade", &["one", "two", "three"]);
    assert_eq!(talked.error, None);
    assert_eq!(talked.lines, ["one", "two", "three"]);
}

#[test]
fn tls_of_the_application_passes_untouched_and_is_split_by_connection() {
    let web = WEB.hold();
    halved(&web, "secret");
    let report = web
        .client
        .load(Load::to("https://secret/").requests(200).connections(8));
    assert_no_failures(&report);
    let seen = answer(&web.client.get("https://secret/"));
    assert!(seen.tls, "the application did not end TLS itself: {seen:?}");
    assert_eq!(
        answer(&web.client.get_with("https://secret/", &["--h2"])).protocol,
        "HTTP/2.0"
    );
    let names: Vec<String> = (0..20)
        .map(|_| answer(&web.client.get("https://secret/")).name)
        .collect();
    assert!(
        names.contains(&"web-v1".to_owned()) && names.contains(&"web-v2".to_owned()),
        "{names:?}"
    );
}

#[test]
fn bodies_come_through_whole_both_ways() {
    let web = WEB.hold();
    halved(&web, "bodies");
    let large = web.client.get("http://bodies/bytes/3000000");
    assert_eq!((large.status, large.body.len()), (Some(200), 3_000_000));
    let streamed = web.client.get("http://bodies/stream/5/10");
    assert_eq!(streamed.body, "0\n1\n2\n3\n4\n");
    let body = "smilax ".repeat(2000);
    let flag = format!("--body={body}");
    let echoed = web
        .client
        .get_with("http://bodies/echo", &["--method=POST", &flag]);
    assert_eq!(echoed.body, body);
}

#[test]
fn the_application_sees_what_the_client_sent() {
    let web = WEB.hold();
    halved(&web, "faithful");
    let path = "/a%2Fb/../c//d;e=1?q=%C3%BC&r=";
    let flags = [
        "--header=X-Twice=one",
        "--header=X-Twice=two",
        "--host=shop.example",
    ];
    let seen = answer(&web.client.get_with(&format!("http://faithful{path}"), &flags));
    assert_eq!(seen.path, path);
    assert_eq!(seen.host, "shop.example");
    assert_eq!(seen.headers["x-twice"], ["one", "two"]);
    assert_eq!(seen.protocol, "HTTP/1.1");
}

#[test]
fn statuses_of_the_application_are_handed_through() {
    let web = WEB.hold();
    halved(&web, "honest");
    for status in [204, 304, 404, 418, 500, 503] {
        let fetched = web.client.get(&format!("http://honest/status/{status}"));
        assert_eq!(fetched.status, Some(status));
        assert!(fetched.headers.contains_key("x-testapp-name"), "{fetched:?}");
    }
}

#[test]
fn a_stateful_set_is_reached_by_the_names_of_its_pods_and_of_its_service() {
    let web = WEB.hold();
    web.namespace.apply(
        Service::named("store")
            .headless()
            .port("http", port::HTTP, port::HTTP),
    );
    web.namespace
        .apply(Workload::stateful_set("store", "store").replicas(2));
    web.namespace.ready(&["statefulset/store"]);
    for pod in ["store-0", "store-1"] {
        let url = format!("http://{pod}.store:{}/", port::HTTP);
        web.client.reaches(&url);
        assert_eq!(answer(&web.client.get(&url)).pod, pod);
    }
    web.client.reaches(&format!("http://store:{}/", port::HTTP));
    // A pod of the set is a client like any other.
    let member = Client::in_pod(&web.namespace, "store-0", "default");
    assert_eq!(answer(&member.get("http://web-v1/")).name, "web-v1");
}

#[test]
fn a_headless_root_is_split_by_the_host_that_names_it_and_its_pods_are_not() {
    let web = WEB.hold();
    web.namespace.apply(
        Service::named("flock")
            .headless()
            .port("http", port::HTTP, port::HTTP),
    );
    web.namespace
        .apply(Workload::stateful_set("flock", "flock").replicas(1));
    let target = |name: &str, app: &str| {
        Service::named(name)
            .selecting(app)
            .port("http", port::HTTP, port::HTTP)
    };
    web.namespace.apply(target("flock-v2", "web-v2"));
    web.namespace.ready(&["statefulset/flock"]);
    let by_service = format!("http://flock:{}/", port::HTTP);
    let by_pod = format!("http://flock-0.flock:{}/", port::HTTP);
    web.client.reaches(&by_service);
    web.client.reaches(&by_pod);
    web.enforce(TrafficSplit::of("flock").backend("flock-v2", 1));
    let report = web.client.load(Load::to(&by_service).requests(100));
    assert_no_failures(&report);
    assert_share(&report, "web-v2", 1.0);
    assert_eq!(answer(&web.client.get(&by_pod)).pod, "flock-0");
}

#[test]
fn both_address_families_of_a_service_are_split() {
    let web = WEB.hold();
    let mut service = smilax_e2e::Object::from(Service::named("dual").selecting("web-root"));
    service.0["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    let service = web.namespace.apply(service);
    web.enforce(TrafficSplit::of("dual").backend("web-v2", 1));
    let stored = web.namespace.read(&service);
    for address in stored["spec"]["clusterIPs"].as_array().unwrap() {
        let address = address.as_str().unwrap();
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        web.client.reaches(&format!("http://{host}/"));
        let report = web.client.load(Load::http(&host).requests(50));
        assert_no_failures(&report);
        assert_share(&report, "web-v2", 1.0);
    }
}
