//! Request targets that the HTTP library refuses, or changes, and that servers take.
//!
//! Browsers and scripts send `?q={"a":"b"}`, `<`, `>`, backticks and bytes that are no UTF-8. What the library would
//! not take is written `%!` for it on the way in, and as it was on the way out, by whoever reads and writes the bytes
//! of HTTP/1; between proxies it travels in a header. Rules that read paths refuse `%!` in one, as it is no encoding
//! of anything; in a query they do not look at it. What is sent out always belongs to what rules have seen: that is
//! made sure of wherever the two come together.

use bytes::Bytes;
use http::request::Parts;

/// Stands for a byte that the library does not take. It is not one that a client can hide anything behind: whatever
/// follows, it is a broken encoding.
const STAND_IN: &[u8] = b"%!";
/// Methods that are longer are not looked behind.
const LONGEST_METHOD: usize = 20;

/// A request target as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTarget(Bytes);

/// A request line in which something was replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The bytes that it came in.
    pub bytes: Vec<u8>,
    /// Its target as it was.
    pub target: RawTarget,
}

impl RawTarget {
    /// One that another proxy has passed on. `None` for what no request line can hold.
    pub fn new(target: &[u8]) -> Option<Self> {
        let fits = target.starts_with(b"/") && target.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        fits.then(|| Self(Bytes::copy_from_slice(target)))
    }

    /// As it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the target of a request, and nothing else.
    pub fn belongs_to(&self, parts: &Parts) -> bool {
        let seen = parts.uri.path_and_query().map(|path| path.as_str().as_bytes());
        parts.uri.authority().is_none() && seen == Some(&stand_in(&self.0))
    }
}

/// Replaces what the library does not take in the target of a request line that these bytes begin with. `None` where
/// there is nothing of that kind, and where this is no request line with a path.
pub fn replace(bytes: &[u8]) -> Option<Replaced> {
    let blank = bytes
        .iter()
        .take_while(|&&byte| byte == b'\r' || byte == b'\n')
        .count();
    let line = bytes.get(blank..)?;
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if !(1..=LONGEST_METHOD).contains(&method) || line.get(method) != Some(&b' ') {
        return None;
    }
    let start = blank + method + 1;
    let behind = bytes.get(start..)?;
    let length = behind.iter().position(|&byte| byte <= b' ' || byte == 0x7f)?;
    let target = behind.get(..length)?;
    if behind.get(length) != Some(&b' ') || !target.starts_with(b"/") || is_taken(target) {
        return None;
    }
    let mut replaced = bytes.get(..start)?.to_vec();
    replaced.extend(stand_in(target));
    replaced.extend_from_slice(behind.get(length..)?);
    Some(Replaced {
        bytes: replaced,
        target: RawTarget(Bytes::copy_from_slice(target)),
    })
}

/// Puts a target back into the request line that a head begins with.
pub fn put_back(head: &[u8], target: &RawTarget) -> Option<Vec<u8>> {
    let start = head.iter().position(|&byte| byte == b' ')? + 1;
    let behind = head.get(start..)?;
    let end = behind.iter().position(|&byte| byte == b' ')?;
    Some([head.get(..start)?, target.as_bytes(), behind.get(end..)?].concat())
}

fn is_taken(target: &[u8]) -> bool {
    let utf8 = target.is_ascii() || std::str::from_utf8(target).is_ok();
    utf8 && !places(target).any(|(byte, place)| is_odd(byte, place))
}

fn stand_in(target: &[u8]) -> Vec<u8> {
    let utf8 = std::str::from_utf8(target).is_ok();
    let mut out = Vec::with_capacity(target.len() + 16);
    for (byte, place) in places(target) {
        if is_odd(byte, place) || !utf8 && !byte.is_ascii() {
            out.extend_from_slice(STAND_IN);
        } else {
            out.push(byte);
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Place {
    Path,
    Query,
}

fn places(target: &[u8]) -> impl Iterator<Item = (u8, Place)> {
    let mut place = Place::Path;
    target.iter().map(move |&byte| {
        let here = place;
        if byte == b'?' {
            place = Place::Query;
        }
        (byte, here)
    })
}

fn is_odd(byte: u8, place: Place) -> bool {
    match place {
        Place::Path => matches!(byte, b'#' | b'<' | b'>' | b'`'),
        Place::Query => matches!(byte, b'#' | b'<' | b'>' | b'"'),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exactly_what_the_library_does_not_take_is_replaced() {
        for prefix in ["/", "/?"] {
            for byte in (b'!'..=b'~').chain(0x80..=0xff) {
                let target = [prefix.as_bytes(), &[byte]].concat();
                let uri = http::Uri::try_from(&target[..]);
                let kept = uri.is_ok_and(|uri| uri.to_string().as_bytes() == target);
                let line = [b"GET ", &target[..], b" HTTP/1.1\r\n"].concat();
                assert_eq!(replace(&line).is_none(), kept, "{}", byte.escape_ascii());
            }
        }
    }

    #[test]
    fn what_begins_with_no_request_line_is_let_alone() {
        for bytes in [
            "x-a: /<b> c\r\n",
            "get /< HTTP/1.1\r\n",
            "GET http://a/< HTTP/1.1\r\n",
            "GET /<",
            "GET /<\r\n",
            "GET  /< HTTP/1.1\r\n",
            "/< /< ",
            "",
        ] {
            assert_eq!(replace(bytes.as_bytes()), None, "{bytes}");
        }
    }

    #[test]
    fn a_target_belongs_to_no_other_request() {
        let raw = RawTarget::new(b"/a<b").unwrap();
        let parts = |path: &str| Request::get(path).body(()).unwrap().into_parts().0;
        assert!(raw.belongs_to(&parts("/a%!b")));
        assert!(!raw.belongs_to(&parts("/a")));
        assert!(!raw.belongs_to(&parts("http://a/a%!b")));
        assert_eq!(RawTarget::new(b"/a b"), None);
        assert_eq!(RawTarget::new(b"/a\r\nb"), None);
        assert_eq!(RawTarget::new(b"a"), None);
    }

    proptest! {
        #[test]
        fn a_target_comes_out_as_it_went_in(target in "/[!-~\u{80}-\u{ff}]{0,30}", rest in "[ -~\r\n]{0,30}") {
            let line = format!("POST {target} HTTP/1.1\r\n{rest}").into_bytes();
            if let Some(replaced) = replace(&line) {
                let seen = replaced.bytes.split(|&byte| byte == b' ').nth(1).unwrap();
                let parts = Request::post(seen).body(()).unwrap().into_parts().0;
                prop_assert!(replaced.target.belongs_to(&parts));
                prop_assert_eq!(put_back(&replaced.bytes, &replaced.target).unwrap(), line);
            }
        }
    }
}
