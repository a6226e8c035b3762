//! Attacks on the redirect and on the proxy's own ports, in network namespaces: a pod, and its node, which stands for
//! every other pod as well.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use smilax_core::convention::PROXY_PORTS;

use crate::support::cable::{Answer, Cable, Family, ask, get, serve};

/// What each port of the proxy answers to a caller that reads, and to one that changes something.
const CALLS: &str = "
caller           by           15000            15001            15006            15020            15021
another pod      pod address  refused refused  closed closed    closed closed    200 405          404 405
another pod      Service      refused refused  closed closed    closed closed    200 405          404 405
the application  loopback     200 200          closed closed    closed closed    200 405          404 405
the application  pod address  refused refused  closed closed    closed closed    200 405          404 405
the application  Service      closed closed    closed closed    closed closed    200 405          404 405
";

/// Calls from somewhere; answers with what became of each.
type Call<'a> = &'a dyn Fn(SocketAddr, [(&'static str, &'static str); 2]) -> String;

#[test]
fn e1_every_port_of_the_proxy_answers_only_whom_the_table_says() {
    let Some(cable) = Cable::new("e1") else { return };
    cable.be_node();
    cable.init().unwrap();
    let app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    let another_pod = |address: SocketAddr, call| cable.in_peer(|| calls(address, call));
    let application = |address: SocketAddr, call| cable.in_pod(|| calls(address, call));
    for family in Family::BOTH {
        let mut table = "\ncaller           by           ".to_owned();
        for port in PROXY_PORTS {
            write!(table, "{port:<17}").unwrap();
        }
        end_line(&mut table);
        let vantages: [(&str, &str, IpAddr, Call<'_>); 5] = [
            ("another pod", "pod address", family.pod(), &another_pod),
            ("another pod", "Service", family.own_service(), &another_pod),
            ("the application", "loopback", family.loopback(), &application),
            ("the application", "pod address", family.pod(), &application),
            ("the application", "Service", family.own_service(), &application),
        ];
        for (caller, by, address, call) in vantages {
            write!(table, "{caller:<17}{by:<13}").unwrap();
            for port in PROXY_PORTS {
                let answers = call(SocketAddr::new(address, port), requests(port));
                write!(table, "{answers:<17}").unwrap();
            }
            end_line(&mut table);
        }
        assert_eq!(table, CALLS, "{family:?}");
    }
    assert_eq!(app.accepted(), 0, "somebody came through to the application");
}

/// What reads there, and what would change something.
fn requests(port: u16) -> [(&'static str, &'static str); 2] {
    match port {
        15000 => [("GET", "/config"), ("PUT", "/log-level")],
        _ => [("GET", "/metrics"), ("PUT", "/log-level")],
    }
}

fn calls(address: SocketAddr, requests: [(&str, &str); 2]) -> String {
    let [one, other] = requests.map(|(method, path)| ask(address, method, path));
    format!("{} {}", one.word(), other.word())
}

fn end_line(table: &mut String) {
    table.truncate(table.trim_end().len());
    table.push('\n');
}

#[test]
fn f13_administration_is_refused_from_another_pod_over_both_families() {
    let Some(cable) = Cable::new("f13") else { return };
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        let admin = |address| SocketAddr::new(address, 15000);
        let here = cable.in_pod(|| ask(admin(family.loopback()), "GET", "/config"));
        assert_eq!(here.word(), "200", "{family:?}");
        for path in [
            "/config",
            "/config/status",
            "/log-level",
            "/drain",
            "/debug/pprof",
        ] {
            let there = cable.in_peer(|| ask(admin(family.pod()), "GET", path));
            assert_eq!(there, Answer::Refused, "{family:?} {path}");
        }
    }
}

#[test]
fn e2_a_connection_that_was_led_to_the_pod_and_meant_somebody_else_is_reset() {
    let Some(cable) = Cable::new("e2-other") else {
        return;
    };
    cable.init().unwrap();
    let app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    cable.lead_to_pod("10.88.0.0/24", Family::V4);
    // Where clouds answer for credentials.
    cable.lead_to_pod("169.254.169.254/32", Family::V4);
    cable.lead_to_pod("fd88::/64", Family::V6);
    for foreign in ["10.88.0.1:8080", "169.254.169.254:80", "[fd88::1]:8080"] {
        let foreign = foreign.parse().unwrap();
        assert_eq!(
            cable.in_peer(|| ask(foreign, "GET", "/")),
            Answer::Closed,
            "{foreign}"
        );
    }
    assert_eq!(app.accepted(), 0);
}

#[test]
fn e2_what_the_application_serves_on_loopback_alone_stays_closed_to_others() {
    let Some(cable) = Cable::new("e2-loop") else {
        return;
    };
    cable.init().unwrap();
    let secret = cable.in_pod(|| serve(&["127.0.0.1:9000", "[::1]:9000"], "secret"));
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        let from_outside = cable.in_peer(|| ask(SocketAddr::new(family.pod(), 9000), "GET", "/"));
        assert_eq!(from_outside.word(), "503", "{family:?}");
        assert_eq!(secret.accepted(), 0);
    }
    let within = cable.in_pod(|| get(SocketAddr::new(Family::V4.loopback(), 9000), "/"));
    assert!(within.ends_with("secret"), "{within}");
}

