//! The application's probes, asked by the proxy.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use smilax_core::probe::{Check, Probe, ProbeTable, Scheme};

use crate::support::client::{Http1, get, request};
use crate::support::server::{Server, frames, full, text};
use crate::support::{Net, PORT, TestProxy};

fn proxy(net: Net, check: Check) -> TestProxy {
    TestProxy::builder()
        .set(|settings| {
            settings.pod.ips = vec![net.at(1).ip()];
            settings.probes = ProbeTable(vec![Probe {
                path: "/app/liveness".to_owned(),
                port: PORT,
                timeout_seconds: 1,
                check,
            }]);
        })
        .start()
}

fn http_check(path: &str, scheme: Scheme, headers: &[(&str, &str)]) -> Check {
    Check::Http {
        path: path.to_owned(),
        scheme,
        headers: headers
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

async fn ask(proxy: &TestProxy) -> (u16, String) {
    let answer = get(proxy.probe_address(), "/app/liveness").await;
    (answer.status.as_u16(), answer.text)
}

#[tokio::test]
async fn an_http_probe_asks_as_kubelet_would() {
    let net = Net::new();
    let (seen, mut was_seen) = tokio::sync::mpsc::unbounded_channel();
    let _app = Server::http(net.at(1), move |request| {
        seen.send((request.uri().to_string(), request.headers().clone()))
            .unwrap();
        async { text("fine") }
    })
    .await;
    let check = http_check(
        "/healthz?full=1",
        Scheme::Http,
        &[("Host", "app.example"), ("X-Probe", "1")],
    );
    let proxy = proxy(net, check);
    let mut kubelet = request("GET", "/app/liveness");
    kubelet
        .headers_mut()
        .insert("user-agent", "kube-probe/1.35".parse().unwrap());
    let answer = Http1::connect(proxy.probe_address()).await.send(kubelet).await;
    assert_eq!(answer.status, StatusCode::OK);
    let (uri, headers) = was_seen.recv().await.unwrap();
    assert_eq!(uri, "/healthz?full=1");
    assert_eq!(headers["host"], "app.example");
    assert_eq!(headers["x-probe"], "1");
    assert_eq!(headers["user-agent"], "kube-probe/1.35");
}

#[tokio::test]
async fn an_http_probe_is_healthy_from_200_to_399() {
    let net = Net::new();
    let status = Arc::new(std::sync::atomic::AtomicU16::new(0));
    let answered = Arc::clone(&status);
    let _app = Server::http(net.at(1), move |_| {
        let code = answered.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            let mut response = text("");
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            response
        }
    })
    .await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    for (code, expected) in [(200, 200), (204, 200), (302, 200), (404, 503), (500, 503)] {
        status.store(code, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ask(&proxy).await.0, expected, "{code}");
    }
    assert!(ask(&proxy).await.1.contains("it answered 500"));
}

#[tokio::test]
async fn an_application_that_takes_too_long_is_not_healthy() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |_| std::future::pending::<Response<_>>()).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    let (status, text) = ask(&proxy).await;
    assert_eq!((status, text.as_str()), (503, "no answer within 1 s\n"));
}

#[tokio::test]
async fn a_tcp_probe_connects() {
    let net = Net::new();
    let proxy = proxy(net, Check::Tcp);
    let (status, text) = ask(&proxy).await;
    assert_eq!(status, 503);
    assert!(text.contains("cannot connect to port 8080"), "{text}");
    let app = Server::tcp(net.at(1), |_| async {}).await;
    assert_eq!(ask(&proxy).await.0, 200);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_application_on_loopback_alone_is_found_there() {
    // 127.0.0.1 belongs to nobody, so its port has to be free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let net = Net::new();
    let proxy = TestProxy::builder()
        .set(|settings| {
            settings.pod.ips = vec![net.at(1).ip()];
            settings.probes = ProbeTable(vec![Probe {
                path: "/app/liveness".to_owned(),
                port,
                timeout_seconds: 1,
                check: Check::Tcp,
            }]);
        })
        .start();
    assert_eq!(ask(&proxy).await.0, 200);
}

#[tokio::test]
async fn a_grpc_probe_is_healthy_when_the_service_serves() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |request| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let serving = body[5..] == *b"\x0a\x04cart";
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let health: &'static [u8] = if serving {
            b"\0\0\0\0\x02\x08\x01"
        } else {
            b"\0\0\0\0\x02\x08\x02"
        };
        Response::new(frames(vec![
            Frame::data(Bytes::from_static(health)),
            Frame::trailers(trailers),
        ]))
    })
    .await;
    let grpc = |service: &str| Check::Grpc {
        service: service.to_owned(),
    };
    assert_eq!(ask(&proxy(net, grpc("cart"))).await.0, 200);
    let (status, text) = ask(&proxy(net, grpc("none"))).await;
    assert_eq!((status, text.as_str()), (503, "gRPC health is NOT_SERVING\n"));
}

#[tokio::test]
async fn a_grpc_probe_of_a_server_without_health_is_not_healthy() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |_| async {
        let mut response = Response::new(full(""));
        response
            .headers_mut()
            .insert("grpc-status", "12".parse().unwrap());
        response
    })
    .await;
    let proxy = proxy(
        net,
        Check::Grpc {
            service: String::new(),
        },
    );
    let (status, text) = ask(&proxy).await;
    assert_eq!(status, 503);
    assert!(text.contains("12"), "{text}");
}

#[tokio::test]
async fn an_https_probe_takes_any_certificate() {
    let net = Net::new();
    let app = tls_server(net).await;
    let proxy = proxy(net, http_check("/", Scheme::Https, &[]));
    assert_eq!(ask(&proxy).await, (200, "ok\n".to_owned()));
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn only_what_stands_in_the_table_is_asked() {
    let net = Net::new();
    let app = Server::named(net.at(1), "app").await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    for path in ["/", "/app", "/app/readiness", "/app/liveness/x", "//app/liveness"] {
        assert_eq!(
            get(proxy.probe_address(), path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(app.requests(), 0);
}

/// A server whose certificate nobody has signed.
async fn tls_server(net: Net) -> Server {
    use rustls::pki_types::PrivateKeyDer;
    let made = rcgen::generate_simple_self_signed(vec!["somebody.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    Server::tcp(net.at(1), move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service =
                hyper::service::service_fn(|_| async { Ok::<_, std::convert::Infallible>(text("fine")) });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}
