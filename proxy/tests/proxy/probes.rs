//! The application's probes, asked by the proxy.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use smilax_core::probe::{Check, PathKey, Probe, ProbeTable, Purpose, Scheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::client::{Http1, get, request};
use crate::support::server::{Body, Server, frames, full, text};
use crate::support::{Net, PORT, TestProxy, eventually};

fn proxy(net: Net, check: Check) -> TestProxy {
    proxy_for(Purpose::Liveness, net, check)
}

/// Under the path of a pod that was injected before paths had keys: it works until the pod is made again.
fn proxy_for(purpose: Purpose, net: Net, check: Check) -> TestProxy {
    proxy_at(purpose.label("app"), net, check)
}

fn proxy_at(path: String, net: Net, check: Check) -> TestProxy {
    TestProxy::builder()
        .set(|settings| {
            settings.pod.ips = vec![net.at(1).ip()];
            settings.probes = ProbeTable(vec![Probe {
                path,
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
    assert_eq!(headers["accept"], "*/*");
    assert_eq!(headers["connection"], "close");
    assert_eq!(headers.len(), 5, "{headers:?}");
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
    for (code, expected) in [
        (200, 200),
        (204, 200),
        (302, 302),
        (399, 399),
        (404, 404),
        (700, 700),
        (500, 500),
    ] {
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
async fn an_application_on_loopback_alone_is_not_ready_as_without_the_mesh() {
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
    assert_eq!(ask(&proxy).await.0, 503);
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
        grpc_response(frames(vec![
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
        let mut response = grpc_response(full(""));
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
    assert!(
        text.contains("does not implement grpc.health.v1.Health"),
        "{text}"
    );
}

fn grpc_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    response
}

#[tokio::test]
async fn an_https_probe_takes_any_certificate() {
    let net = Net::new();
    let app = tls_server(net, &[]).await;
    let proxy = proxy(net, http_check("/", Scheme::Https, &[]));
    assert_eq!(ask(&proxy).await, (200, "ok\n".to_owned()));
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_https_probe_speaks_http2_where_the_application_offers_it() {
    let net = Net::new();
    let _app = tls_server(net, &["h2", "http/1.1"]).await;
    let proxy = proxy(net, http_check("/", Scheme::Https, &[("Host", "app.example")]));
    assert_eq!(ask(&proxy).await.0, 200);
}

/// Redirects from `/` to `location`; `/ok` is fine, and anything else is not.
async fn redirecting(net: Net, status: u16, location: String) -> Server {
    Server::http(net.at(1), move |request| {
        let mut response = text("moved");
        let code = match request.uri().path() {
            "/" => status,
            "/ok" => 200,
            _ => 500,
        };
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
            .headers_mut()
            .insert("location", location.parse().unwrap());
        async { response }
    })
    .await
}

/// The cases follow pkg/probe/http/http_test.go of Kubernetes 1.34 (`TestHTTPProbeChecker_HostHeaderPreservedAfterRedirect`,
/// `TestHTTPProbeChecker_NonLocalRedirects`), and were run against its prober.
#[tokio::test]
async fn a_redirect_within_the_pod_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        for (location, expected) in [("/ok", 200), ("/broken", 500), ("//%/", 503)] {
            let net = Net::new();
            let app = redirecting(net, status, location.to_owned()).await;
            let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
            assert_eq!(ask(&proxy).await.0, expected, "{status} {location}");
            assert_eq!(app.requests(), if expected == 503 { 1 } else { 2 });
        }
    }
    let net = Net::new();
    let app = redirecting(net, 302, format!("http://{}/broken", net.at(1))).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    assert_eq!(ask(&proxy).await.0, 500);
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_left_to_kubelet_which_warns_of_it() {
    let net = Net::new();
    let app = redirecting(net, 302, "https://login.example/?next=/".to_owned()).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[("Host", "login.example")]));
    let answer = get(proxy.probe_address(), "/app/liveness").await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers["location"], "https://login.example/?next=/");
    assert_eq!(answer.text, "moved");
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn the_tenth_redirect_is_a_failure() {
    let net = Net::new();
    let app = redirecting(net, 302, "/".to_owned()).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    let (status, text) = ask(&proxy).await;
    assert_eq!((status, text.as_str()), (503, "stopped after 10 redirects\n"));
    assert_eq!(app.requests(), 10);
}

#[tokio::test]
async fn a_redirect_to_a_port_of_the_proxy_leads_nowhere() {
    for port in smilax_core::convention::PROXY_PORTS {
        let net = Net::new();
        let location = format!("http://{}:{port}/ok", net.at(1).ip());
        let _app = redirecting(net, 302, location).await;
        let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
        let (status, text) = ask(&proxy).await;
        assert_eq!(status, 503);
        assert!(text.contains(&format!("cannot connect to port {port}")), "{text}");
    }
}

#[tokio::test]
async fn a_relative_redirect_keeps_the_probes_host_and_another_one_does_not() {
    for (location, host) in [("/ok", "app.example"), ("http://", "")] {
        let net = Net::new();
        let location = if host.is_empty() {
            format!("{location}{}/ok", net.at(1))
        } else {
            location.to_owned()
        };
        let (seen, mut was_seen) = tokio::sync::mpsc::unbounded_channel();
        let _app = Server::http(net.at(1), move |request| {
            seen.send(request.headers().clone()).unwrap();
            let mut response = text("");
            if request.uri().path() == "/" {
                *response.status_mut() = StatusCode::FOUND;
            }
            response
                .headers_mut()
                .insert("location", location.parse().unwrap());
            async { response }
        })
        .await;
        let proxy = proxy(
            net,
            http_check("/", Scheme::Http, &[("Host", "app.example"), ("X-Probe", "1")]),
        );
        assert_eq!(ask(&proxy).await.0, 200);
        was_seen.recv().await.unwrap();
        let second = was_seen.recv().await.unwrap();
        let own = net.at(1).to_string();
        assert_eq!(second["host"], if host.is_empty() { own.as_str() } else { host });
        assert_eq!(second["x-probe"], "1");
        assert_eq!(second["referer"], format!("http://{own}/"));
    }
}

/// Answers every connection with these bytes and closes it. The requests come back by the channel.
async fn raw(net: Net, answer: Vec<u8>) -> (Server, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (seen, was_seen) = tokio::sync::mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    let server = Server::tcp(net.at(1), move |mut stream| {
        let (answer, seen) = (Arc::clone(&answer), seen.clone());
        async move {
            let mut request = Vec::new();
            // A TLS handshake, which begins with 0x16, is answered at once.
            while !request.ends_with(b"\r\n\r\n") && !request.starts_with(b"\x16") {
                match stream.read_buf(&mut request).await {
                    Ok(read) if read > 0 => {}
                    _ => break,
                }
            }
            let _ = seen.send(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (server, was_seen)
}

#[tokio::test]
async fn answers_that_go_accepts_are_accepted() {
    let many = "x-odd: 1\r\n".repeat(1000);
    let long = format!("x: {}\r\n", "a".repeat(2 << 20));
    for (answer, expected) in [
        ("HTTP/1.0 200 OK\r\n\r\nfine".to_owned(), 200),
        ("HTTP/1.1 200\r\n\r\n".to_owned(), 200),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(),
            200,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 500 No\r\n\r\n".to_owned(),
            500,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
            503,
        ),
        ("HTTP/1.1 200 OK\r\nX-Odd : v\r\n\r\n".to_owned(), 200),
        (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), 200),
        (format!("HTTP/1.1 200 OK\r\n{long}\r\n"), 200),
        // The body is read, as far as 10 KiB.
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine".to_owned(), 503),
        (
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{}",
                "a".repeat(10 << 10)
            ),
            200,
        ),
        ("SSH-2.0-x\r\n".to_owned(), 503),
        (String::new(), 503),
    ] {
        let net = Net::new();
        let (_app, _) = raw(net, answer.clone().into_bytes()).await;
        let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
        let (status, text) = ask(&proxy).await;
        let answer: String = answer.chars().take(60).collect();
        assert_eq!(status, expected, "{answer:?}: {text}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_three_times_in_all() {
    let net = Net::new();
    let (app, _) = raw(net, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine".to_vec()).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    assert!(ask(&proxy).await.1.contains("the body broke off"));
    assert_eq!(app.connections(), 3);
}

/// What the prober of Kubernetes 1.34.4 sends, but for the order of the headers.
#[tokio::test]
async fn a_request_is_written_as_kubelet_writes_it() {
    for (path, headers, expected) in [
        (
            "/a b?q={\"a\": \"b\"}",
            &[][..],
            "GET /a%20b?q={\"a\": \"b\"} HTTP/1.1|Accept: */*|Connection: close|Host: IP",
        ),
        (
            "/%zz",
            &[],
            "GET /%25zz HTTP/1.1|Accept: */*|Connection: close|Host: IP",
        ),
        (
            "//u:p@h/x",
            &[],
            "GET /x HTTP/1.1|Accept: */*|Authorization: Basic dTpw|Connection: close|Host: IP",
        ),
        (
            "/",
            &[("accept", ""), ("User-Agent", "")],
            "GET / HTTP/1.1|Connection: close|Host: IP",
        ),
        (
            "/",
            &[("Accept", "a"), ("Accept", "b")],
            "GET / HTTP/1.1|Accept: a|Accept: b|Connection: close|Host: IP",
        ),
        (
            "/",
            &[("user-agent", "me"), ("User-Agent", "you")],
            "GET / HTTP/1.1|Accept: */*|Connection: close|Host: IP|User-Agent: me",
        ),
        (
            "/",
            &[("Host", "a"), ("Host", "b")],
            "GET / HTTP/1.1|Accept: */*|Connection: close|Host: a",
        ),
        (
            "/",
            &[("Host", "a b")],
            "GET / HTTP/1.1|Accept: */*|Connection: close|Host: ",
        ),
        (
            "/",
            &[("x-token", " é "), ("Content-Length", "5")],
            "GET / HTTP/1.1|Accept: */*|Connection: close|Host: IP|X-Token: é",
        ),
    ] {
        let net = Net::new();
        let (_app, mut seen) = raw(net, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
        let proxy = proxy(net, http_check(path, Scheme::Http, headers));
        assert_eq!(ask(&proxy).await.0, 200);
        assert_eq!(sorted(&seen.recv().await.unwrap(), net), expected);
    }
}

#[tokio::test]
async fn a_probe_that_kubelet_could_not_send_is_a_failure() {
    let net = Net::new();
    let app = Server::named(net.at(1), "app").await;
    for (path, headers) in [("a:b", &[][..]), ("/", &[("X", "a\nb")])] {
        let proxy = proxy(net, http_check(path, Scheme::Http, headers));
        assert_eq!(ask(&proxy).await.0, 503);
    }
    assert_eq!(app.connections(), 0);
}

/// A request with its headers in order, on one line.
fn sorted(request: &str, net: Net) -> String {
    let mut lines: Vec<&str> = request.trim_end_matches("\r\n").split("\r\n").collect();
    lines[1..].sort_unstable();
    lines.join("|").replace(&net.at(1).to_string(), "IP")
}

/// `runHTTPHandler` of pkg/kubelet/lifecycle/handlers.go looks at the error alone.
#[tokio::test]
async fn a_hook_is_carried_out_whatever_it_is_answered() {
    for purpose in [Purpose::PostStart, Purpose::PreStop] {
        let net = Net::new();
        let (_app, mut seen) = raw(net, b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nno".to_vec()).await;
        let proxy = proxy_for(purpose, net, http_check("/bye", Scheme::Http, &[]));
        let mut kubelet = request("GET", &purpose.label("app"));
        let agent = "kube-lifecycle/1.34".parse().unwrap();
        kubelet.headers_mut().insert("user-agent", agent);
        let answer = Http1::connect(proxy.probe_address()).await.send(kubelet).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(
            sorted(&seen.recv().await.unwrap(), net),
            "GET /bye HTTP/1.1|Accept-Encoding: gzip|Accept: */*|Host: IP|User-Agent: kube-lifecycle/1.34"
        );
    }
}

/// The bytes that the probe port answers.
async fn bytes_answered(proxy: &TestProxy, path: &str) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(proxy.probe_address())
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_hook_that_nobody_answers_fails_for_kubelet_too() {
    let net = Net::new();
    let proxy = proxy_for(Purpose::PostStart, net, http_check("/", Scheme::Http, &[]));
    assert_eq!(bytes_answered(&proxy, "/app/postStart").await, b"");
}

#[tokio::test]
async fn an_https_hook_that_is_answered_http_is_sent_over_http() {
    let net = Net::new();
    let (app, mut seen) = raw(net, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let headers = [("Authorization", "secret")];
    let proxy = proxy_for(Purpose::PreStop, net, http_check("/bye", Scheme::Https, &headers));
    assert!(
        bytes_answered(&proxy, "/app/preStop")
            .await
            .starts_with(b"HTTP/1.1 200")
    );
    assert_eq!(app.connections(), 2);
    seen.recv().await.unwrap();
    assert_eq!(
        sorted(&seen.recv().await.unwrap(), net),
        "GET /bye HTTP/1.1|Accept-Encoding: gzip|Accept: */*|Host: IP"
    );
    let probe = self::proxy(net, http_check("/", Scheme::Https, &[]));
    assert_eq!(
        ask(&probe).await,
        (503, "it answered HTTP to an HTTPS client\n".to_owned())
    );
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

#[tokio::test]
async fn s11_a_hook_is_run_only_for_who_knows_the_key_of_the_pod() {
    for purpose in Purpose::ALL {
        let net = Net::new();
        let app = Server::named(net.at(1), "app").await;
        let path = PathKey::new([7; 16]).path(purpose, "app");
        let proxy = proxy_at(path.clone(), net, http_check("/bye", Scheme::Http, &[]));
        let label = purpose.label("app");
        let guesses = [
            label.clone(),
            format!("/{label}"),
            PathKey::new([0; 16]).path(purpose, "app"),
            path.replacen("07", "08", 1),
            path.to_uppercase(),
            format!("{path}/"),
            format!("/.{path}"),
            path.replacen('/', "/%", 1),
        ];
        for guess in guesses {
            let answer = get(proxy.probe_address(), &guess).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{guess}");
            assert!(!answer.text.contains("0707"), "{}", answer.text);
        }
        assert_eq!(app.requests(), 0);
        assert_eq!(get(proxy.probe_address(), &path).await.status, StatusCode::OK);
        assert_eq!(app.requests(), 1);
    }
}

/// A server whose certificate nobody has signed.
async fn tls_server(net: Net, protocols: &[&str]) -> Server {
    use rustls::pki_types::PrivateKeyDer;
    let made = rcgen::generate_simple_self_signed(vec!["somebody.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    Server::tcp(net.at(1), move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let only_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = hyper::service::service_fn(|request: http::Request<_>| async move {
                assert_eq!(request.version() == http::Version::HTTP_2, only_http2);
                assert_eq!(request.uri().authority().is_some(), only_http2);
                Ok::<_, std::convert::Infallible>(text("fine"))
            });
            let mut builder =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            if only_http2 {
                builder = builder.http2_only();
            }
            let _ = builder
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// Connections of one address that say nothing, more than any port has room for.
async fn crowd(address: std::net::SocketAddr) -> Vec<tokio::net::TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    crowd
}

#[tokio::test]
async fn s4_silent_connections_do_not_fail_the_applications_probes() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |_| async { text("fine") }).await;
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    let _crowd = crowd(proxy.probe_address()).await;
    // From the same address: kubelet's is not known.
    assert_eq!(ask(&proxy).await.0, StatusCode::OK);
}

#[tokio::test]
async fn s4_silent_connections_do_not_make_a_pod_unready() {
    let net = Net::new();
    let proxy = proxy(net, http_check("/", Scheme::Http, &[]));
    let _crowd = crowd(proxy.metrics_address()).await;
    let answer = get(proxy.metrics_address(), "/startup").await;
    assert!(!answer.text.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn s4_a_hook_under_way_does_not_give_way_to_silent_connections() {
    let net = Net::new();
    let app = Server::http(net.at(1), |_| async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        text("done")
    })
    .await;
    let proxy = proxy_for(Purpose::PreStop, net, http_check("/", Scheme::Http, &[]));
    let mut kubelet = Http1::connect(proxy.probe_address()).await;
    let others = async {
        eventually("the hook is under way", || app.requests() == 1).await;
        crowd(proxy.probe_address()).await
    };
    let (answer, _crowd) = tokio::join!(kubelet.get("/app/preStop"), others);
    assert_eq!(answer.status, StatusCode::OK);
}
