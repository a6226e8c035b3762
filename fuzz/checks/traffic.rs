//! What must hold for any bytes that a client and a server say to each other through a whole proxy.
//!
//! An input is `i` or `o` for the side of the proxy, the client's bytes, `<server>`, and the server's. Both say what they
//! have and then no more. The proxy must neither panic nor wait for ever, and whatever it sends on must be clear to a
//! strict reader: no request that the client did not send, no response that the server did not give.

mod strict;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use smilax_core::config::{Destination, DestinationPort, Protocol};
use smilax_core::{PodView, ProxyConfig, RouteTable, Workload};
use smilax_proxy::log::Level;
use smilax_proxy::original_destination::Resolver;
use smilax_proxy::run::Proxy;
use smilax_proxy::settings::{ConfigLocation, Limits, Pod, Ports, Settings};

use strict::{Fault, Head, Length};

const SEPARATOR: &[u8] = b"<server>";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than anything that the proxy waits for here.
const HANGS: Duration = Duration::from_secs(20);
/// How long the proxy waits here. Nothing depends on it but how many inputs are tried.
const WAITS: Duration = Duration::from_millis(50);

/// Lets a client and a server talk, and holds what they heard against what they said.
pub(crate) fn traffic(bytes: &[u8]) {
    static SIDES: [OnceLock<Stand>; 2] = [OnceLock::new(), OnceLock::new()];
    let Some((&side, said)) = bytes.split_first() else {
        return;
    };
    let at = said.windows(SEPARATOR.len()).position(|bytes| bytes == SEPARATOR);
    let (client, server) = match at {
        Some(at) => (&said[..at], &said[at + SEPARATOR.len()..]),
        None => (said, &b""[..]),
    };
    let stand = match side {
        b'i' => SIDES[0].get_or_init(|| Stand::new(Side::Inbound)),
        _ => SIDES[1].get_or_init(|| Stand::new(Side::Outbound)),
    };
    let conversation = stand.play(client, server);
    for heard in &conversation.by_server {
        vet_requests(heard, server);
    }
    vet_responses(client, &conversation.by_client);
}

#[derive(Clone, Copy)]
enum Side {
    Inbound,
    Outbound,
}

/// A proxy, and a server behind it.
struct Stand {
    address: SocketAddr,
    server: Arc<Server>,
    _proxy: Proxy,
}

#[derive(Default)]
struct Server {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    says: Vec<u8>,
    open: usize,
    heard: Vec<Vec<u8>>,
}

/// What each of the two heard.
struct Conversation {
    by_client: Vec<u8>,
    by_server: Vec<Vec<u8>>,
}

impl Stand {
    fn new(side: Side) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let original = listener.local_addr().expect("its address");
        let server = Arc::<Server>::default();
        std::thread::spawn({
            let server = Arc::clone(&server);
            move || server.serve(&listener)
        });
        let proxy = Proxy::start(settings(side, original), Level::fixed()).expect("the proxy starts");
        let table = RouteTable::lower(&config(original), &PodView::default()).expect("a configuration");
        proxy.shared().table.store(Arc::new(table));
        let port = match side {
            Side::Inbound => proxy.ports.inbound,
            Side::Outbound => proxy.ports.outbound,
        };
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            server,
            _proxy: proxy,
        }
    }

    fn play(&self, client: &[u8], server: &[u8]) -> Conversation {
        self.server.state.lock().says = server.to_vec();
        let mut stream = TcpStream::connect(self.address).expect("the proxy accepts");
        stream.set_read_timeout(Some(HANGS)).expect("a timeout");
        // Whoever resets may do so at any time.
        let _ = stream.write_all(client);
        let _ = stream.shutdown(Shutdown::Write);
        let mut by_client = Vec::new();
        if let Err(error) = stream.read_to_end(&mut by_client) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "the client's connection hangs"
            );
        }
        drop(stream);
        Conversation {
            by_client,
            by_server: self.server.heard(),
        }
    }
}

impl Server {
    fn serve(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            self.state.lock().open += 1;
            let server = Arc::clone(self);
            std::thread::spawn(move || {
                let heard = server.converse(stream);
                let mut state = server.state.lock();
                state.open -= 1;
                state.heard.push(heard);
                server.changed.notify_all();
            });
        }
    }

    /// Says what it has to whoever says something, and listens to the end.
    fn converse(&self, mut stream: TcpStream) -> Vec<u8> {
        let mut heard = vec![0; 64 * 1024];
        let first = stream.read(&mut heard).unwrap_or(0);
        heard.truncate(first);
        let says = self.state.lock().says.clone();
        let _ = stream.write_all(&says);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut heard);
        heard
    }

    /// What was heard since the last time, once every connection has ended.
    fn heard(&self) -> Vec<Vec<u8>> {
        let mut state = self.state.lock();
        let waited = self
            .changed
            .wait_while_for(&mut state, |state| state.open > 0, HANGS);
        assert!(!waited.timed_out(), "a connection to the server hangs");
        std::mem::take(&mut state.heard)
    }
}

