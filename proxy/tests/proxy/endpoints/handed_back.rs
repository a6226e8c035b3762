//! Requests that the called proxy could not hand to its application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use smilax_core::config::Protocol;
use smilax_core::convention::wire::LOCAL_REPLY_HEADER;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::secured::{secured, secured_pod};
use super::{connected, operator, tell};
use crate::support::TestProxy;
use crate::support::client::{Answer, Http1, Http2, request};
use crate::support::mesh::{Mesh, targets};
use crate::support::operator::Operator;
use crate::support::server::{Body, Server, empty, frames, full, text};

/// A client of a proxy, among secured endpoints.
struct Caller {
    mesh: Mesh,
    operator: Operator,
    proxy: TestProxy,
    _virtual_address: Server,
}

impl Caller {
    async fn new() -> Self {
        let (mesh, operator) = (Mesh::new(), operator().await);
        let virtual_address = Server::named(mesh.net.at(2), "virtual").await;
        let proxy = connected(mesh.net, &operator, Protocol::Http).await;
        Http1::connect(proxy.outbound_address()).await.get("/").await;
        Self {
            mesh,
            operator,
            proxy,
            _virtual_address: virtual_address,
        }
    }

    async fn knows(&self, endpoints: &[u8]) {
        let endpoints = endpoints
            .iter()
            .map(|last| secured(self.mesh.net, *last))
            .collect();
        tell(&self.proxy, &self.operator, endpoints).await;
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let mut client = Http1::connect(self.proxy.outbound_address()).await;
        client.send(request).await
    }

    async fn handed_back(&self) -> u64 {
        self.proxy.metric("smilax_proxy_requests_handed_back_total").await
    }
}

fn post(body: impl Into<bytes::Bytes>) -> Request<Body> {
    let mut request = request("POST", "/");
    *request.body_mut() = full(body);
    request
}

