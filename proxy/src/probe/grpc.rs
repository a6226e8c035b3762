//! `grpc.health.v1.Health/Check`, whose messages are small enough to be written by hand.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Failure;
use crate::http::LocalExecutor;

/// Bytes of an answer at most.
const MOST_BYTES: usize = 4096;

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

/// Asks whether `service` is served; empty for the server as a whole.
///
/// # Errors
/// [`Failure`] when it is not.
pub async fn check(stream: TcpStream, address: SocketAddr, service: &str) -> Result<(), Failure> {
    let broken = |error: &dyn fmt::Display| Failure::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = tokio::task::spawn_local(connection);
    let uri: Uri = format!("http://{address}/grpc.health.v1.Health/Check")
        .parse()
        .map_err(|error| broken(&error))?;
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(encode(service)))
        .map_err(|error| broken(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let early_status = grpc_status(response.headers());
    let http_status = response.status();
    if !http_status.is_success() {
        return Err(Failure::Status(http_status));
    }
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(|error| broken(&error))?;
    connection.abort();
    let status = body.trailers().and_then(grpc_status).or(early_status);
    match (status, decode(&body.to_bytes())) {
        (Some(0), Some(Health::Serving)) => Ok(()),
        (Some(0), Some(health)) => Err(Failure::NotServing(health)),
        // NOT_FOUND: this service is not known.
        (Some(5), _) => Err(Failure::NotServing(Health::ServiceUnknown)),
        (status, _) => Err(Failure::Broken(format!("gRPC status {status:?}"))),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A `HealthCheckRequest { service = 1: string }` in gRPC's frame.
fn encode(service: &str) -> Bytes {
    // Names of services are far shorter; what does not fit one byte of length is cut.
    let name = service
        .as_bytes()
        .get(..service.len().min(127))
        .unwrap_or_default();
    let mut message = Vec::with_capacity(name.len() + 7);
    let length = if name.is_empty() { 0 } else { name.len() + 2 };
    message.push(0);
    message.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_be_bytes());
    if !name.is_empty() {
        message.push(0x0a);
        message.push(u8::try_from(name.len()).unwrap_or_default());
        message.extend_from_slice(name);
    }
    message.into()
}

/// A `HealthCheckResponse { status = 1: enum }` in gRPC's frame. An absent status is its default.
fn decode(frame: &[u8]) -> Option<Health> {
    match frame {
        [0, _, _, _, length, message @ ..] if message.len() == usize::from(*length) => match message {
            [0x08, 1] => Some(Health::Serving),
            [0x08, 2] => Some(Health::NotServing),
            [0x08, 3] => Some(Health::ServiceUnknown),
            _ => Some(Health::Unknown),
        },
        _ => None,
    }
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
    }
}
