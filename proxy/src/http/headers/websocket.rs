//! The handshake of WebSocket (RFC 6455 section 4): proof that the server has read it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};

/// RFC 6455 section 1.3.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request says for the server to answer.
#[derive(Clone, Debug)]
pub struct Handshake(Option<HeaderValue>);

impl Handshake {
    /// That of a request.
    pub fn of(request: &HeaderMap) -> Self {
        Self(only(request, &SEC_WEBSOCKET_KEY).cloned())
    }

    /// Whether these headers of a response answer it.
    pub fn is_answered(&self, response: &HeaderMap) -> bool {
        match (&self.0, only(response, &SEC_WEBSOCKET_ACCEPT)) {
            (Some(key), Some(accept)) => accept.as_bytes() == answer(key.as_bytes()).as_bytes(),
            _ => false,
        }
    }
}

fn answer(key: &[u8]) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(SUFFIX);
    STANDARD.encode(digest.finish())
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_static(value)));
        values.collect()
    }

    #[test]
    fn s58_only_the_right_accept_answers_a_key() {
        let handshake = Handshake::of(&headers(&SEC_WEBSOCKET_KEY, &[KEY]));
        assert!(handshake.is_answered(&headers(&SEC_WEBSOCKET_ACCEPT, &[ACCEPT])));
        for wrong in [&[][..], &[""], &[KEY], &[ACCEPT, ACCEPT]] {
            let response = headers(&SEC_WEBSOCKET_ACCEPT, wrong);
            assert!(!handshake.is_answered(&response), "{wrong:?}");
        }
    }

    #[test]
    fn s58_nothing_answers_a_handshake_without_a_key_or_with_several() {
        for keys in [&[][..], &[KEY, KEY]] {
            let handshake = Handshake::of(&headers(&SEC_WEBSOCKET_KEY, keys));
            let response = headers(&SEC_WEBSOCKET_ACCEPT, &[ACCEPT]);
            assert!(!handshake.is_answered(&response), "{keys:?}");
        }
    }
}
