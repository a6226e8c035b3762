//! Which headers go on, and which messages are refused for theirs.

mod check;
mod upgrade;
mod websocket;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, PROXY_AUTHORIZATION, SET_COOKIE,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{StatusCode, Version};
use smilax_core::RequestView;

pub use self::check::{
    BadRequest, BadResponse, check, check_expectation, check_response, check_tunnel, same_host,
};
pub use self::upgrade::Upgrade;
pub use self::websocket::Handshake;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Headers that `Connection` cannot take from a message: how it is framed, and whom it is for.
const NEVER_NOMINATED: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];

/// What never is a trailer (RFC 9110 section 6.5.1): how a message is framed, whom it is for, who sends it, and how its
/// content is to be read. HTTP/1 is spared it by hyper; HTTP/2 is not.
const NEVER_TRAILERS: [HeaderName; 19] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    KEEP_ALIVE,
    MAX_FORWARDS,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request as rules see it.
#[derive(Debug)]
pub struct View<'a>(pub &'a Parts);

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

    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.0.headers.keys().map(HeaderName::as_str)
    }
}

/// The name that the request is for, if it says one.
pub fn host(parts: &Parts) -> Option<&str> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST)?.to_str().ok(),
    }
}

/// Takes away what concerns only the connection that a request came over (RFC 9110 section 7.6.1), and says what the
/// request wants to become. `TE: trailers` stays, as the way back carries trailers, and gRPC insists on it.
pub fn strip_request(parts: &mut Parts) -> Upgrade {
    let upgrade = Upgrade::requested(parts);
    let trailers = wants_trailers(&parts.headers);
    strip(&mut parts.headers);
    parts.headers.remove(HTTP2_SETTINGS);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    say_connection(parts, &upgrade);
    upgrade
}

/// Leaves a request what it is, as the server of one that asks to become something else may do (RFC 9110 section 7.8).
pub fn leave_out_upgrade(parts: &mut Parts) -> Upgrade {
    parts.headers.remove(CONNECTION);
    parts.headers.remove(UPGRADE);
    say_connection(parts, &Upgrade::None);
    Upgrade::None
}

/// Says what concerns only the connection that a request goes on over.
fn say_connection(parts: &mut Parts, upgrade: &Upgrade) {
    let headers = &mut parts.headers;
    if let Some(protocols) = upgrade.protocols() {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocols.clone());
    } else if headers.contains_key(TE) && parts.version <= Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Takes away what concerns only the connection that a response came over. One that switches protocols keeps saying to
/// which.
pub fn strip_response(status: StatusCode, headers: &mut HeaderMap) {
    let upgrade = (status == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| headers.remove(UPGRADE))
        .flatten();
    strip(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Takes away what no trailer may be.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    for name in NEVER_TRAILERS {
        if trailers.remove(&name).is_some() {
            tracing::debug!(%name, "left out a trailer that none may be");
        }
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
            .filter_map(|token| HeaderName::from_bytes(token).ok())
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

fn nominates_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// The elements of a list (RFC 9110 section 5.6.1), over all its lines. Some may be no token: values may have any byte
/// above ASCII, and one such byte must not hide the elements beside it.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// RFC 9110 section 5.6.2. Names of headers are tokens, and every token could be one.
fn is_token(text: &[u8]) -> bool {
    HeaderName::from_bytes(text).is_ok()
}

#[cfg(test)]
mod tests;
