//! What a message wants to become (RFC 9110 section 7.8), and whether it may.
//!
//! Behind an upgrade, bytes go by unseen. Three kinds of protocols are told apart by what they can hide from the rules about
//! requests: those that carry requests of HTTP, those known not to, and those that nobody here knows.

use http::header::{HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{StatusCode, Version};

use super::{BadResponse, Handshake, is_token, nominates_upgrade, tokens};

/// Protocols that carry requests, in the open or within TLS (RFC 2817). After such an upgrade, requests would go by without
/// rules, and with any identity that they claim.
const CARRY_REQUESTS: [&[u8]; 7] = [b"http", b"https", b"h2c", b"h2", b"h3", b"tls", b"ssl"];
/// Protocols that serve only what the request was for: WebSocket (RFC 6455), the streams of `kubectl exec`, and those of
/// `docker attach`.
const CARRY_ONE_STREAM: [&[u8]; 3] = [WEBSOCKET, b"spdy", b"tcp"];
const WEBSOCKET: &[u8] = b"websocket";

/// What a message wants to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It stays what it is.
    None,
    /// A stream of what the request was for. The value of `Upgrade`.
    Stream(HeaderValue),
    /// Something that nobody here knows, and that needs the right that bytes need. The value of `Upgrade`.
    Unknown(HeaderValue),
    /// Bytes, as `CONNECT` asks.
    Tunnel,
}

/// What a protocol carries, the most dangerous last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Carries {
    OneStream,
    Anything,
    /// Also what is not a protocol at all.
    Requests,
}

impl Upgrade {
    /// What a request asks for. A list is as its most dangerous element, as the server may choose any; one with an element
    /// that is not a protocol is not passed on at all, as a server could read it differently.
    pub fn requested(parts: &Parts) -> Self {
        if parts.version != Version::HTTP_11 || !nominates_upgrade(&parts.headers) {
            return Self::None;
        }
        let Some(protocols) = parts.headers.get(UPGRADE) else {
            return Self::None;
        };
        match tokens(&parts.headers, &UPGRADE).map(Carries::of).max() {
            Some(Carries::OneStream) => Self::Stream(protocols.clone()),
            Some(Carries::Anything) => Self::Unknown(protocols.clone()),
            Some(Carries::Requests) | None => Self::None,
        }
    }

    /// The value of `Upgrade` that asks for it.
    pub fn protocols(&self) -> Option<&HeaderValue> {
        match self {
            Self::Stream(protocols) | Self::Unknown(protocols) => Some(protocols),
            Self::None | Self::Tunnel => None,
        }
    }

    /// Whether a response of this status makes the message what it wants to become.
    pub fn is_granted(&self, status: StatusCode) -> bool {
        match self {
            Self::None => false,
            Self::Stream(_) | Self::Unknown(_) => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        }
    }

    /// Refuses `101 Switching Protocols` with these headers unless it says to which of the protocols that were asked for it
    /// switches (RFC 9110 section 15.2.2), and that it has read the handshake of WebSocket.
    ///
    /// # Errors
    /// [`BadResponse`].
    pub fn check_switch(&self, response: &HeaderMap, handshake: &Handshake) -> Result<(), BadResponse> {
        let protocols = self.protocols().ok_or(BadResponse::Unasked)?;
        let is_asked_for = |switched: &[u8]| {
            elements(protocols.as_bytes()).any(|asked| name(asked).eq_ignore_ascii_case(switched))
        };
        let mut switched = tokens(response, &UPGRADE).map(name).peekable();
        if switched.peek().is_none() {
            return Err(BadResponse::Unasked);
        }
        for protocol in switched {
            if !is_asked_for(protocol) {
                return Err(BadResponse::Unasked);
            }
            if protocol.eq_ignore_ascii_case(WEBSOCKET) && !handshake.is_answered(response) {
                return Err(BadResponse::Handshake);
            }
        }
        Ok(())
    }
}

