//! Messages that two readers could understand differently, and what else no server is bothered with.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use super::tokens;
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
    /// RFC 9112 section 6.1: two readers could see different ends.
    #[error("the Transfer-Encoding is not chunked, once")]
    TransferEncoding,
    /// RFC 9112 section 6.1: a coding that exists and is not decoded here.
    #[error("no transfer coding but chunked is decoded")]
    TransferCoding,
    /// RFC 9110 section 15.5.15.
    #[error("the request target has more than {TARGET_BYTES} bytes")]
    TargetTooLong,
    /// Rules would see another target than the application.
    #[error("the request target is not the one that came with it")]
    TargetMismatch,
    /// It would send back what this proxy and others added to the request (RFC 9110 section 9.3.8).
    #[error("TRACE is not served")]
    Trace,
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
    #[error("the target of CONNECT is no host and port")]
    ConnectTarget,
}

/// Why a response is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// RFC 9110 section 15.2.2.
    #[error("the server switches to a protocol that it was not asked for")]
    Unasked,
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
            Self::NoHost
            | Self::SeveralHosts
            | Self::InvalidHost
            | Self::HostMismatch
            | Self::TwoLengths
            | Self::TransferEncoding
            | Self::TargetMismatch
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
    let query = parts.uri.query().map_or(0, |query| query.len() + 1);
    if path.len() + query > TARGET_BYTES {
        return Err(BadRequest::TargetTooLong);
    }
    Ok(())
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
    check_length(headers)?;
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

/// Where no body follows, as after HEAD, nobody else reads it, and it would be passed on as it is.
fn check_length(headers: &HeaderMap) -> Result<(), BadResponse> {
    let values = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii);
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let is_number = first.iter().all(u8::is_ascii_digit)
        && str::from_utf8(first).is_ok_and(|digits| digits.parse::<u64>().is_ok());
    if is_number && lengths.all(|other| other == first) {
        Ok(())
    } else {
        Err(BadResponse::InvalidLength)
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "a",
            "web.shop:8080",
            "10.0.0.1",
            "[::1]:80",
            "[fe80::1%25eth0]",
            "a_b",
            "web.",
            "web:",
            "xn--a",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for other in [
            "", ":80", "a b", "a/b", "u@a", "u:p@a", "a:b", "a:80:80", "[::1", "[]", "[::1]x", "a\\b", "a?b",
            "a#b", "a:123456", "\u{e9}", "<a>",
        ] {
            assert!(!is_host(other.as_bytes()), "{other}");
        }
    }

    fn codings(lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| (TRANSFER_ENCODING, HeaderValue::from_str(line).unwrap());
        lines.iter().map(value).collect()
    }

    #[test]
    fn codings_that_exist_are_told_from_deceit() {
        assert_eq!(
            other_coding(&codings(&["gzip, chunked"])),
            BadRequest::TransferCoding
        );
        assert_eq!(
            other_coding(&codings(&["gzip", "Chunked"])),
            BadRequest::TransferCoding
        );
        for lines in [
            &["chunked, chunked"][..],
            &["chunked", "chunked"],
            &["identity, chunked"],
            &["gzip, chunked, chunked"],
            &[", chunked"],
        ] {
            assert_eq!(
                other_coding(&codings(lines)),
                BadRequest::TransferEncoding,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_response_has_one_length() {
        assert_eq!(check_response(&codings(&["chunked"])), Ok(()));
        assert_eq!(check_response(&codings(&["identity"])), Ok(()));
        for lines in [
            &["gzip, chunked"][..],
            &["chunked", "chunked"],
            &["chunked, identity"],
        ] {
            assert_eq!(
                check_response(&codings(lines)),
                Err(BadResponse::TransferEncoding)
            );
        }
        let mut both = codings(&["chunked"]);
        both.insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
        assert_eq!(check_response(&both), Err(BadResponse::TwoLengths));
    }

    #[test]
    fn s32_an_answer_with_content_opens_no_tunnel() {
        let length = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let none = HeaderMap::new();
        for (status, headers) in [
            (200, &length),
            (200, &codings(&["chunked"])),
            (204, &none),
            (205, &none),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(check_tunnel(status, headers), Err(BadResponse::TunnelContent));
        }
        assert_eq!(check_tunnel(StatusCode::OK, &none), Ok(()));
        assert_eq!(check_tunnel(StatusCode::FORBIDDEN, &length), Ok(()));
    }

    #[test]
    fn a12_a_length_of_a_response_is_a_number() {
        let of = |length| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        for length in ["0", "17", "7, 7"] {
            assert_eq!(check_response(&of(length)), Ok(()), "{length}");
        }
        for length in ["", "x", "PRI9", "+1", "1 1", "1, 2", "1,", "18446744073709551616"] {
            assert_eq!(
                check_response(&of(length)),
                Err(BadResponse::InvalidLength),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_a_host_is_an_authority_without_user(text in "[a-z0-9:@/.%\\[\\] -]{0,12}") {
            if is_host(text.as_bytes()) {
                prop_assert!(!text.contains(['@', '/', ' ']));
            }
        }
    }
}
