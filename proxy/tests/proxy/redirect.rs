//! The redirect, in network namespaces that the test makes: a pod, and a peer on the other end of its cable.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use nlink::netlink::namespace::{self, SpawnUser};
use socket2::{Domain, Protocol, Socket, Type};

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
    let bind = |address: IpAddr, port| {
        let socket = UdpSocket::bind((address, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    };
    // Bound once: a program that another test starts holds a socket for a moment after it is closed here.
    let sockets = Family::BOTH.map(|family| {
        let pod = cable.in_pod(|| (bind(family.pod(), 9999), bind(family.pod(), 5353)));
        let peer = cable.in_peer(|| (bind(family.peer(), 0), bind(family.peer(), 0)));
        (family, pod, peer)
    });
    for (udp, first) in [("open", "unasked"), ("drop", "answer")] {
        cable
            .init_with(&["--inbound-udp", udp, "--skip-inbound-ports", "5353"], None)
            .unwrap();
        for (family, (pod, skipped), (stranger, asked)) in &sockets {
            // In this order, so that what was dropped is known not to come any more once something else has.
            stranger.send_to(b"unasked", (family.pod(), 9999)).unwrap();
            stranger.send_to(b"skipped", (family.pod(), 5353)).unwrap();
            assert_eq!(received(skipped).0, "skipped");
            pod.send_to(b"question", asked.local_addr().unwrap()).unwrap();
            let (question, from) = received(asked);
            assert_eq!(question, "question");
            asked.send_to(b"answer", from).unwrap();
            assert_eq!(received(pod).0, first, "{udp}");
            if first == "unasked" {
                assert_eq!(received(pod).0, "answer");
            }
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

/// Protocols that no proxy carries, and what is sent of each: GRE, SCTP, one that nobody has, and requests for an echo with this
/// identifier: what answers them lets further ones in.
fn uncarried(family: Family, identifier: u8) -> [(i32, Vec<u8>); 4] {
    let echo = match family {
        Family::V4 => (1, vec![8, 0, 0, 0, 0, identifier, 0, 0]),
        Family::V6 => (58, vec![128, 0, 0, 0, 0, identifier, 0, 0]),
    };
    // From port 7 to port 9.
    let sctp = vec![0, 7, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    [(47, vec![0; 8]), (132, sctp), (253, vec![0; 8]), echo]
}

fn raw(family: Family, protocol: i32, address: IpAddr) -> Socket {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).unwrap();
    socket.bind(&SocketAddr::new(address, 0).into()).unwrap();
    socket
}

/// Sends what comes in whatever the mode.
struct Overtaker {
    family: Family,
    stranger: UdpSocket,
    skipped: UdpSocket,
}

impl Overtaker {
    /// Its sockets are bound once: a program that another test starts holds a socket for a moment after it is closed here.
    fn new(cable: &Cable, family: Family) -> Self {
        let bind = |address: IpAddr, port| UdpSocket::bind((address, port)).unwrap();
        let skipped = cable.in_pod(|| bind(family.pod(), 5353));
        skipped.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let stranger = cable.in_peer(|| bind(family.peer(), 0));
        Self {
            family,
            stranger,
            skipped,
        }
    }

    /// Sends something that comes in. What was sent before it has come in by then, or never will.
    fn overtake(&self) {
        self.stranger
            .send_to(b"skipped", (self.family.pod(), 5353))
            .unwrap();
        assert_eq!(received(&self.skipped).0, "skipped");
    }
}

/// Whether something that begins like this came in. Of ICMPv6 a socket hears of neighbours too.
fn has_any(socket: &Socket, family: Family, packet: &[u8]) -> bool {
    socket.set_nonblocking(true).unwrap();
    let header = match family {
        Family::V4 => 20,
        Family::V6 => 0,
    };
    let (mut reading, mut buffer) = (socket, [0; 256]);
    while let Ok(length) = reading.read(&mut buffer) {
        if buffer[..length].get(header..=header) == packet.get(..1) {
            return true;
        }
    }
    false
}

#[test]
fn s22_where_everything_is_denied_nothing_but_tcp_comes_in_that_nobody_asked_for() {
    let Some(cable) = Cable::new("s22") else { return };
    let overtakers = Family::BOTH.map(|family| Overtaker::new(&cable, family));
    for (mode, comes_in, identifier) in [("open", true, 1), ("drop", false, 2)] {
        cable
            .init_with(&["--inbound-udp", mode, "--skip-inbound-ports", "5353"], None)
            .unwrap();
        for overtaker in &overtakers {
            let family = overtaker.family;
            for (protocol, packet) in uncarried(family, identifier) {
                let pod = cable.in_pod(|| raw(family, protocol, family.pod()));
                let stranger = cable.in_peer(|| raw(family, protocol, family.peer()));
                stranger
                    .send_to(&packet, &SocketAddr::new(family.pod(), 0).into())
                    .unwrap();
                overtaker.overtake();
                assert_eq!(
                    has_any(&pod, family, &packet),
                    comes_in,
                    "{family:?}, protocol {protocol}, {mode}"
                );
            }
        }
    }
}

#[test]
fn s22_a_port_of_sctp_that_is_left_alone_stays_open() {
    let Some(cable) = Cable::new("s22-sctp") else {
        return;
    };
    cable
        .init_with(&["--inbound-udp", "drop", "--skip-inbound-ports", "9,5353"], None)
        .unwrap();
    for family in Family::BOTH {
        let [_, (protocol, packet), ..] = uncarried(family, 3);
        let pod = cable.in_pod(|| raw(family, protocol, family.pod()));
        let stranger = cable.in_peer(|| raw(family, protocol, family.peer()));
        stranger
            .send_to(&packet, &SocketAddr::new(family.pod(), 0).into())
            .unwrap();
        Overtaker::new(&cable, family).overtake();
        assert!(has_any(&pod, family, &packet), "{family:?}");
    }
}

#[test]
fn s22_errors_that_path_mtu_needs_still_come_in() {
    let Some(cable) = Cable::new("s22-errors") else {
        return;
    };
    cable
        .init_with(&["--inbound-udp", "drop", "--skip-inbound-ports", "5353"], None)
        .unwrap();
    // Fragmentation needed, and packet too big; about a packet that this pod never sent.
    let errors = [
        (Family::V4, 1, [3, 4, 0, 0, 0, 0, 5, 0]),
        (Family::V6, 58, [2, 0, 0, 0, 0, 0, 5, 0]),
    ];
    for (family, protocol, mut error) in errors {
        if let Family::V4 = family {
            // The checksum of these eight bytes (RFC 1071); of ICMPv6 the kernel fills it in.
            error[2..4].copy_from_slice(&(!0x0804_u16).to_be_bytes());
        }
        let pod = cable.in_pod(|| raw(family, protocol, family.pod()));
        let stranger = cable.in_peer(|| raw(family, protocol, family.peer()));
        stranger
            .send_to(&error, &SocketAddr::new(family.pod(), 0).into())
            .unwrap();
        Overtaker::new(&cable, family).overtake();
        assert!(has_any(&pod, family, &error), "{family:?}");
    }
}

#[test]
fn s22_answers_to_what_the_pod_asks_and_neighbours_are_found() {
    let Some(cable) = Cable::new("s22-answers") else {
        return;
    };
    cable.init_with(&["--inbound-udp", "drop"], None).unwrap();
    // Echo requests with their checksums, which of ICMPv6 the kernel fills in; and where the type of an answer stands.
    let questions = [
        (Family::V4, 1, [8, 0, 0xf7, 0xff, 0, 0, 0, 0], (20, 0)),
        (Family::V6, 58, [128, 0, 0, 0, 0, 0, 0, 0], (0, 129)),
    ];
    for (family, protocol, question, (place, kind)) in questions {
        // Nothing is known of the neighbour yet, so it is looked for first.
        let pod = cable.in_pod(|| raw(family, protocol, family.pod()));
        pod.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        pod.send_to(&question, &SocketAddr::new(family.peer(), 0).into())
            .unwrap();
        let mut answer = [0xff; 64];
        while answer[place] != kind {
            let length = (&pod).read(&mut answer).unwrap();
            assert!(length > place);
        }
    }
}