impl Carries {
    fn of(protocol: &[u8]) -> Self {
        let (name, version) = (name(protocol), protocol.get(name(protocol).len() + 1..));
        let is = |known: &&[u8]| name.eq_ignore_ascii_case(known);
        let is_protocol = is_token(name) && version.is_none_or(is_token);
        if !is_protocol || CARRY_REQUESTS.iter().any(is) {
            Self::Requests
        } else if CARRY_ONE_STREAM.iter().any(is) {
            Self::OneStream
        } else {
            Self::Anything
        }
    }
}

/// The name of a protocol, without its version.
fn name(protocol: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'/', protocol).unwrap_or(protocol.len());
    protocol.get(..end).unwrap_or_default()
}

fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};

    use super::*;

    fn requested(protocols: &[&str]) -> Upgrade {
        let mut request = Request::get("/").header(CONNECTION, "upgrade");
        for line in protocols {
            request = request.header(UPGRADE, *line);
        }
        Upgrade::requested(&request.body(()).unwrap().into_parts().0)
    }

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn s58_protocols_that_carry_requests_are_never_passed_on() {
        for protocol in [
            "h2c",
            "H2C",
            "HTTP/2.0",
            "h3",
            "TLS/1.0",
            "tls",
            "TLS/1.2, HTTP/1.1",
            "SSL/3.0",
            "websocket, TLS/1.0",
            "foo, h2c",
            "websocket, a b",
            "",
            ",",
        ] {
            assert_eq!(requested(&[protocol]), Upgrade::None, "{protocol}");
        }
        assert_eq!(requested(&["websocket", "TLS/1.0"]), Upgrade::None);
    }

    #[test]
    fn s58_protocols_that_carry_one_stream_are_told_from_others() {
        for protocol in ["websocket", "WebSocket", "SPDY/3.1", "tcp", "websocket, SPDY/3.1"] {
            assert_eq!(requested(&[protocol]), Upgrade::Stream(value(protocol)));
        }
        for protocol in ["foo", "IRC/6.9, RTA/x11", "websocket, foo", "connect-udp"] {
            assert_eq!(requested(&[protocol]), Upgrade::Unknown(value(protocol)));
        }
    }

    #[test]
    fn s58_a_server_switches_to_what_was_asked_for() {
        let answer = |protocol| HeaderMap::from_iter([(UPGRADE, value(protocol))]);
        let asked = requested(&["tcp, SPDY/3.1"]);
        let handshake = Handshake::of(&HeaderMap::new());
        for protocol in ["tcp", "TCP", "SPDY/3.1", "spdy"] {
            let checked = asked.check_switch(&answer(protocol), &handshake);
            assert_eq!(checked, Ok(()), "{protocol}");
        }
        for protocol in ["h2c", "foo", "tcp, h2c", "t cp", "", ",", " , ,"] {
            let checked = asked.check_switch(&answer(protocol), &handshake);
            assert_eq!(checked, Err(BadResponse::Unasked), "{protocol}");
        }
        for upgrade in [asked, Upgrade::None, Upgrade::Tunnel] {
            let checked = upgrade.check_switch(&HeaderMap::new(), &handshake);
            assert_eq!(checked, Err(BadResponse::Unasked), "{upgrade:?}");
        }
    }

    #[test]
    fn s58_a_switch_to_websocket_answers_the_handshake() {
        let key = HeaderMap::from_iter([(SEC_WEBSOCKET_KEY, value("dGhlIHNhbXBsZSBub25jZQ=="))]);
        let handshake = Handshake::of(&key);
        for protocols in ["websocket", "websocket, SPDY/3.1", "other, websocket"] {
            let asked = requested(&[protocols]);
            let mut answer = HeaderMap::from_iter([(UPGRADE, value("WebSocket"))]);
            let checked = asked.check_switch(&answer, &handshake);
            assert_eq!(checked, Err(BadResponse::Handshake), "{protocols}");
            answer.insert(SEC_WEBSOCKET_ACCEPT, value("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            assert_eq!(asked.check_switch(&answer, &handshake), Ok(()), "{protocols}");
        }
    }
}
