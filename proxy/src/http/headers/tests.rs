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
        Upgrade::To(HeaderValue::from_static("websocket"))
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
            Upgrade::To(_) => prop_assert_eq!(&parts.headers[CONNECTION], "upgrade"),
        }
    }
}