#[test]
fn e3_init_fails_when_one_family_is_not_redirected() {
    for (name, address) in [("e3-v4", "192.0.2.1"), ("e3-v6", "2001:db8::1")] {
        let Some(cable) = Cable::new(name) else { return };
        let address: IpAddr = address.parse().unwrap();
        cable.divert(address);
        let error = cable.init().unwrap_err();
        let expected = format!(
            "a connection to {} did not arrive",
            SocketAddr::new(address, 1024)
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn e8_while_the_proxy_is_not_there_connections_are_refused_and_never_reach_the_application() {
    let Some(cable) = Cable::new("e8") else { return };
    cable.init().unwrap();
    let app = cable.serve_pod("app");
    let peer = cable.serve_peer("peer");
    let refused_both_ways = |when: &str| {
        for family in Family::BOTH {
            let pod = SocketAddr::new(family.pod(), 8080);
            let inwards = cable.in_peer(|| ask(pod, "GET", "/"));
            let outwards = cable.in_pod(|| ask(SocketAddr::new(family.peer(), 8080), "GET", "/"));
            assert_eq!(
                (inwards, outwards),
                (Answer::Refused, Answer::Refused),
                "{when}, {family:?}"
            );
        }
    };
    refused_both_ways("before it starts");
    let mut proxy = cable.run_proxy();
    let pod = SocketAddr::new(Family::V4.pod(), 8080);
    assert!(cable.in_peer(|| get(pod, "/")).ends_with("app"));
    proxy.kill();
    refused_both_ways("after kill -9");
    assert_eq!((app.accepted(), peer.accepted()), (1, 0));
    let _proxy = cable.run_proxy();
    assert!(
        cable.in_peer(|| get(pod, "/")).ends_with("app"),
        "after it is back"
    );
}

#[test]
fn e9_rules_that_were_flushed_are_put_back_by_the_next_init() {
    let Some(cable) = Cable::new("e9") else { return };
    cable.init().unwrap();
    cable.flush();
    let told = cable.init().unwrap();
    assert_eq!(told.matches("the redirect works").count(), 2, "{told}");
    let app = cable.serve_pod("app");
    let pod = SocketAddr::new(Family::V4.pod(), 8080);
    assert_eq!(cable.in_peer(|| ask(pod, "GET", "/")), Answer::Refused);
    assert_eq!(app.accepted(), 0);
}

#[test]
fn e11_an_application_reaches_itself_by_its_service_its_address_and_loopback_without_a_loop() {
    let Some(cable) = Cable::new("e11") else { return };
    cable.be_node();
    cable.init().unwrap();
    let app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        for address in [family.own_service(), family.pod(), family.loopback()] {
            let before = app.accepted();
            let address = SocketAddr::new(address, 8080);
            let answer = cable.in_pod(|| get(address, "/"));
            assert!(answer.ends_with("app"), "{address}: {answer}");
            assert_eq!(app.accepted(), before + 1, "{address}");
        }
    }
    let metrics = cable.in_peer(|| get(SocketAddr::new(Family::V4.pod(), 15020), "/metrics"));
    for reporter in ["source", "destination"] {
        let line = metrics.lines().find(|line| {
            line.starts_with("istio_requests_total") && line.contains(&format!("reporter=\"{reporter}\""))
        });
        let count = line.and_then(|line| line.rsplit(' ').next());
        assert_eq!(
            count,
            Some("2"),
            "one call of each family went by the Service: {metrics}"
        );
    }
}

#[test]
fn s13_metrics_are_read_from_where_the_installation_says_and_readiness_from_everywhere() {
    let Some(cable) = Cable::new("s13") else { return };
    let own = "10.77.0.0/24,fd77::/64";
    for (ranges, expected) in [("192.0.2.0/24", "403"), (own, "200"), ("", "200")] {
        let _proxy = cable.run_proxy_with(&["--metrics-source-ranges", ranges]);
        for family in Family::BOTH {
            let pod = SocketAddr::new(family.pod(), 15020);
            let metrics = cable.in_peer(|| ask(pod, "GET", "/metrics"));
            assert_eq!(metrics.word(), expected, "{ranges}, {family:?}");
            let ready = cable.in_peer(|| ask(pod, "GET", "/ready"));
            assert_eq!(ready.word(), "200", "{ranges}, {family:?}");
            let loopback = SocketAddr::new(family.loopback(), 15020);
            let within = cable.in_pod(|| ask(loopback, "GET", "/metrics"));
            assert_eq!(within.word(), "200", "{ranges}, {family:?}");
        }
    }
}
