//! Servers.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::soon;

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// A server that answers until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers with its name, in the body and in `x-server`.
    pub(crate) async fn named(address: SocketAddr, name: &'static str) -> Self {
        Self::http(address, move |request| async move {
            let _ = request.into_body().collect().await;
            let mut response = text(name);
            response.headers_mut().insert("x-server", name.parse().unwrap());
            response
        })
        .await
    }

    /// Answers with the request as it arrived: its line and headers in the body, its trailers counted.
    pub(crate) async fn mirror(address: SocketAddr) -> Self {
        Self::http(address, |request| async move {
            let (parts, body) = request.into_parts();
            let mut seen = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
            describe(&mut seen, &parts.headers);
            let body = body.collect().await.unwrap();
            if let Some(trailers) = body.trailers() {
                seen.push_str("trailers\n");
                describe(&mut seen, trailers);
            }
            let bytes = body.to_bytes();
            seen.push('\n');
            seen.push_str(&String::from_utf8_lossy(&bytes));
            Response::new(full(seen))
        })
        .await
    }

    /// Answers HTTP of any version.
    pub(crate) async fn http<H, F>(address: SocketAddr, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let mut server = Self::tcp(address, move |stream| {
            let handler = Arc::clone(&handler);
            let counted = Arc::clone(&counted);
            async move {
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await;
        server.requests = requests;
        server
    }

    /// Does anything with each connection.
    pub(crate) async fn tcp<H, F>(address: SocketAddr, handler: H) -> Self
    where
        H: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = listen(address).await;
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                open.spawn(handler(stream));
            }
        });
        Self {
            address,
            requests: Arc::default(),
            connections,
            task,
        }
    }

    /// Stops it, and returns once its address is free and its connections are closed.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    /// Where it listens: on a port that the kernel chose when it was told port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens as soon as the address is free: of a server that was stopped here, a program that another test starts at that
/// moment holds the socket until it runs.
async fn listen(address: SocketAddr) -> TcpListener {
    let freed = async {
        loop {
            match TcpListener::bind(address).await {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                bound => return bound.unwrap(),
            }
        }
    };
    soon("the address is free", freed).await
}

fn describe(seen: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        seen.extend([name.as_str(), ": ", &value, "\n"]);
    }
}

pub(crate) fn text(text: &'static str) -> Response<Body> {
    Response::new(full(text))
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of these frames, whose length nobody knows beforehand.
pub(crate) fn frames(frames: Vec<Frame<Bytes>>) -> Body {
    let frames = futures::stream::iter(frames.into_iter().map(Ok));
    BodyExt::boxed(StreamBody::new(frames))
}

/// Tells when an answer that never comes is no longer waited for.
pub(crate) struct Cancelled(UnboundedSender<()>);

impl Cancelled {
    pub(crate) async fn told(tell: UnboundedSender<()>) -> Response<Body> {
        let _told = Self(tell);
        std::future::pending().await
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        // Nobody listens any more when the test is over.
        let _ = self.0.send(());
    }
}
