//! Where attacks are played: a proxy of the calling side, one of the called side, and both in a row, before an
//! application that keeps every byte that it gets.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use smilax_core::config::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::support::cable::Family;
use crate::support::mesh::Mesh;
use crate::support::server::{Server, text};
use crate::support::{Net, TestProxy};

/// What an attack goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The proxy of the calling side, to a server without one.
    Outbound,
    /// The proxy of the called side, from a caller without one.
    Inbound,
    /// Both.
    Both,
}

/// Proxies, and where the application is to be.
pub(crate) struct Stage {
    pub(crate) way: Way,
    /// Over which family everything is reached.
    pub(crate) family: Family,
    /// Where the client connects to.
    pub(crate) address: SocketAddr,
    /// Where the application listens.
    pub(crate) app: SocketAddr,
    /// The one that the client connects to is the first.
    pub(crate) proxies: Vec<TestProxy>,
}

impl Stage {
    pub(crate) fn of(way: Way) -> Self {
        Self::over(way, Family::V4)
    }

    pub(crate) fn over(way: Way, family: Family) -> Self {
        match way {
            Way::Outbound => {
                let net = Net::of(family);
                let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
                Self {
                    way,
                    family,
                    address: proxy.outbound_address(),
                    app: net.at(1),
                    proxies: vec![proxy],
                }
            }
            Way::Inbound => {
                let net = Net::of(family);
                let proxy = TestProxy::inbound(net.at(1));
                Self {
                    way,
                    family,
                    address: proxy.inbound_address(),
                    app: net.at(1),
                    proxies: vec![proxy],
                }
            }
            Way::Both => {
                let mesh = Mesh::of(family);
                let web = mesh.web(vec![]);
                let client = mesh.client(Protocol::Http);
                Self {
                    way,
                    family,
                    address: client.outbound_address(),
                    app: mesh.app(1),
                    proxies: vec![client, web],
                }
            }
        }
    }

    /// One for each way, and the longest over IPv6 as well.
    pub(crate) fn all() -> [Self; 4] {
        [
            Self::of(Way::Outbound),
            Self::of(Way::Inbound),
            Self::of(Way::Both),
            Self::over(Way::Both, Family::V6),
        ]
    }

    /// One for each way and family.
    pub(crate) fn all_over_both() -> Vec<Self> {
        let ways = [Way::Outbound, Way::Inbound, Way::Both];
        let over = |family| ways.map(|way| Self::over(way, family));
        Family::BOTH.map(over).into_iter().flatten().collect()
    }

    /// Requests that the client's proxy has counted with this status as the client's fault.
    pub(crate) async fn counted(&self, status: u16) -> u64 {
        let status = format!("response_code=\"{status}\"");
        let labels = [status.as_str(), "response_flags=\"DPE\""];
        self.proxies[0].metric_sum("istio_requests_total", &labels).await
    }
}

/// An application that keeps every byte that it gets, and answers `ok` to whole requests.
pub(crate) struct Recorder {
    server: Server,
    seen: Arc<Mutex<Vec<u8>>>,
    whole: Arc<AtomicUsize>,
    trailers: Arc<Mutex<HeaderMap>>,
}

impl Recorder {
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let seen = Arc::default();
        let whole = Arc::<AtomicUsize>::default();
        let trailers = Arc::<Mutex<HeaderMap>>::default();
        let server = Server::tcp(address, {
            let (seen, whole, trailers) = (Arc::clone(&seen), Arc::clone(&whole), Arc::clone(&trailers));
            move |stream| {
                let (whole, trailers) = (Arc::clone(&whole), Arc::clone(&trailers));
                let stream = Kept {
                    stream,
                    seen: Arc::clone(&seen),
                };
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (whole, trailers) = (Arc::clone(&whole), Arc::clone(&trailers));
                    async move {
                        match request.into_body().collect().await {
                            Ok(body) => {
                                whole.fetch_add(1, Ordering::SeqCst);
                                trailers
                                    .lock()
                                    .extend(body.trailers().cloned().unwrap_or_default());
                            }
                            Err(_) => return Ok(broken()),
                        }
                        Ok::<_, Infallible>(text("ok"))
                    }
                });
                async move {
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http1().half_close(true);
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                }
            }
        })
        .await;
        Self {
            server,
            seen,
            whole,
            trailers,
        }
    }

    /// Everything that it got.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock()).into_owned()
    }

    /// Requests whose end it got.
    pub(crate) fn whole(&self) -> usize {
        self.whole.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Every trailer that it got.
    pub(crate) fn trailers(&self) -> HeaderMap {
        self.trailers.lock().clone()
    }
}

fn broken() -> Response<crate::support::server::Body> {
    let mut response = text("broken");
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let value = HeaderValue::from_static("yes");
    response.headers_mut().insert("x-broken", value);
    response
}

struct Kept {
    stream: TcpStream,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Kept {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.seen.lock().extend_from_slice(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Kept {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
