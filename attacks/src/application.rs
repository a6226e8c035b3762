//! The application behind the attacked sidecar, and the server that the application calls.

use std::convert::Infallible;
use std::net::Ipv6Addr;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Port that speaks HTTP.
pub const HTTP_PORT: u16 = 8080;
/// Port that sends bytes without end to whoever connects.
pub const BYTES_PORT: u16 = 9000;
/// Bytes of the response at `/large`.
const LARGE: usize = 1024 * 1024;
const BLOCK: [u8; 16_384] = [b'x'; 16_384];

/// Serves both ports until the process ends.
///
/// # Errors
/// When a port cannot be opened.
pub async fn run() -> anyhow::Result<()> {
    let http = TcpListener::bind((Ipv6Addr::UNSPECIFIED, HTTP_PORT)).await?;
    let bytes = TcpListener::bind((Ipv6Addr::UNSPECIFIED, BYTES_PORT)).await?;
    serve(http, bytes).await;
    Ok(())
}

/// Serves for ever: 1 MiB at `/large`, nothing ever at `/unread`, what was read at `/sink`, bytes without end after an upgrade at
/// `/websocket`, and a word elsewhere.
pub async fn serve(http: TcpListener, bytes: TcpListener) {
    let large = Bytes::from(vec![b'x'; LARGE]);
    loop {
        tokio::select! {
            accepted = http.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(speak_http(stream, large.clone()));
                }
            }
            accepted = bytes.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(without_end(stream));
                }
            }
        }
    }
}

async fn speak_http(stream: TcpStream, large: Bytes) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, large.clone()));
    // What breaks here is counted by the client.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, large: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/large" => Response::new(Full::new(large)),
        "/unread" => {
            let _held = request;
            std::future::pending().await
        }
        "/sink" => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            text("read")
        }
        "/websocket" => upgrade(request),
        _ => text("hello"),
    })
}

fn upgrade(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            without_end(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = text("");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    // Answers the one key that the attacker sends; the proxy checks it.
    let accept = header::HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn without_end(mut stream: impl AsyncWrite + Unpin) {
    while stream.write_all(&BLOCK).await.is_ok() {}
}

fn text(text: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())))
}