/// A server of a pod of `shop/web` at `last` that shakes hands as its proxy would, and lies about requests.
async fn liar(caller: &Caller, last: u8, answer: fn() -> Response<Body>) -> (Server, Arc<AtomicUsize>) {
    let authority = caller.operator.state.authority.lock().clone();
    let context = caller.mesh.context_of(&authority.leaf("shop/web"), &[&authority]);
    let acceptor = Mesh::acceptor(&context);
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::tcp(caller.mesh.net.at(last), move |stream| {
        let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                async move { Ok::<_, std::convert::Infallible>(answer()) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (server, requests)
}

fn not_processed() -> Response<Body> {
    Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(LOCAL_REPLY_HEADER, "not-processed")
        .body(empty())
        .unwrap()
}

#[tokio::test]
async fn a_request_goes_elsewhere_when_the_application_of_its_endpoint_is_down() {
    let caller = Caller::new().await;
    let (_down, app) = secured_pod(&caller.mesh, &caller.operator, 20).await;
    let (_up, alive) = secured_pod(&caller.mesh, &caller.operator, 21).await;
    app.stop().await;
    caller.knows(&[20, 21]).await;
    for index in 0..40 {
        let body = format!("{index}").repeat(1000);
        let answer = caller.send(post(body)).await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "secured"));
        assert!(!answer.headers.contains_key(LOCAL_REPLY_HEADER));
    }
    assert_eq!(alive.requests(), 40, "each was served once");
    assert!(caller.handed_back().await >= 1);
}

#[tokio::test]
async fn the_body_arrives_whole_at_the_endpoint_that_takes_the_request() {
    let caller = Caller::new().await;
    let (_up, app) = secured_pod(&caller.mesh, &caller.operator, 21).await;
    app.stop().await;
    let _mirror = Server::mirror(caller.mesh.app(21)).await;
    let (_liar, lies) = liar(&caller, 20, not_processed).await;
    caller.knows(&[20, 21]).await;
    for _ in 0..20 {
        let pieces = (0..6).map(|piece| hyper::body::Frame::data(vec![b'a' + piece; 10_000].into()));
        let mut request = request("POST", "/");
        *request.body_mut() = frames(pieces.collect());
        let answer = caller.send(request).await;
        let body = answer
            .text
            .rsplit_once("\n\n")
            .map_or(&*answer.text, |(_, body)| body);
        let expected: String = (0..6u8)
            .map(|piece| char::from(b'a' + piece).to_string().repeat(10_000))
            .collect();
        assert_eq!(answer.status, StatusCode::OK);
        assert!(body.ends_with(&expected), "{} bytes", body.len());
    }
    assert!(lies.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_not_sent_twice() {
    let caller = Caller::new().await;
    let (_liar, lies) = liar(&caller, 20, not_processed).await;
    let (_up, app) = secured_pod(&caller.mesh, &caller.operator, 21).await;
    caller.knows(&[20, 21]).await;
    let mut failed = 0;
    for _ in 0..10 {
        let answer = caller.send(post(vec![b'x'; 400_000])).await;
        failed += usize::from(answer.status == StatusCode::SERVICE_UNAVAILABLE);
    }
    // The liar may answer before so much of the body was sent.
    let lies = lies.load(Ordering::SeqCst);
    assert_eq!(app.requests(), 10 - failed);
    assert!(failed <= lies && lies >= 1, "{failed} failed of {lies}");
}

#[tokio::test]
async fn an_application_that_forges_the_mark_causes_no_duplicate() {
    let caller = Caller::new().await;
    let mut forgeries = vec![];
    let mut pods = vec![];
    for last in [20, 21] {
        let (pod, app) = secured_pod(&caller.mesh, &caller.operator, last).await;
        app.stop().await;
        forgeries.push(Server::http(caller.mesh.app(last), |_| async { not_processed() }).await);
        pods.push(pod);
    }
    caller.knows(&[20, 21]).await;
    for index in 1..=20 {
        let answer = caller.send(post("x")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.headers.contains_key(LOCAL_REPLY_HEADER));
        assert_eq!(forgeries.iter().map(Server::requests).sum::<usize>(), index);
    }
    assert_eq!(caller.handed_back().await, 0);
}

/// An application of HTTP/2 that acts on a request, and then claims that it refused its stream.
async fn refusing_app(caller: &Caller, last: u8) -> (Server, Arc<AtomicUsize>) {
    let acted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&acted);
    let server = Server::tcp(caller.mesh.app(last), move |stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    })
    .await;
    (server, acted)
}

#[tokio::test]
async fn an_application_that_refuses_a_stream_after_acting_on_it_causes_no_duplicate() {
    let caller = Caller::new().await;
    let (mut pods, mut apps) = (vec![], vec![]);
    for last in [20, 21] {
        let (pod, app) = secured_pod(&caller.mesh, &caller.operator, last).await;
        app.stop().await;
        apps.push(refusing_app(&caller, last).await);
        pods.push(pod);
    }
    caller.knows(&[20, 21]).await;
    for index in 1..=20 {
        let mut client = Http2::connect(caller.proxy.outbound_address()).await;
        let request = Request::post("http://web/").body(full("x")).unwrap();
        let response = client.start(request).await;
        if let Ok(response) = response {
            assert!(!response.headers().contains_key(LOCAL_REPLY_HEADER));
        }
        let acted: usize = apps.iter().map(|(_, acted)| acted.load(Ordering::SeqCst)).sum();
        assert_eq!(acted, index);
    }
}

#[tokio::test]
async fn a_server_without_a_proxy_is_not_believed_and_its_mark_is_not_passed_on() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let _virtual_address = Server::named(net.at(2), "virtual").await;
    let servers = [
        Server::http(net.at(20), |_| async { not_processed() }).await,
        Server::http(net.at(21), |_| async { not_processed() }).await,
    ];
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(
        &proxy,
        &operator,
        vec![super::endpoint(net, 20), super::endpoint(net, 21)],
    )
    .await;
    for index in 1..=10 {
        let answer = client.send(post("x")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.headers.contains_key(LOCAL_REPLY_HEADER));
        assert_eq!(servers.iter().map(Server::requests).sum::<usize>(), index);
    }
}

