//! Messages that two readers could understand differently, and what else no server is bothered with.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};

use super::tokens;
use crate::http::expect::Expectation;
use crate::http::limits::TARGET_BYTES;
use crate::http::raw_target::RawTarget;

/// Why a request is refused whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// RFC 9112 section 3.2.
    #[error("the request has no Host")]
    NoHost,
    /// RFC 9112 section 3.2.
    #[error("the request has several Hosts")]
    SeveralHosts,
    /// RFC 9110 section 7.2; user information is not for requests (section 4.2.4).
    #[error("the Host is not the name or address of a host, with or without a port")]
    InvalidHost,
    /// Rules could see another Host than the application.
    #[error("the Host differs from the request target's authority")]
    HostMismatch,
    /// RFC 9112 section 6.3: two readers could see different ends.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// RFC 9110 section 8.6: two readers could see different ends.
    #[error("the Content-Length of the request is not a number, or several")]
    InvalidLength,
    /// RFC 9112 section 6.1: two readers could see different ends.
    #[error("the Transfer-Encoding is not chunked, once")]
    TransferEncoding,
    /// RFC 9112 section 6.1: a coding that exists and is not decoded here.
    #[error("the only supported transfer coding is chunked")]
    TransferCoding,
    /// RFC 9110 section 15.5.15.
    #[error("the request target has more than {TARGET_BYTES} bytes")]
    TargetTooLong,
    /// Rules would see another target than the application.
    #[error("the request target is not the one that came with it")]
    TargetMismatch,
    /// RFC 9113 section 8.3.1. In HTTP/1 it could be another form of target, with another host.
    #[error("the path of the request does not begin with a slash")]
    NoPath,
    /// It would send back what this proxy and others added to the request (RFC 9110 section 9.3.8).
    #[error("TRACE is not served")]
    Trace,
    /// RFC 9110 section 10.1.1. A server that reads it differently could take a body that it refuses for a request.
    #[error("the Expect of the request is not a single 100-continue")]
    Expectation,
    /// RFC 9112 section 3.2.4.
    #[error("only OPTIONS is for the target *")]
    Asterisk,
    /// This is no forward proxy, and no way around it.
    #[error("CONNECT is not served over HTTP/2, nor to this pod itself")]
    Connect,
    /// RFC 9110 section 9.3.6.
    #[error("CONNECT has content")]
    ConnectContent,
    /// RFC 9112 section 3.2.3.
    #[error("the target of CONNECT is not a host and port")]
    ConnectTarget,
}

/// Why a response is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// RFC 9110 section 15.2.2.
    #[error("the server switches to a protocol that it was not asked for, or does not say to which")]
    Unasked,
    /// RFC 6455 section 4.2.2: whoever has not read the handshake goes on with HTTP, and would take what follows for requests
    /// that nobody has seen.
    #[error(
        "the server switches to WebSocket without the Sec-WebSocket-Accept that answers the request's Sec-WebSocket-Key"
    )]
    Handshake,
    /// RFC 9110 section 9.3.6: an answer with content opens no tunnel. Who sends it goes on with HTTP, and would take what
    /// comes through the tunnel for requests that nobody has seen.
    #[error("the server answers CONNECT with content, and so opens no tunnel")]
    TunnelContent,
    /// It begins with what the client has not finished saying (RFC 9110 section 7.8).
    #[error("the server switches protocols before it has read the request")]
    EarlySwitch,
    /// RFC 9112 section 6.3.
    #[error("the response has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// RFC 9110 section 8.6.
    #[error("the Content-Length of the response is not a number, or several")]
    InvalidLength,
    /// RFC 9112 section 6.1.
    #[error("the Transfer-Encoding of the response is not chunked, once")]
    TransferEncoding,
}

impl BadRequest {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Connect | Self::Trace | Self::Asterisk => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::NoHost
            | Self::SeveralHosts
            | Self::InvalidHost
            | Self::HostMismatch
            | Self::TwoLengths
            | Self::TransferEncoding
            | Self::InvalidLength
            | Self::TargetMismatch
            | Self::NoPath
            | Self::ConnectContent
            | Self::ConnectTarget => StatusCode::BAD_REQUEST,
        }
    }

    /// Methods that the target is for, where others are refused.
    pub fn allowed(self) -> Option<HeaderValue> {
        (self == Self::Asterisk).then(|| HeaderValue::from_static("OPTIONS"))
    }

    /// Whether it is plain where the next request begins. Otherwise the connection ends.
    pub fn is_framed(self) -> bool {
        self.status() == StatusCode::METHOD_NOT_ALLOWED
    }
}

/// Refuses what could be understood in two ways.
///
/// # Errors
/// [`BadRequest`].
pub fn check(parts: &Parts) -> Result<(), BadRequest> {
    if parts.method == Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    if !is_one_length(&parts.headers) {
        return Err(BadRequest::InvalidLength);
    }
    if let Some(coding) = parts.headers.get(TRANSFER_ENCODING) {
        if parts.headers.contains_key(CONTENT_LENGTH) {
            return Err(BadRequest::TwoLengths);
        }
        if !is_chunked(coding) || parts.headers.get_all(TRANSFER_ENCODING).iter().count() > 1 {
            return Err(other_coding(&parts.headers));
        }
    }
    if let Some(raw) = parts.extensions.get::<RawTarget>()
        && !raw.belongs_to(parts)
    {
        return Err(BadRequest::TargetMismatch);
    }
    check_hosts(parts)?;
    if parts.method == Method::TRACE {
        return Err(BadRequest::Trace);
    }
    let path = parts.uri.path();
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(BadRequest::Asterisk);
    }
    if !has_path(parts) {
        return Err(BadRequest::NoPath);
    }
    let query = parts.uri.query().map_or(0, |query| query.len() + 1);
    if path.len() + query > TARGET_BYTES {
        return Err(BadRequest::TargetTooLong);
    }
    Ok(())
}

