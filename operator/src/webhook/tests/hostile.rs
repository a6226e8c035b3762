//! Callers of the webhook port that are not the API server.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Frame};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::*;

pub(super) const MIB: usize = 1024 * 1024;

/// The webhook port, served with a certificate.
pub(super) struct Port {
    address: SocketAddr,
    material: Material,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Port {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let resolver = CertificateResolver::new();
        let material = Material::for_tests(&service_names("smilax-system", "cluster.local"));
        resolver.load(material.certified_key().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, resolver, state().0, shutdown.clone()));
        Self {
            address,
            material,
            shutdown,
            server,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// TLS as the API server does it, to speak `protocol`.
    pub(super) async fn secure(&self, stream: TcpStream, protocol: &[u8]) -> TokioIo<TlsStream<TcpStream>> {
        let name = ServerName::try_from("smilax-webhook.smilax-system.svc").unwrap();
        let connector = trust(&self.material.bundle(), protocol);
        TokioIo::new(connector.connect(name, stream).await.unwrap())
    }

    /// A connection of the API server.
    async fn api_server(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.secure(self.connect().await, b"http/1.1").await;
        let (http, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        http
    }

    /// Sends a request as the API server would.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        read(self.api_server().await.send_request(request).await.unwrap()).await
    }

    pub(super) async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
    }
}

/// A body of 100 MiB that is made while it is read.
struct Endless {
    left: usize,
    read: Arc<AtomicUsize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        self.read.fetch_add(MIB, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(vec![b'['; MIB].into()))))
    }
}

#[tokio::test]
async fn f1_of_a_hundred_mebibytes_no_more_is_read_than_a_review_may_have() {
    for (path, limit) in [("/inject", 7), ("/validate", 7), ("/convert", 32)] {
        let read_so_far = Arc::new(AtomicUsize::new(0));
        let body = Endless {
            left: 100,
            read: Arc::clone(&read_so_far),
        };
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let (status, _) = read(Routes::new(state().0).answer(API_SERVER, request).await).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(read_so_far.load(Ordering::SeqCst) <= (limit + 1) * MIB, "{path}");
    }
}

#[tokio::test]
async fn f1_objects_that_are_nested_without_end_are_refused_wherever_they_stand() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for nested in [deep("[", "]"), deep("{\"a\":", "}")] {
        let admission = |group: &str, kind: &str| {
            format!(
                r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"1",
                "kind":{{"group":"{group}","kind":"{kind}"}},"operation":"CREATE","object":{nested}}}}}"#
            )
        };
        let conversion = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"1",
            "desiredAPIVersion":"split.smi-spec.io/v1alpha2","objects":[{nested}]}}}}"#
        );
        for (path, body) in [
            ("/inject", admission("", "Pod")),
            ("/validate", admission(SPLIT.0, SPLIT.1)),
            ("/convert", conversion),
        ] {
            let (status, text) = ask(post(path, body)).await;
            assert_eq!(status, StatusCode::OK, "{path}: {text}");
            assert!(text.contains("Failure"), "{path}: {text}");
            assert!(text.len() < 1024, "{path} quotes what it was sent");
        }
    }
}

#[tokio::test]
async fn f1_a_port_that_was_sent_garbage_serves_on() {
    let port = Port::open().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 4096],
        // A TLS record that announces more than may follow.
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = port.connect().await;
        stream.write_all(garbage).await.unwrap();
        // An alert, or the end; never an answer.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let (status, _) = port.ask(post("/inject", creation(&pod()).to_string())).await;
    assert_eq!(status, StatusCode::OK);
    port.close().await;
}

#[tokio::test(start_paused = true)]
async fn f1_who_never_finishes_a_handshake_is_hung_up_on() {
    let port = Port::open().await;
    let begun = Instant::now();
    let mut silent = port.connect().await;
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(begun.elapsed() <= std::time::Duration::from_secs(10));
    port.close().await;
}

/// A connection of the address with this last number.
pub(super) async fn connect_from(port: &Port, last: u8) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(port.address).await.unwrap()
}

#[tokio::test]
async fn s5_idle_connections_of_two_pods_do_not_shut_the_port() {
    let port = Port::open().await;
    let mut held = Vec::new();
    for _ in 0..256 {
        for pod in [2, 3] {
            held.push(connect_from(&port, pod).await);
        }
    }
    let asked = port.ask(post("/inject", creation(&pod()).to_string()));
    // Sooner than the handshakes of the others run out.
    let answered = tokio::time::timeout(std::time::Duration::from_secs(4), asked).await;
    assert!(
        answered.is_ok_and(|(status, _)| status == StatusCode::OK),
        "nobody else gets in"
    );
    port.close().await;
}

#[tokio::test]
async fn s5_half_done_handshakes_give_way_before_a_connection_that_served() {
    let port = Port::open().await;
    let mut api_server = port.api_server().await;
    let request = || post("/inject", creation(&pod()).to_string());
    let (status, _) = read(api_server.send_request(request()).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let mut held = Vec::new();
    // From the same address, as behind one that is translated.
    for _ in 0..300 {
        held.push(port.connect().await);
    }
    api_server.ready().await.unwrap();
    let (status, _) = read(api_server.send_request(request()).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    port.close().await;
}

#[tokio::test]
async fn f2_no_answer_of_the_webhooks_holds_a_key() {
    let port = Port::open().await;
    let key = port.material.to_data()["tls.key"].clone();
    let key = String::from_utf8(key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for request in [
        post("/inject", creation(&pod()).to_string()),
        post("/validate", review(SPLIT, "CREATE", &split(-1)).to_string()),
        post("/convert", "{"),
        post("/inject", "{"),
        post("/", ""),
        post("/metrics", ""),
        Request::get("/inject").body(Full::default()).unwrap(),
        Request::get("/../../var/run/secrets/kubernetes.io/serviceaccount/token")
            .body(Full::default())
            .unwrap(),
    ] {
        let path = request.uri().path().to_owned();
        let (_, text) = port.ask(request).await;
        let decoded = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|answer| STANDARD.decode(answer["response"]["patch"].as_str()?).ok())
            .map(|patch| String::from_utf8_lossy(&patch).into_owned())
            .unwrap_or_default();
        for shown in [&text, &decoded] {
            assert!(
                !shown.contains("PRIVATE KEY") && !shown.contains(secret),
                "{path}"
            );
        }
    }
    port.close().await;
}

#[tokio::test]
async fn s25_requests_that_wait_for_their_bodies_are_bounded_and_others_are_served() {
    let port = Port::open().await;
    let mut connections = Vec::new();
    for _ in 0..30 {
        let stream = port.secure(connect_from(&port, 2).await, b"h2").await;
        let (http, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        connections.push(http);
    }
    let mut answers = tokio::task::JoinSet::new();
    let streams = connections
        .iter()
        .flat_map(|http| std::iter::repeat_n(http.clone(), 32));
    for mut http in streams {
        let body = futures::stream::pending::<Result<Frame<Bytes>, hyper::Error>>();
        let request = Request::post("https://webhook/inject")
            .header("content-type", "application/json")
            .header("x-padding", "x".repeat(7 * 1024))
            .body(http_body_util::StreamBody::new(body))
            .unwrap();
        answers.spawn(async move { http.send_request(request).await.unwrap().status() });
    }
    let first = answers.join_next().await.unwrap().unwrap();
    assert_eq!(first, StatusCode::TOO_MANY_REQUESTS, "before any is too slow");
    let (status, _) = port.ask(post("/inject", creation(&pod()).to_string())).await;
    assert_eq!(status, StatusCode::OK);
    port.close().await;
}
