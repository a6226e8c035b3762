//! Which headers go on, and which requests are refused for theirs.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use smilax_core::RequestView;

use super::raw_target::RawTarget;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Headers that `Connection` cannot take from a message: how it is framed, and whom it is for.
const NEVER_NOMINATED: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];

/// A request as rules see it.
#[derive(Debug)]
pub struct View<'a>(pub &'a Parts);

/// Why a request is refused whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// RFC 9112 section 3.2.
    #[error("the request has no Host")]
    NoHost,
    /// RFC 9112 section 3.2.
    #[error("the request has several Hosts")]
    SeveralHosts,
    /// Rules could see another Host than the application.
    #[error("the Host differs from the request target's authority")]
    HostMismatch,
    /// RFC 9112 section 6.3: two readers could see different ends.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// Rules would see another target than the application.
    #[error("the request target is not the one that came with it")]
    TargetMismatch,
    /// This is no forward proxy, and no way around it.
    #[error("CONNECT is not served over HTTP/2, nor to this pod itself")]
    Connect,
    /// RFC 9110 section 9.3.6.
    #[error("CONNECT has content")]
    ConnectContent,
    /// RFC 9112 section 3.2.3.
    #[error("the target of CONNECT is no host and port")]
    ConnectTarget,
}

/// What a message wants to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It stays what it is.
    None,
    /// The value of `Upgrade`.
    To(HeaderValue),
    /// Bytes, as `CONNECT` asks.
    Tunnel,
}

impl Upgrade {
    /// Whether a response of this status makes it what it wants to become.
    pub fn is_granted(&self, status: StatusCode) -> bool {
        match self {
            Self::None => false,
            Self::To(_) => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        }
    }
}

impl BadRequest {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl RequestView for View<'_> {
    fn method(&self) -> &str {
        self.0.method.as_str()
    }

    fn path(&self) -> &str {
        self.0.uri.path()
    }

    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let authority = (name == "host")
            .then(|| self.0.uri.authority())
            .flatten()
            .map(|authority| authority.as_str().as_bytes());
        // Where there is an authority, `check` saw to it that a Host says the same.
        let others = authority.is_none().then(|| self.0.headers.get_all(name));
        let others = others.into_iter().flatten().map(HeaderValue::as_bytes);
        authority.into_iter().chain(others)
    }
}

/// The name that the request is for, if it says one.
pub fn host(parts: &Parts) -> Option<&str> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST)?.to_str().ok(),
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
    if parts.headers.contains_key(TRANSFER_ENCODING) && parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(BadRequest::TwoLengths);
    }
    if let Some(raw) = parts.extensions.get::<RawTarget>()
        && !raw.belongs_to(parts)
    {
        return Err(BadRequest::TargetMismatch);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next(), parts.uri.authority()) {
        (_, Some(_), _) => Err(BadRequest::SeveralHosts),
        (None, _, None) if parts.version > Version::HTTP_10 => Err(BadRequest::NoHost),
        (Some(host), _, Some(authority))
            if !host
                .as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(BadRequest::HostMismatch)
        }
        _ => Ok(()),
    }
}

/// Takes away what concerns only the connection that a request came over (RFC 9110 section 7.6.1), and says what the
/// request wants to become. `TE: trailers` stays, as the way back carries trailers, and gRPC insists on it.
pub fn strip_request(parts: &mut Parts) -> Upgrade {
    let upgrade = requested_upgrade(parts);
    let trailers = wants_trailers(&parts.headers);
    strip(&mut parts.headers);
    parts.headers.remove(HTTP2_SETTINGS);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match &upgrade {
        Upgrade::To(protocol) => {
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, protocol.clone());
        }
        Upgrade::None | Upgrade::Tunnel if trailers && parts.version <= Version::HTTP_11 => {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        Upgrade::None | Upgrade::Tunnel => {}
    }
    upgrade
}

/// Takes away what concerns only the connection that a response came over. One that switches protocols keeps saying to
/// which.
pub fn strip_response(status: StatusCode, headers: &mut HeaderMap) {
    let upgrade = (status == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| headers.remove(UPGRADE))
        .flatten();
    // Both together can be read in two ways; hyper has gone by the encoding.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Whether this is a request of gRPC, which wants its answers in gRPC's form.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Whether the trailers of a response will hold its status of gRPC. gRPC-Web has its own content type, and its status in
/// the body.
pub fn has_grpc_trailers(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !NEVER_NOMINATED.contains(name))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// `h2c` is not passed on: after it, requests would go by unseen. The request stays HTTP/1.1, as the server may choose.
fn requested_upgrade(parts: &Parts) -> Upgrade {
    if parts.version != Version::HTTP_11 {
        return Upgrade::None;
    }
    match parts.headers.get(UPGRADE) {
        Some(protocol)
            if tokens(&parts.headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
                && !tokens(&parts.headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("h2c")) =>
        {
            Upgrade::To(protocol.clone())
        }
        _ => Upgrade::None,
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