#[tokio::test]
async fn lying_proxies_get_a_request_three_times_at_most() {
    let caller = Caller::new().await;
    let mut liars = vec![];
    for last in 20..26 {
        liars.push(liar(&caller, last, not_processed).await);
    }
    caller.knows(&[20, 21, 22, 23, 24, 25]).await;
    let answer = caller.send(post("x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.headers.contains_key(LOCAL_REPLY_HEADER));
    let asked: Vec<_> = liars
        .iter()
        .map(|(_, asked)| asked.load(Ordering::SeqCst))
        .collect();
    assert_eq!(asked.iter().sum::<usize>(), 3, "{asked:?}");
    assert_eq!(
        asked.iter().max(),
        Some(&1),
        "each endpoint is tried once: {asked:?}"
    );
}

#[tokio::test]
async fn grpc_goes_elsewhere_too() {
    let caller = Caller::new().await;
    let (_down, app) = secured_pod(&caller.mesh, &caller.operator, 20).await;
    let (_up, _alive) = secured_pod(&caller.mesh, &caller.operator, 21).await;
    app.stop().await;
    caller.knows(&[20, 21]).await;
    let mut client = Http2::connect(caller.proxy.outbound_address()).await;
    for _ in 0..20 {
        let request = Request::post("http://web/shop.Cart/Add")
            .header("content-type", "application/grpc")
            .body(full("x"))
            .unwrap();
        let answer = client.send(request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            !answer.headers.contains_key("grpc-status"),
            "{:?}",
            answer.headers
        );
    }
}

/// The cable to a pod: carries bytes for as long as it is plugged in, and keeps them otherwise.
async fn cable(caller: &Caller, from: u8, to: u8) -> (Server, Arc<AtomicBool>) {
    let plugged = Arc::new(AtomicBool::new(true));
    let target = caller.mesh.net.at(to);
    let watched = Arc::clone(&plugged);
    let server = Server::tcp(caller.mesh.net.at(from), move |mut stream| {
        let plugged = Arc::clone(&watched);
        async move {
            let mut upstream = TcpStream::connect(target).await.unwrap();
            let carried = copy_bidirectional(&mut stream, &mut upstream);
            tokio::pin!(carried);
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(Duration::from_millis(5)), if !plugged.load(Ordering::SeqCst) => {}
                    _ = &mut carried, if plugged.load(Ordering::SeqCst) => return,
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        }
    })
    .await;
    (server, plugged)
}

/// A thin cable: it carries 8 KiB every 40 ms in each direction, and keeps little in between.
async fn thin_cable(caller: &Caller, from: u8, to: u8) -> Server {
    let target = caller.mesh.net.at(to);
    Server::tcp(caller.mesh.net.at(from), move |stream| async move {
        let upstream = TcpStream::connect(target).await.unwrap();
        for end in [&stream, &upstream] {
            SockRef::from(end).set_recv_buffer_size(64 * 1024).unwrap();
        }
        let (from_caller, to_caller) = stream.into_split();
        let (from_pod, to_pod) = upstream.into_split();
        tokio::join!(
            carry_slowly(from_caller, to_pod),
            carry_slowly(from_pod, to_caller)
        );
    })
    .await
}

async fn carry_slowly(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// An application that says when it has a request, and answers when it may.
async fn slow_app(caller: &Caller, last: u8, may: &Arc<AtomicBool>, asked: &Arc<AtomicUsize>) -> Server {
    let (may, asked) = (Arc::clone(may), Arc::clone(asked));
    Server::http(caller.mesh.app(last), move |_| {
        let (may, asked) = (Arc::clone(&may), Arc::clone(&asked));
        async move {
            asked.fetch_add(1, Ordering::SeqCst);
            while !may.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            text("slow")
        }
    })
    .await
}

/// A pod behind a cable, with one request in its application.
async fn one_request_in_flight(method: &'static str) -> (Caller, InFlight) {
    let caller = Caller::new().await;
    let (pod, app) = secured_pod(&caller.mesh, &caller.operator, 30).await;
    app.stop().await;
    let (may, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let app = slow_app(&caller, 30, &may, &asked).await;
    let (cable, plugged) = cable(&caller, 20, 30).await;
    caller.knows(&[20]).await;
    let mut client = Http1::connect(caller.proxy.outbound_address()).await;
    let response = tokio::spawn(async move { client.send(request(method, "/")).await });
    crate::support::eventually("the application has the request", || {
        asked.load(Ordering::SeqCst) == 1
    })
    .await;
    let in_flight = InFlight {
        response,
        may,
        plugged,
        _held: (pod, app, cable),
    };
    (caller, in_flight)
}

struct InFlight {
    response: tokio::task::JoinHandle<Answer>,
    may: Arc<AtomicBool>,
    plugged: Arc<AtomicBool>,
    _held: (TestProxy, Server, Server),
}

#[tokio::test]
async fn a_peer_that_pauses_for_one_and_a_half_seconds_loses_nothing() {
    let (_caller, in_flight) = one_request_in_flight("POST").await;
    in_flight.plugged.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    in_flight.plugged.store(true, Ordering::SeqCst);
    in_flight.may.store(true, Ordering::SeqCst);
    let answer = in_flight.response.await.unwrap();
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "slow"));
}

#[tokio::test]
async fn a_request_to_a_peer_that_stops_answering_ends_although_its_client_waits() {
    let (_caller, in_flight) = one_request_in_flight("POST").await;
    in_flight.plugged.store(false, Ordering::SeqCst);
    let answer = in_flight.response.await.unwrap();
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_request_that_may_be_repeated_goes_elsewhere_when_its_peer_stops_answering() {
    let (caller, in_flight) = one_request_in_flight("GET").await;
    let (_up, _alive) = secured_pod(&caller.mesh, &caller.operator, 21).await;
    caller.knows(&[20, 21]).await;
    in_flight.plugged.store(false, Ordering::SeqCst);
    let answer = in_flight.response.await.unwrap();
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "secured"));
}

#[tokio::test]
async fn a_long_upload_over_a_thin_cable_is_not_taken_for_silence() {
    let caller = Caller::new().await;
    let _pod = secured_pod(&caller.mesh, &caller.operator, 30).await;
    let _cable = thin_cable(&caller, 20, 30).await;
    caller.knows(&[20]).await;
    let answer = caller.send(post(vec![0; 1024 * 1024])).await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "secured"));
}

