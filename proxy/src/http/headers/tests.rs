use http::{Method, Request};
use proptest::prelude::*;

use super::*;

fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().version(version).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn names(parts: &Parts) -> Vec<&str> {
    parts.headers.keys().map(HeaderName::as_str).collect()
}

#[test]
fn what_concerns_one_connection_does_not_go_on() {
    let mut parts = request(
        Version::HTTP_11,
        "/",
        &[
            ("host", "web"),
            ("connection", "keep-alive, X-Secret, host"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("x-secret", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ],
    );
    assert_eq!(strip_request(&mut parts), Upgrade::None);
    assert_eq!(names(&parts), ["host", "accept"]);
}

#[test]
fn an_upgrade_keeps_the_headers_that_ask_for_it() {
    let mut parts = request(
        Version::HTTP_11,
        "/",
        &[
            ("host", "web"),
            ("connection", "Keep-Alive, Upgrade"),
            ("upgrade", "websocket"),
        ],
    );
    assert_eq!(
        strip_request(&mut parts),
        Upgrade::Stream(HeaderValue::from_static("websocket"))
    );
    assert_eq!(parts.headers[CONNECTION], "upgrade");
    assert_eq!(parts.headers[UPGRADE], "websocket");
}

#[test]
fn an_upgrade_to_cleartext_http2_is_not_passed_on() {
    let mut parts = request(
        Version::HTTP_11,
        "/",
        &[
            ("host", "web"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ],
    );
    assert_eq!(strip_request(&mut parts), Upgrade::None);
    assert_eq!(names(&parts), ["host"]);
}

/// A request with values that may have any byte.
fn with_bytes(headers: &[(&'static str, &[u8])]) -> Parts {
    let mut parts = request(Version::HTTP_11, "/", &[("host", "web")]);
    for (name, value) in headers {
        parts
            .headers
            .append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    parts
}

#[test]
fn s33_a_byte_above_ascii_hides_no_header_that_concerns_one_connection() {
    for connection in [
        &b"x-secret, \xff"[..],
        b"\xff, x-secret",
        b"\xff,\t x-secret ,\xc3\xa9",
    ] {
        let mut parts = with_bytes(&[
            ("connection", connection),
            ("x-secret", b"1"),
            ("accept", b"\xe9"),
        ]);
        assert_eq!(strip_request(&mut parts), Upgrade::None);
        assert_eq!(names(&parts), ["host", "accept"]);
        let mut response = with_bytes(&[("connection", connection), ("x-secret", b"1")]);
        strip_response(StatusCode::OK, &mut response.headers);
        assert_eq!(names(&response), ["host"]);
    }
}

#[test]
fn s33_no_spelling_of_an_upgrade_to_http_is_passed_on() {
    for upgrade in [
        &b"h2c"[..],
        b"H2C",
        b"h2c, \xff",
        b"\xff, h2c",
        b"websocket, h2c",
        b"websocket, \xff",
        b"\xffh2c",
        b"h2c/1",
        b"h2",
        b"HTTP/2.0",
        b"http",
        b"\"h2c\"",
        b"h2c;q=1",
        b"a b",
        b"/1",
        b"a/",
    ] {
        let mut parts = with_bytes(&[("connection", b"upgrade"), ("upgrade", upgrade)]);
        let shown = String::from_utf8_lossy(upgrade);
        assert_eq!(strip_request(&mut parts), Upgrade::None, "{shown}");
        assert_eq!(names(&parts), ["host"], "{shown}");
    }
    let mut parts = with_bytes(&[
        ("connection", b"upgrade"),
        ("upgrade", b"websocket"),
        ("upgrade", b"\xff, h2c"),
    ]);
    assert_eq!(strip_request(&mut parts), Upgrade::None);
}

#[test]
fn an_upgrade_to_other_protocols_goes_on_beside_a_byte_above_ascii_in_connection() {
    for upgrade in [&b"websocket"[..], b"SPDY/3.1", b"IRC/6.9, RTA/x11"] {
        let mut parts = with_bytes(&[("connection", b"\xff, Upgrade"), ("upgrade", upgrade)]);
        let asked = strip_request(&mut parts);
        assert_eq!(asked.protocols().map(HeaderValue::as_bytes), Some(upgrade));
    }
}

#[test]
fn s58_a_request_whose_upgrade_is_left_out_still_asks_for_trailers() {
    let headers = [
        ("connection", "upgrade, te"),
        ("upgrade", "foo"),
        ("te", "trailers"),
    ];
    let mut parts = request(Version::HTTP_11, "/", &headers);
    let asked = strip_request(&mut parts);
    assert_eq!(asked, Upgrade::Unknown(HeaderValue::from_static("foo")));
    assert_eq!(leave_out_upgrade(&mut parts), Upgrade::None);
    assert_eq!(names(&parts), ["te", "connection"]);
    assert_eq!(parts.headers[CONNECTION], "te");
}

#[test]
fn asking_for_trailers_goes_on() {
    let mut parts = request(Version::HTTP_2, "http://web/", &[("te", "trailers")]);
    strip_request(&mut parts);
    assert_eq!(parts.headers[TE], "trailers");
    assert!(!parts.headers.contains_key(CONNECTION));
}

#[test]
fn requests_that_two_readers_could_understand_differently_are_refused() {
    use BadRequest::{Connect, HostMismatch, NoHost, SeveralHosts, TwoLengths};
    let check = |version, uri, headers: &[_]| check(&request(version, uri, headers));
    let h11 = Version::HTTP_11;
    assert_eq!(check(h11, "/", &[("host", "a")]), Ok(()));
    assert_eq!(check(h11, "/", &[]), Err(NoHost));
    assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(()));
    assert_eq!(
        check(h11, "/", &[("host", "a"), ("host", "a")]),
        Err(SeveralHosts)
    );
    assert_eq!(check(h11, "http://a/", &[("host", "b")]), Err(HostMismatch));
    assert_eq!(check(h11, "http://a/", &[("host", "A")]), Ok(()));
    assert_eq!(check(Version::HTTP_2, "http://a/", &[]), Ok(()));
    let both = [
        ("host", "a"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
    ];
    assert_eq!(check(h11, "/", &both), Err(TwoLengths));
    let mut connect = request(h11, "a:80", &[("host", "a:80")]);
    connect.method = Method::CONNECT;
    assert_eq!(super::check(&connect), Err(Connect));
}

#[test]
fn rules_see_the_authority_as_host() {
    let parts = request(Version::HTTP_2, "http://web:80/a?b=c", &[("x", "1"), ("x", "2")]);
    let view = View(&parts);
    assert_eq!(view.path(), "/a");
    assert_eq!(view.header("host").collect::<Vec<_>>(), [b"web:80"]);
    assert_eq!(view.header("x").collect::<Vec<_>>(), [b"1", b"2"]);
}

proptest! {
    #[test]
    fn nothing_hop_by_hop_survives(connection in "[a-zA-Z, -]{0,30}", upgrade in "[a-z0-9]{1,9}") {
        let mut parts = request(Version::HTTP_11, "/", &[("host", "a"), ("connection", &connection), ("upgrade", &upgrade)]);
        match strip_request(&mut parts) {
            Upgrade::None | Upgrade::Tunnel => prop_assert_eq!(names(&parts), ["host"]),
            Upgrade::Stream(_) | Upgrade::Unknown(_) => prop_assert_eq!(&parts.headers[CONNECTION], "upgrade"),
        }
    }
}
