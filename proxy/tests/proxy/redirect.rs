//! The redirect, in network namespaces that the test makes: a pod, and a peer on the other end of its cable.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use nlink::netlink::namespace::{self, SpawnUser};

use crate::support::cable::{BINARY, Cable, Family, get};

#[test]
fn e3_a_pods_connections_go_through_the_proxy_both_ways_over_both_families() {
    let Some(cable) = Cable::new("both") else { return };
    cable.init().unwrap();
    let again = cable.init().unwrap();
    assert_eq!(again.matches("the redirect works").count(), 2, "{again}");
    let _peer = cable.serve_peer("peer");
    let _app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        let service = family.service();
        assert!(cable.in_pod(|| get(service, "/")).ends_with("peer"), "{service}");
        let pod = SocketAddr::new(family.pod(), 8080);
        assert!(cable.in_peer(|| get(pod, "/")).ends_with("app"), "{pod}");
    }
    let metrics = SocketAddr::new(Family::V4.pod(), 15020);
    let metrics = cable.in_peer(|| get(metrics, "/metrics"));
    let count = |reporter: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("istio_requests_total") && line.contains(reporter));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(count("reporter=\"source\""), Some(2), "{metrics}");
    assert_eq!(count("reporter=\"destination\""), Some(2), "{metrics}");
}

#[test]
fn the_kernel_holds_what_the_dry_run_shows() {
    let Some(cable) = Cable::new("list") else { return };
    let skips = [
        "--skip-inbound-ports",
        "9100",
        "--skip-outbound-ports",
        "25,3306-3310",
        "--inbound-udp",
        "drop",
    ];
    cable.init_with(&skips, None).unwrap();
    let mut list = Command::new("nft");
    list.args(["list", "table", "inet", "smilax"]);
    let Ok(listed) = namespace::spawn_output(&cable.pod, list) else {
        eprintln!("SKIPPED: nft is not installed");
        return;
    };
    let shown = Command::new(BINARY)
        .args(["init", "--dry-run"])
        .args(skips)
        .output()
        .unwrap();
    let normal = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).replace("priority -100", "priority dstnat");
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines
            .into_iter()
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(normal(&listed), normal(&shown));
}

#[test]
fn e6_udp_that_nobody_in_the_pod_asked_for_is_dropped_where_init_is_told_so() {
    let Some(cable) = Cable::new("udp") else { return };
    for (udp, first) in [("open", "unasked"), ("drop", "answer")] {
        cable
            .init_with(&["--inbound-udp", udp, "--skip-inbound-ports", "5353"], None)
            .unwrap();
        for family in Family::BOTH {
            let bind = |address: std::net::IpAddr, port| {
                let socket = UdpSocket::bind((address, port)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket
            };
            let (pod, skipped) = cable.in_pod(|| (bind(family.pod(), 9999), bind(family.pod(), 5353)));
            let (stranger, asked) = cable.in_peer(|| (bind(family.peer(), 0), bind(family.peer(), 0)));
            // In this order, so that what was dropped is known not to come any more once something else has.
            stranger.send_to(b"unasked", (family.pod(), 9999)).unwrap();
            stranger.send_to(b"skipped", (family.pod(), 5353)).unwrap();
            assert_eq!(received(&skipped).0, "skipped");
            pod.send_to(b"question", asked.local_addr().unwrap()).unwrap();
            let (question, from) = received(&asked);
            assert_eq!(question, "question");
            asked.send_to(b"answer", from).unwrap();
            assert_eq!(received(&pod).0, first, "{udp}");
        }
    }
}

fn received(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

#[test]
fn without_the_capability_it_says_so() {
    let Some(cable) = Cable::new("cap") else { return };
    let error = cable
        .init_with(&[], Some(SpawnUser::new(1000, 1000)))
        .unwrap_err();
    assert!(error.contains("NET_ADMIN"), "{error}");
}
