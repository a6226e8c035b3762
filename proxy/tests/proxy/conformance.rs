//! Proxies for conformance tools, which `make conformance` runs against them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use smilax_proxy::tls::Wire;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::attacks::stage::{Stage, Way};
use crate::support::TestProxy;
use crate::support::mesh::{Mesh, shake_hands};
use crate::support::server::{Body, Server, empty, full};

/// Port of a WebSocket server on loopback, behind a second set of entries.
const WEBSOCKET_PORT: &str = "SMILAX_CONFORMANCE_WEBSOCKET_PORT";
/// Seconds for which the proxies run.
const SECONDS: &str = "SMILAX_CONFORMANCE_SECONDS";

/// Where a tool connects to, with everything behind it.
struct Entry {
    name: &'static str,
    address: SocketAddr,
    _app: Server,
    _proxies: Vec<TestProxy>,
    _wrapped: Option<Server>,
}

/// What is behind an entry.
#[derive(Clone, Copy)]
enum Behind {
    /// A server that answers every request.
    Http,
    /// The WebSocket server at this address.
    WebSocket(SocketAddr),
}

impl Behind {
    async fn start(self, address: SocketAddr) -> Server {
        match self {
            Self::Http => Server::http(address, answer).await,
            Self::WebSocket(server) => {
                Server::tcp(address, move |mut stream| async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut stream, &mut server).await;
                    }
                })
                .await
            }
        }
    }
}

/// Answers once the request has ended.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let method = request.method().clone();
    let _ = request.into_body().collect().await;
    if method == Method::HEAD {
        return Response::new(empty());
    }
    Response::new(full("smilax ".repeat(100)))
}

impl Entry {
    async fn of(name: &'static str, way: Way, behind: Behind) -> Self {
        let stage = Stage::of(way);
        Self {
            name,
            address: stage.address,
            _app: behind.start(stage.app).await,
            _proxies: stage.proxies,
            _wrapped: None,
        }
    }

    /// Inbound over mutual TLS. Tools have no certificate of the mesh, so a helper in front of the proxy wraps their bytes
    /// in TLS.
    async fn secured(wire: Wire, behind: Behind) -> Self {
        let mesh = Mesh::new();
        let web = mesh.web(vec![]);
        let (address, to) = (mesh.net.at(50), mesh.net.at(1));
        let context = mesh.context("shop/client");
        let wrapped = Server::tcp(address, move |mut stream| {
            let config = Arc::clone(context.client(wire));
            async move {
                if let Ok(mut secured) = shake_hands(to, config).await {
                    let _ = copy_bidirectional(&mut stream, &mut secured).await;
                }
            }
        })
        .await;
        Self {
            name: "inbound-mutual-tls",
            address,
            _app: behind.start(mesh.app(1)).await,
            _proxies: vec![web],
            _wrapped: Some(wrapped),
        }
    }

    async fn all(wire: Wire, behind: Behind) -> Vec<Self> {
        vec![
            Self::of("inbound-plaintext", Way::Inbound, behind).await,
            Self::secured(wire, behind).await,
            Self::of("outbound", Way::Outbound, behind).await,
            Self::of("two-sidecars", Way::Both, behind).await,
        ]
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs proxies for the tools of `make conformance`"]
async fn entries_for_conformance_tools() {
    let seconds = number(SECONDS).unwrap_or(60);
    let websocket = u16::try_from(number(WEBSOCKET_PORT).unwrap_or(9001)).unwrap();
    let websocket = SocketAddr::from(([127, 0, 0, 1], websocket));
    let http = Entry::all(Wire::Http2, Behind::Http).await;
    let websockets = Entry::all(Wire::Http1, Behind::WebSocket(websocket)).await;
    for (group, entries) in [("http", &http), ("websocket", &websockets)] {
        for entry in entries {
            eprintln!("entry {group} {} {}", entry.name, entry.address);
        }
    }
    eprintln!("entries are ready for {seconds} s");
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
