//! One request and its answer, with the limits of Go's HTTP client.

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::request_line::RequestLine;
use crate::http::LocalExecutor;
use crate::transport::BoxedStream;

/// Bytes of a body that kubelet reads.
const MOST_BODY: usize = 10 << 10;
/// Bytes of an answer's headers (`Transport.MaxResponseHeaderBytes` when it is not set).
const MOST_HEADER_BYTES: usize = 10 << 20;
/// Headers of an answer. Go has no limit for their number; hyper reserves memory for each, and the map ends at 24,576.
const MOST_HEADERS: usize = 10_000;

/// An answer whose body has not been read yet, and the connection that it comes on.
pub(super) struct Reply {
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Reply {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// As much of the body as kubelet reads.
    ///
    /// # Errors
    /// [`Failure::Body`] when it breaks off before.
    pub(super) async fn body(mut self) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        while let Some(frame) = self.response.body_mut().frame().await {
            let Ok(data) = frame.map_err(Failure::Body)?.into_data() else {
                continue;
            };
            let room = MOST_BODY - body.len();
            body.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if body.len() == MOST_BODY {
                break;
            }
        }
        Ok(body.freeze())
    }
}

/// Sends a GET over HTTP/1.1.
///
/// # Errors
/// [`Failure::Broken`] without an answer.
pub(super) async fn http1(
    stream: BoxedStream,
    target: &[u8],
    host: &[u8],
    mut headers: HeaderMap,
) -> Result<Reply, Failure> {
    let host = HeaderValue::from_bytes(host).map_err(|error| broken(&error))?;
    headers.insert(HOST, host);
    let mut request = Request::new(Empty::new());
    *request.headers_mut() = headers;
    if let Ok(target) = PathAndQuery::try_from(target) {
        *request.uri_mut() = target.into();
        return send_http1(stream, request).await;
    }
    // A query that is no part of a URI, such as one with spaces, goes out as it was written.
    *request.uri_mut() = Uri::from_static("/");
    send_http1(Box::new(RequestLine::new(stream, target)), request).await
}

async fn send_http1(stream: BoxedStream, request: Request<Empty<Bytes>>) -> Result<Reply, Failure> {
    // What Go accepts in an answer, and names in the case that it writes.
    let (mut sender, connection) = conn::http1::Builder::new()
        .title_case_headers(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_headers(MOST_HEADERS)
        .max_buf_size(MOST_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = driven(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    Ok(Reply {
        response,
        _connection: connection,
    })
}

/// Sends a GET over HTTP/2.
///
/// # Errors
/// [`Failure::Broken`] without an answer.
pub(super) async fn http2(
    stream: BoxedStream,
    target: &[u8],
    host: &[u8],
    headers: HeaderMap,
) -> Result<Reply, Failure> {
    let uri = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(Authority::try_from(host).map_err(|error| broken(&error))?)
        .path_and_query(target)
        .build()
        .map_err(|error| broken(&error))?;
    let mut request = Request::new(Full::<Bytes>::default());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let (mut sender, connection) = conn::http2::Builder::new(LocalExecutor)
        .max_header_list_size(u32::try_from(MOST_HEADER_BYTES).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = driven(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    Ok(Reply {
        response,
        _connection: connection,
    })
}

/// Drives a connection for as long as somebody waits for its answer.
fn driven<E>(connection: impl Future<Output = Result<(), E>> + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::task::spawn_local(async move {
        // How it ends is known from the request or from the body.
        let _ = connection.await;
    }))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}
