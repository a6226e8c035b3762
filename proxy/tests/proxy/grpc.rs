//! HTTP/2, and gRPC over it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use smilax_core::config::Protocol;
use tokio::sync::Semaphore;

use crate::support::client::{Http2, read};
use crate::support::server::{Body, Cancelled, Server, frames, full};
use crate::support::{Net, TestProxy, soon, split};

fn call() -> Request<Body> {
    Request::post("http://web:8080/shop.Cart/Add")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(full("message"))
        .unwrap()
}

async fn grpc_server(address: std::net::SocketAddr, name: &'static str) -> Server {
    Server::http(address, move |request: Request<Incoming>| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().to_string(), "http://web:8080/shop.Cart/Add");
        request.into_body().collect().await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("x-server", name.parse().unwrap());
        Response::new(frames(vec![
            Frame::data(Bytes::from_static(b"answer")),
            Frame::trailers(trailers),
        ]))
    })
    .await
}

#[tokio::test]
async fn calls_over_one_connection_are_split_one_by_one_and_keep_their_trailers() {
    let net = Net::new();
    let v1 = grpc_server(net.at(2), "v1").await;
    let v2 = grpc_server(net.at(3), "v2").await;
    let routes = vec![split(&[("shop/v1", 3), ("shop/v2", 1)])];
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Detect, routes));
    let mut client = Http2::connect(proxy.outbound_address()).await;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for _ in 0..200 {
        let answer = client.send(call()).await;
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        *seen
            .entry(trailers["x-server"].to_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert!(seen["v1"].abs_diff(150) <= 4, "{seen:?}");
    assert_eq!(seen["v2"], v2.requests());
    assert!(v1.connections() <= 4 && v2.connections() <= 4);
    let ok = ["request_protocol=\"grpc\"", "grpc_response_status=\"0\""];
    proxy.counts("istio_requests_total", &ok, 200).await;
}

#[tokio::test]
async fn calls_at_the_same_time_share_few_connections() {
    let net = Net::new();
    let web = grpc_server(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let client = Http2::connect(proxy.outbound_address()).await;
    let calls = (0..100).map(|_| {
        let mut sender = client.0.clone();
        async move { read(sender.send_request(call()).await.unwrap()).await }
    });
    for answer in soon("all answers", futures::future::join_all(calls)).await {
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert!(web.connections() <= 4, "{}", web.connections());
}

#[tokio::test]
async fn a_server_that_allows_few_streams_gets_more_connections() {
    let net = Net::new();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let web = Server::tcp(net.at(1), move |stream| {
        let gate = Arc::clone(&gate);
        async move {
            let service = hyper::service::service_fn(move |_| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, std::convert::Infallible>(Response::new(full("ok")))
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .max_concurrent_streams(2)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let client = Http2::connect(proxy.outbound_address()).await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        let mut sender = client.0.clone();
        let request = Request::get("http://web/").body(full("")).unwrap();
        answers.push(tokio::spawn(async move {
            sender.send_request(request).await.unwrap().status()
        }));
    }
    opened.add_permits(40);
    for answer in answers {
        assert_eq!(soon("an answer", answer).await.unwrap(), StatusCode::OK);
    }
    assert!(web.connections() >= 4, "{}", web.connections());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_to_grpc() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let answer = Http2::connect(proxy.outbound_address()).await.send(call()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["grpc-status"], "14");
    assert!(
        answer.headers["grpc-message"]
            .to_str()
            .unwrap()
            .contains("cannot connect")
    );
    let labels = ["response_flags=\"UF\"", "grpc_response_status=\"14\""];
    proxy.counts("istio_requests_total", &labels, 1).await;
}

#[tokio::test]
async fn a_stream_goes_both_ways_at_once() {
    let net = Net::new();
    let _web = Server::http(net.at(1), |request: Request<Incoming>| async {
        // Whatever comes goes back while more is coming.
        Response::new(BodyExt::boxed(request.into_body()))
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut client = Http2::connect(proxy.outbound_address()).await;
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
    let body = futures::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|frame| (frame, receive))
    });
    let request = Request::post("http://web/")
        .body(BodyExt::boxed(http_body_util::StreamBody::new(body)))
        .unwrap();
    let mut echo = client.start(request).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        send.send(Ok(Frame::data(Bytes::from(word)))).await.unwrap();
        let frame = soon("the echo", echo.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(send);
    let rest = soon("the end", echo.collect()).await.unwrap();
    assert!(rest.to_bytes().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_server() {
    let net = Net::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let web = Server::http(net.at(1), move |_| Cancelled::told(told.clone())).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut client = Http2::connect(proxy.outbound_address()).await;
    tokio::select! {
        _ = client.0.send_request(call()) => panic!("answered"),
        () = crate::support::eventually("the call is under way", || web.requests() == 1) => {}
    }
    soon("the server hears of it", is_told.recv()).await.unwrap();
}
