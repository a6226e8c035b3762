//! What the proxy answers itself.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use smilax_core::path::Ambiguity;

use super::body::{Client, ResponseBody};
use super::headers::{BadRequest, BadResponse};
use super::limits::TooLarge;
use super::local_reply::LocalReply;
use super::upstream::SendError;
use crate::access::Refused;
use crate::metrics::traffic::{Flags, Recording};
use crate::overload::TooMany;
use crate::transport::ConnectError;

/// `UNAVAILABLE`, by gRPC's numbers: the client may try again.
const GRPC_UNAVAILABLE: &str = "14";
/// `PERMISSION_DENIED`.
const GRPC_PERMISSION_DENIED: &str = "7";
/// `INTERNAL`: it was the request's fault.
const GRPC_INTERNAL: &str = "13";

/// Why the proxy answers instead of a server.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request is not acceptable.
    #[error("{0}")]
    BadRequest(#[from] BadRequest),
    /// The request has too many headers, or too large ones.
    #[error("the request is too large: {0}")]
    TooLarge(#[from] TooLarge),
    /// The response has.
    #[error("the response of the server is too large: {0}")]
    Response(TooLarge),
    /// The response is not acceptable.
    #[error("{0}")]
    BadResponse(#[from] BadResponse),
    /// A rule reads paths, and this one can be read in two ways.
    #[error("the path is ambiguous: {0}")]
    AmbiguousPath(#[from] Ambiguity),
    /// A rule reads the header of this name, and the request has it in another spelling.
    #[error("the header {0} is spelled with another separator, which some servers take for the same")]
    AmbiguousHeader(Box<str>),
    /// The chosen backend has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The caller may not. What it lacks, it is not told.
    #[error("access is denied")]
    Denied(Refused),
    /// There is no memory for it.
    #[error("{0}")]
    TooMany(#[from] TooMany),
    /// The server did not answer.
    #[error("{0}")]
    Upstream(#[from] SendError),
}

/// In which form a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a status and a line of text.
    Plain,
    /// As a status alone, which over HTTP/2 ends its stream at once whatever the client takes.
    Bare,
    /// As a response of gRPC that has only trailers.
    Grpc,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(bad) => bad.status(),
            Self::TooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::AmbiguousPath(_) | Self::AmbiguousHeader(_) | Self::Upstream(SendError::CutOff(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::Denied(Refused::NoPolicy)
            | Self::NoAddress(_)
            | Self::TooMany(_)
            | Self::Upstream(
                SendError::NoStreams(_)
                | SendError::Starved(_)
                | SendError::Connect(
                    ConnectError::Refused(..) | ConnectError::Absent(_) | ConnectError::Insecure(..),
                ),
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Upstream(SendError::Connect(ConnectError::TimedOut(..)) | SendError::Lost(_)) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Upstream(SendError::Unsent(_) | SendError::NotProcessed(_) | SendError::Broken(_))
            | Self::Response(_)
            | Self::BadResponse(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn flags(&self) -> Flags {
        match self {
            Self::BadRequest(_) | Self::TooLarge(_) | Self::AmbiguousPath(_) | Self::AmbiguousHeader(_) => {
                Flags::DownstreamProtocolError
            }
            Self::Denied(_) => Flags::None,
            Self::TooMany(_) => Flags::Overflow,
            Self::NoAddress(_) => Flags::NoHealthyUpstream,
            Self::Upstream(SendError::Connect(_) | SendError::NoStreams(_)) => Flags::UpstreamFailure,
            Self::Upstream(SendError::CutOff(_)) => Flags::DownstreamTermination,
            Self::Upstream(_) | Self::Response(_) | Self::BadResponse(_) => Flags::UpstreamTermination,
        }
    }

    /// What this means to another proxy that is answered so.
    pub fn local_reply(&self) -> Option<LocalReply> {
        match self {
            Self::Denied(Refused::NoPolicy)
            | Self::NoAddress(_)
            | Self::TooMany(_)
            | Self::Upstream(SendError::Connect(_) | SendError::NoStreams(_) | SendError::Unsent(_)) => {
                Some(LocalReply::NotProcessed)
            }
            Self::BadRequest(_)
            | Self::TooLarge(_)
            | Self::AmbiguousPath(_)
            | Self::AmbiguousHeader(_)
            | Self::Denied(_)
            | Self::Upstream(SendError::CutOff(_)) => Some(LocalReply::Policy),
            // The application may have acted on it.
            Self::Upstream(
                SendError::NotProcessed(_)
                | SendError::Starved(_)
                | SendError::Lost(_)
                | SendError::Broken(_),
            )
            | Self::Response(_)
            | Self::BadResponse(_) => None,
        }
    }

    fn grpc_status(&self) -> &'static str {
        match self {
            Self::BadRequest(_)
            | Self::TooLarge(_)
            | Self::Response(_)
            | Self::BadResponse(_)
            | Self::AmbiguousPath(_)
            | Self::AmbiguousHeader(_) => GRPC_INTERNAL,
            Self::Denied(Refused::NoPolicy) | Self::NoAddress(_) | Self::TooMany(_) | Self::Upstream(_) => {
                GRPC_UNAVAILABLE
            }
            Self::Denied(_) => GRPC_PERMISSION_DENIED,
        }
    }

    /// Whether it is plain where the client's next request begins.
    pub fn is_framed(&self) -> bool {
        match self {
            Self::BadRequest(bad) => bad.is_framed(),
            _ => true,
        }
    }

    /// Whether it is the called Service that does not answer.
    pub fn is_of_service(&self) -> bool {
        match self {
            Self::NoAddress(_) => true,
            Self::Upstream(error) => !matches!(error, SendError::CutOff(_)),
            _ => false,
        }
    }

    /// One word for what a caller lacks, where it was its right that decided.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Denied(refused) => Some(refused.as_str()),
            _ => None,
        }
    }

    /// The answer that tells it, with what was called, where the caller may be told.
    pub fn answer(
        &self,
        form: Form,
        called: Option<&str>,
        mut recording: Recording,
        client: Client,
    ) -> Response<ResponseBody> {
        let text = match called {
            Some(called) => format!("smilax: {self} ({called})\n"),
            None => format!("smilax: {self}\n"),
        };
        recording.flag(self.flags());
        match form {
            Form::Plain => {
                recording.status(self.status());
                let length = HeaderValue::from(text.len());
                let mut response = Response::new(ResponseBody::own(text.into(), recording, client));
                *response.status_mut() = self.status();
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                headers.insert(CONTENT_LENGTH, length);
                if let Self::BadRequest(bad) = self
                    && let Some(methods) = bad.allowed()
                {
                    headers.insert(ALLOW, methods);
                }
                response
            }
            Form::Bare => {
                recording.status(self.status());
                let mut response = Response::new(ResponseBody::own(Bytes::new(), recording, client));
                *response.status_mut() = self.status();
                response
            }
            Form::Grpc => {
                recording.status(StatusCode::OK);
                recording.grpc_status(self.grpc_status().as_bytes());
                let mut response = Response::new(ResponseBody::own(Bytes::new(), recording, client));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert("grpc-status", HeaderValue::from_static(self.grpc_status()));
                if let Ok(message) = HeaderValue::from_str(&percent_encode(text.trim_end())) {
                    headers.insert("grpc-message", message);
                }
                response
            }
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AmbiguousPath(ambiguity) => Self::AmbiguousPath(ambiguity),
            Refused::AmbiguousHeader(name) => Self::AmbiguousHeader(name),
            refused => Self::Denied(refused),
        }
    }
}

/// As gRPC wants its messages: printable ASCII, the rest and `%` encoded.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' '..=b'$' | b'&'..=b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_grpc_are_encoded() {
        assert_eq!(percent_encode("a b%\u{e9}"), "a b%25%C3%A9");
    }
}
