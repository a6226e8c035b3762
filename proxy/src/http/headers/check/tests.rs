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

#[test]
fn s59_a_target_has_a_path_or_is_a_whole_uri() {
    let target = |version, uri: &str| {
        let request = http::Request::builder().version(version).uri(uri);
        has_path(&request.body(()).unwrap().into_parts().0)
    };
    for uri in ["/", "*", "/a?b", "http://web", "http://web?b", "http://web/a"] {
        assert!(target(Version::HTTP_11, uri), "{uri}");
    }
    for uri in ["web", "web:80"] {
        assert!(!target(Version::HTTP_11, uri), "{uri}");
    }
    assert!(target(Version::HTTP_2, "http://web/"));
    assert!(!target(Version::HTTP_2, "http://web?b"));
}

#[test]
fn s59_the_lengths_of_a_request_are_one_number() {
    let length = |lines: &[&'static str]| {
        let mut request = http::Request::post("/").header(HOST, "web");
        for line in lines {
            request = request.header(CONTENT_LENGTH, *line);
        }
        check(&request.body(()).unwrap().into_parts().0)
    };
    for lines in [&["5"][..], &["5", "5"], &[]] {
        assert_eq!(length(lines), Ok(()), "{lines:?}");
    }
    for lines in [&[""][..], &["5", "05"], &["5", "6"], &["+5"], &["5, 6"]] {
        assert_eq!(length(lines), Err(BadRequest::InvalidLength), "{lines:?}");
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
