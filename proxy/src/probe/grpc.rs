//! `grpc.health.v1.Health/Check`, whose messages are small enough to be written by hand.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use crate::http::LocalExecutor;
use crate::transport::BoxedStream;

/// Bytes of an answer at most.
const MOST_BYTES: usize = 64 << 10;
/// gRPC status of a method that a server does not have.
const UNIMPLEMENTED: u16 = 12;

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// `SERVING`.
    Serving,
    /// `NOT_SERVING`.
    NotServing,
    /// `SERVICE_UNKNOWN`.
    ServiceUnknown,
    /// `UNKNOWN`, or a status of the future.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// Asks whether `service` is served; empty for the server as a whole. `agent` names kubelet and its version.
///
/// # Errors
/// [`Failure`] when it is not.
pub(super) async fn check(
    stream: TcpStream,
    address: SocketAddr,
    service: &str,
    agent: Option<&HeaderValue>,
    timeout_seconds: u32,
) -> Result<(), Failure> {
    let broken = |error: &dyn fmt::Display| Failure::Broken(error.to_string());
    let stream: BoxedStream = Box::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Closed when nobody waits for the answer any more.
    let _connection = AbortOnDropHandle::new(tokio::task::spawn_local(connection));
    let uri: Uri = format!("http://{address}/grpc.health.v1.Health/Check")
        .parse()
        .map_err(|error| broken(&error))?;
    let mut request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{timeout_seconds}S"))
        .body(Full::new(encode(service)))
        .map_err(|error| broken(&error))?;
    if let Some(agent) = agent {
        request.headers_mut().insert(USER_AGENT, agent.clone());
    }
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let http_status = response.status();
    if http_status != StatusCode::OK {
        return Err(Failure::Status(http_status));
    }
    let (head, body) = response.into_parts();
    if !is_grpc(&head.headers) {
        return Err(Failure::Broken("it answered something else than gRPC".to_owned()));
    }
    let body = Limited::new(body, MOST_BYTES)
        .collect()
        .await
        .map_err(|error| broken(&error))?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    match status(trailers) {
        Some(0) => match decode(&body.to_bytes()) {
            Some(Health::Serving) => Ok(()),
            Some(health) => Err(Failure::NotServing(health)),
            None => Err(Failure::Broken(
                "its answer is not a HealthCheckResponse".to_owned(),
            )),
        },
        Some(UNIMPLEMENTED) => Err(Failure::Rpc(
            UNIMPLEMENTED,
            "this server does not implement grpc.health.v1.Health".to_owned(),
        )),
        Some(status) => {
            let message = trailers.get("grpc-message").map(HeaderValue::as_bytes);
            let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
            Err(Failure::Rpc(status, message))
        }
        None => Err(Failure::Broken("it answered without a gRPC status".to_owned())),
    }
}

/// What grpc-go accepts as the content type of gRPC.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let lower = content.unwrap_or_default().to_ascii_lowercase();
    matches!(
        lower.strip_prefix(b"application/grpc"),
        Some([] | [b'+' | b';', ..])
    )
}

fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A `HealthCheckRequest { service = 1: string }` in gRPC's frame.
fn encode(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    frame.append(&mut message);
    frame.into()
}

/// A `HealthCheckResponse { status = 1: enum }` in gRPC's frame. An absent status is its default; of several, the last
/// counts, and fields of a later definition are skipped, as everywhere in Protocol Buffers.
fn decode(frame: &[u8]) -> Option<Health> {
    let (header, mut message) = frame.split_at_checked(5)?;
    let [0, length @ ..] = header else { return None };
    if u32::from_be_bytes(length.try_into().ok()?) != u32::try_from(message.len()).ok()? {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let skipped = match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(match status {
        1 => Health::Serving,
        2 => Health::NotServing,
        3 => Health::ServiceUnknown,
        _ => Health::Unknown,
    })
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn only_a_whole_answer_counts() {
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 1]), Some(Health::Serving));
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 2]), Some(Health::NotServing));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(Health::Unknown));
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8]), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(
            decode(&[1, 0, 0, 0, 2, 8, 1]),
            None,
            "compressed, which was not offered"
        );
    }

    #[test]
    fn fields_of_a_later_definition_are_skipped() {
        let message = [0x12, 2, b'o', b'k', 0x08, 2, 0x1d, 0, 0, 0, 0, 0x08, 1];
        let mut frame = vec![0, 0, 0, 0, 13];
        frame.extend(message);
        assert_eq!(decode(&frame), Some(Health::Serving));
    }

    #[test]
    fn a_long_name_is_asked_for_whole() {
        let request = encode(&"a".repeat(300));
        assert_eq!(&request[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
        assert_eq!(request.len(), 308);
    }
}