fn config(original: SocketAddr) -> ProxyConfig {
    ProxyConfig {
        destinations: vec![Destination {
            name: "shop/web".parse().expect("a name"),
            addresses: vec![original.ip()],
            accounts: vec![],
            ports: vec![DestinationPort::plaintext(original.port(), Protocol::Http)],
        }],
        ..ProxyConfig::empty(Workload::new("shop", "client"))
    }
}

fn settings(side: Side, original: SocketAddr) -> Settings {
    let mut settings = Settings {
        config: ConfigLocation::File("/nonexistent/policy.json".into()),
        listen: vec![Ipv4Addr::LOCALHOST.into()],
        listen_admin: vec![Ipv4Addr::LOCALHOST.into()],
        ports: Ports {
            outbound: 0,
            inbound: 0,
            metrics: 0,
            probe: 0,
            admin: 0,
        },
        limits: Limits {
            upstream_handshake: WAITS,
            header_read: WAITS,
            idle: WAITS,
            keep_alive: WAITS,
            body: WAITS,
            stalled: WAITS,
            ..Limits::default()
        },
        ..Settings::default()
    };
    match side {
        Side::Inbound => {
            settings.inbound_destination = Resolver::Fixed(original);
            settings.inbound_protocols = [(original.port(), Protocol::Http)].into();
            settings.pod = Pod {
                ips: vec![original.ip()],
                ..Pod::default()
            };
        }
        Side::Outbound => settings.outbound_destination = Resolver::Fixed(original),
    }
    settings
}

/// Holds that a server can understand what it got in one way only.
fn vet_requests(heard: &[u8], server: &[u8]) {
    if heard.starts_with(PREFACE) || PREFACE.starts_with(heard) {
        return;
    }
    if let Err(Fault::Unclear(why)) = requests(heard, server) {
        panic!(
            "the server could be smuggled a request: {why}: {:?}",
            String::from_utf8_lossy(heard)
        );
    }
}

/// Methods of the requests that are here, up to one after which the connection may be no HTTP.
fn requests<'a>(mut bytes: &'a [u8], server: &[u8]) -> Result<Vec<&'a [u8]>, Fault> {
    let mut methods = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = Head::read(bytes)?;
        let method = head.method()?;
        methods.push(method);
        let switches = !head.values("upgrade").is_empty() && server.windows(5).any(|bytes| bytes == b" 101 ");
        if switches || method == b"CONNECT" {
            return Ok(methods);
        }
        bytes = strict::after(head.length()?, rest)?;
    }
    Ok(methods)
}

/// Holds that a client gets responses that it can understand in one way only, and no more than it asked for.
fn vet_responses(client: &[u8], heard: &[u8]) {
    if client.starts_with(PREFACE) {
        return vet_frames(&client[PREFACE.len()..], heard);
    }
    let upgrades = client
        .windows(7)
        .any(|bytes| bytes.eq_ignore_ascii_case(b"upgrade"));
    let asked = requests(client, b" 101 ").ok();
    let asked = asked.filter(|methods| !upgrades && !methods.contains(&&b"CONNECT"[..]));
    match (responses(heard, asked.as_deref()), asked) {
        (Err(Fault::Unclear(why)), _) => {
            panic!(
                "the client cannot understand its responses: {why}: {:?}",
                String::from_utf8_lossy(heard)
            )
        }
        (Ok(count), Some(methods)) => assert!(
            count <= methods.len(),
            "{count} responses to {} requests: {:?}",
            methods.len(),
            String::from_utf8_lossy(heard)
        ),
        _ => {}
    }
}

/// How many final responses are here. Where it is not known what was asked, only the first is read.
fn responses(mut bytes: &[u8], asked: Option<&[&[u8]]>) -> Result<usize, Fault> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (head, rest) = match Head::read(bytes) {
            Err(Fault::Cut) => return Ok(count),
            read => read?,
        };
        let status = head.status()?;
        let length = head.length()?;
        if (100..200).contains(&status) && status != 101 {
            bytes = rest;
            continue;
        }
        let method = asked.and_then(|asked| asked.get(count));
        count += 1;
        let Some(method) = method else { return Ok(count) };
        let length = match (status, *method) {
            (_, b"HEAD") | (204 | 304, _) => Length::Unsaid,
            // To the end of the connection.
            _ if length == Length::Unsaid => return Ok(count),
            _ => length,
        };
        bytes = match strict::after(length, rest) {
            Err(Fault::Cut) => return Ok(count),
            rest => rest?,
        };
    }
    Ok(count)
}

/// Holds that responses come on streams that the client opened.
fn vet_frames(client: &[u8], heard: &[u8]) {
    const HEADERS: u8 = 1;
    const PUSH_PROMISE: u8 = 5;
    // What is no HTTP/2 after all is told so in HTTP/1.
    if heard.starts_with(b"HTTP/1.1 ") {
        return;
    }
    let opened: BTreeSet<u32> = strict::frames(client).iter().map(|frame| frame.stream).collect();
    for frame in strict::frames(heard) {
        assert_ne!(frame.kind, PUSH_PROMISE, "a push");
        assert!(
            frame.kind != HEADERS || opened.contains(&frame.stream),
            "a response on stream {}",
            frame.stream
        );
    }
}