#[tokio::test]
async fn a_long_download_over_a_thin_cable_is_not_taken_for_silence() {
    let caller = Caller::new().await;
    let (_pod, app) = secured_pod(&caller.mesh, &caller.operator, 30).await;
    app.stop().await;
    let _app = Server::http(caller.mesh.app(30), |_| async {
        Response::new(full(vec![b'x'; 1024 * 1024]))
    })
    .await;
    let _cable = thin_cable(&caller, 20, 30).await;
    caller.knows(&[20]).await;
    let answer = caller.send(request("GET", "/")).await;
    assert_eq!((answer.status, answer.text.len()), (StatusCode::OK, 1024 * 1024));
}

#[tokio::test]
async fn another_connection_is_tried_where_the_virtual_address_leads_to_a_pod_that_is_going() {
    let mesh = Mesh::new();
    let net = mesh.net;
    let web = mesh.web_with(targets(vec![]), |builder| {
        builder.set(|settings| settings.listen = vec![net.at(30).ip()])
    });
    let app = Server::named(mesh.app(1), "alive").await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let _virtual_address = Server::tcp(net.at(1), move |mut stream| {
        let going = counted.fetch_add(1, Ordering::SeqCst) < 2;
        async move {
            if !going {
                let mut pod = TcpStream::connect(net.at(30)).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut pod).await;
            }
        }
    })
    .await;
    let proxy = mesh.client(Protocol::Http);
    let answer = Http1::connect(proxy.outbound_address())
        .await
        .send(post("x"))
        .await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "alive"));
    assert_eq!(app.requests(), 1);
    drop(web);
}
