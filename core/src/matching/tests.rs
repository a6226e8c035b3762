use super::*;
use crate::config::HeaderMatch;
use crate::pattern::Compiled;

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl RequestView for Request<'_> {
    fn method(&self) -> &str {
        self.method
    }
    fn path(&self) -> &str {
        self.path
    }
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value.as_bytes())
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| *name)
    }
}

fn request<'a>(method: &'a str, path: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request {
        method,
        path,
        headers,
    }
}

fn compiled(config: &HttpMatch) -> Result<Matcher, MatcherError> {
    Matcher::new(
        config,
        &mut Patterns::within(usize::MAX, &mut Compiled::default()),
    )
}

fn matcher(path: Option<&str>, methods: &[&str], headers: &[(&str, &str)]) -> Matcher {
    compiled(&HttpMatch {
        name: String::new(),
        path: path.map(str::to_owned),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        headers: headers
            .iter()
            .map(|(name, value)| HeaderMatch {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    })
    .unwrap()
}

#[test]
fn a_match_without_conditions_selects_everything() {
    assert!(matcher(None, &[], &[]).matches(&request("BREW", "*", &[])));
}

#[test]
fn all_conditions_must_hold() {
    let matcher = matcher(Some("^/api"), &["GET"], &[("x-user", "^(?:tester)$")]);
    assert!(matcher.matches(&request("GET", "/api/x", &[("x-user", "tester")])));
    assert!(!matcher.matches(&request("POST", "/api/x", &[("x-user", "tester")])));
    assert!(!matcher.matches(&request("GET", "/web", &[("x-user", "tester")])));
    assert!(!matcher.matches(&request("GET", "/api/x", &[("x-user", "tester2")])));
    assert!(!matcher.matches(&request("GET", "/api/x", &[])));
}

#[test]
fn methods_are_compared_exactly() {
    assert!(!matcher(None, &["GET"], &[]).matches(&request("get", "/", &[])));
    assert!(!matcher(None, &["GET"], &[]).matches(&request("HEAD", "/", &[])));
}

#[test]
fn every_value_of_a_repeated_header_must_match() {
    let matcher = matcher(None, &[], &[("x-user", "^(?:a|b)$")]);
    assert!(matcher.matches(&request("GET", "/", &[("x-user", "a"), ("x-user", "b")])));
    assert!(!matcher.matches(&request("GET", "/", &[("x-user", "a"), ("x-user", "c")])));
}

/// A request with one header, whose value is no UTF-8.
struct Raw;

impl RequestView for Raw {
    fn method(&self) -> &'static str {
        "GET"
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn header(&self, _: &str) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&b"a\xff"[..])
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once("x-user")
    }
}

#[test]
fn a_value_that_is_no_utf8_is_compared_byte_by_byte() {
    let matcher = matcher(None, &[], &[("x-user", "^(?:a.)$")]);
    assert!(matcher.matches(&Raw));
}

#[test]
fn encoded_letters_match_as_what_they_are() {
    assert!(matcher(Some("^/admin"), &[], &[]).matches(&request("GET", "/%61dmin", &[])));
}

#[test]
fn the_wrong_field_is_named() {
    let config = HttpMatch {
        headers: vec![HeaderMatch {
            name: "x".into(),
            value: "(".into(),
        }],
        ..HttpMatch::default()
    };
    assert_eq!(compiled(&config).unwrap_err().field, "headers[0].value");
}

#[test]
fn only_a_match_with_a_path_reads_paths() {
    assert!(matcher(Some("^/"), &[], &[]).reads_path());
    assert!(!matcher(None, &["GET"], &[("x-user", "a")]).reads_path());
}