/// Refuses an expectation that is not known, and takes away that of HTTP/1.0, which has none (RFC 9110 section 10.1.1).
///
/// # Errors
/// [`BadRequest::Expectation`].
pub fn check_expectation(parts: &mut Parts) -> Result<(), BadRequest> {
    if parts.version < Version::HTTP_11 {
        parts.headers.remove(EXPECT);
    }
    match Expectation::of(&parts.headers) {
        Expectation::None | Expectation::Continue => Ok(()),
        Expectation::Unknown => Err(BadRequest::Expectation),
    }
}

/// Refuses a Host that differs from the authority.
///
/// # Errors
/// [`BadRequest::HostMismatch`].
pub fn same_host(parts: &Parts) -> Result<(), BadRequest> {
    match (parts.headers.get(HOST), parts.uri.authority()) {
        (Some(host), Some(authority))
            if !host
                .as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(BadRequest::HostMismatch)
        }
        _ => Ok(()),
    }
}

/// Refuses what no client asked for, and what could be understood in two ways.
///
/// # Errors
/// [`BadResponse`].
pub fn check_response(headers: &HeaderMap) -> Result<(), BadResponse> {
    // Where no body follows, as after HEAD, nobody else reads the length, and it would be passed on as it is.
    if !is_one_length(headers) {
        return Err(BadResponse::InvalidLength);
    }
    let Some(coding) = headers.get(TRANSFER_ENCODING) else {
        return Ok(());
    };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(BadResponse::TwoLengths);
    }
    // `identity` alone was a word for no coding at all (RFC 2616 section 3.6).
    let known = is_chunked(coding) || coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if known && headers.get_all(TRANSFER_ENCODING).iter().count() == 1 {
        Ok(())
    } else {
        Err(BadResponse::TransferEncoding)
    }
}

/// Refuses an answer to CONNECT after which its server goes on with HTTP.
///
/// # Errors
/// [`BadResponse::TunnelContent`].
pub fn check_tunnel(status: StatusCode, headers: &HeaderMap) -> Result<(), BadResponse> {
    let has_content = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let says_so = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if status.is_success() && (has_content || says_so) {
        Err(BadResponse::TunnelContent)
    } else {
        Ok(())
    }
}

/// Whether the target names a path, or is `*`. Only a whole URI of HTTP/1 may leave its path out.
fn has_path(parts: &Parts) -> bool {
    let Some(target) = parts.uri.path_and_query().map(PathAndQuery::as_str) else {
        return false;
    };
    let is_uri = parts.version <= Version::HTTP_11 && parts.uri.scheme().is_some();
    target == "*" || target.starts_with('/') || is_uri && target.starts_with('?')
}

/// Whether the lengths that are said, if any, are one number.
fn is_one_length(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii);
    let Some(first) = lengths.next() else {
        return true;
    };
    let is_number = first.iter().all(u8::is_ascii_digit)
        && str::from_utf8(first).is_ok_and(|digits| digits.parse::<u64>().is_ok());
    is_number && lengths.all(|other| other == first)
}

fn check_hosts(parts: &Parts) -> Result<(), BadRequest> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(BadRequest::SeveralHosts);
    }
    same_host(parts)?;
    let named = match (parts.uri.authority(), host) {
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (None, None) if parts.version > Version::HTTP_10 => return Err(BadRequest::NoHost),
        (None, None) => return Ok(()),
    };
    if is_host(named) {
        Ok(())
    } else {
        Err(BadRequest::InvalidHost)
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110 section 7.2), with a host.
pub(super) fn is_host(name: &[u8]) -> bool {
    let (inside, is_inside): (&[u8], fn(u8) -> bool) = match name.strip_prefix(b"[") {
        Some(literal) => (literal, is_in_literal),
        None => (name, is_in_name),
    };
    let length = inside.iter().take_while(|&&byte| is_inside(byte)).count();
    let behind = match (inside.len() < name.len(), inside.get(length..)) {
        (_, Some(_)) if length == 0 => return false,
        (true, Some([b']', rest @ ..])) | (false, Some(rest)) => rest,
        _ => return false,
    };
    match behind {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// RFC 3986 section 3.2.2: `reg-name`.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// The same: `IP-literal`, with a zone as RFC 6874 writes it.
fn is_in_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":.%-_~".contains(&byte)
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// What is wrong with codings that are not `chunked` alone. hyper saw to it that the last is `chunked`.
fn other_coding(headers: &HeaderMap) -> BadRequest {
    let exists = |coding: &[u8]| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known.as_bytes()))
    };
    let mut others = 0;
    for coding in tokens(headers, &TRANSFER_ENCODING) {
        if exists(coding) {
            others += 1;
        } else if !coding.eq_ignore_ascii_case(b"chunked") {
            return BadRequest::TransferEncoding;
        }
    }
    if others > 0 && tokens(headers, &TRANSFER_ENCODING).count() == others + 1 {
        BadRequest::TransferCoding
    } else {
        BadRequest::TransferEncoding
    }
}

#[cfg(test)]
mod tests;
