//! Requests of applications between two proxies.
//!
//! They share few connections of HTTP/2, whichever version the application speaks; a header says which it is, so that
//! the other application is sent what this one sent. What HTTP/2 cannot carry unchanged goes over a connection of
//! HTTP/1.1 instead: upgrades, bodies that wait to be asked for (RFC 9110 section 10.1.1), and targets and hosts that
//! HTTP/2 has no form for.

use std::net::SocketAddr;

use http::header::{CONNECTION, EXPECT, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Uri, Version};
use smilax_core::convention::wire;

use super::headers::Upgrade;
use super::raw_target::RawTarget;
use super::upstream::{self, Protocol};

/// Requests given up that such a connection has room for at a time, and does not end for: clients that go away together
/// concern nobody else.
pub(super) const RESETS: usize = 1000;
const FORM: HeaderName = HeaderName::from_static(wire::FORM_HEADER);
const TARGET: HeaderName = HeaderName::from_static(wire::TARGET_HEADER);

/// In which version and form an application sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// HTTP/1.0 or HTTP/1.1, which differ in nothing that goes on, with a target of this form.
    Http1(Target),
    /// HTTP/2.
    Http2,
}

/// Form of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path.
    Origin,
    /// A whole URI.
    Absolute,
    /// A path that the library does not take as it is.
    Raw,
}

impl Form {
    const ALL: [Self; 4] = [
        Self::Http1(Target::Origin),
        Self::Http1(Target::Absolute),
        Self::Http1(Target::Raw),
        Self::Http2,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http1(Target::Origin) => "1.1",
            Self::Http1(Target::Absolute) => "1.1-absolute",
            Self::Http1(Target::Raw) => "1.1-raw",
            Self::Http2 => "2",
        }
    }

    /// Takes the form out of a request that another proxy sent. `None`: it says none that is known.
    pub fn take(parts: &mut Parts) -> Option<Self> {
        let value = parts.headers.remove(FORM)?;
        Self::ALL
            .into_iter()
            .find(|form| form.as_str().as_bytes() == value.as_bytes())
    }

    /// Which protocol the application spoke.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http1,
            Self::Http2 => Protocol::Http2,
        }
    }

    /// Gives a request the form that the application sent it in.
    pub fn restore(self, parts: &mut Parts) {
        let Self::Http1(target) = self else { return };
        parts.version = Version::HTTP_11;
        if target != Target::Absolute {
            let mut uri = std::mem::take(&mut parts.uri).into_parts();
            uri.scheme = None;
            if let Some(authority) = uri.authority.take()
                && !parts.headers.contains_key(HOST)
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                parts.headers.insert(HOST, host);
            }
            uri.path_and_query
                .get_or_insert_with(|| PathAndQuery::from_static("/"));
            parts.uri = Uri::from_parts(uri).unwrap_or_default();
        }
        // Whether it belongs to the request is found out by whoever judges that.
        if target == Target::Raw
            && let Some(raw) = parts.headers.remove(TARGET)
            && let Some(raw) = RawTarget::new(raw.as_bytes())
        {
            parts.extensions.insert(raw);
        }
    }
}

/// Makes a request that is ready to go to a server fit to go to another proxy, and says over what it goes.
pub fn prepare(parts: &mut Parts, spoken: Protocol, upgrade: &Upgrade, original: SocketAddr) -> Protocol {
    upstream::prepare(parts, spoken, original);
    // Only ours is ever taken back, also from a request that goes over HTTP/1.1 and has none.
    for claimed in [FORM, TARGET] {
        parts.headers.remove(claimed);
    }
    let form = match spoken {
        Protocol::Http2 => Form::Http2,
        Protocol::Http1 if *upgrade != Upgrade::None || parts.headers.contains_key(EXPECT) => {
            return Protocol::Http1;
        }
        Protocol::Http1 if parts.uri.authority().is_some() => Form::Http1(Target::Absolute),
        Protocol::Http1 => match with_authority(parts) {
            Some(uri) => {
                parts.uri = uri;
                Form::Http1(with_raw_target(parts))
            }
            None => return Protocol::Http1,
        },
    };
    parts.headers.remove(CONNECTION);
    parts
        .headers
        .insert(FORM, HeaderValue::from_static(form.as_str()));
    parts.version = Version::HTTP_2;
    Protocol::Http2
}

/// Which form a path has, whose bytes go in a header where the library does not take them.
fn with_raw_target(parts: &mut Parts) -> Target {
    let raw = parts.extensions.get::<RawTarget>();
    match raw.and_then(|raw| HeaderValue::from_bytes(raw.as_bytes()).ok()) {
        Some(raw) => {
            parts.headers.insert(TARGET, raw);
            Target::Raw
        }
        None => Target::Origin,
    }
}

/// A target that is a path, as HTTP/2 wants it: with its host (RFC 9113 section 8.3.1). `None` for one that comes out
/// otherwise than it went in.
fn with_authority(parts: &Parts) -> Option<Uri> {
    let host = parts.headers.get(HOST)?;
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    let path = parts.uri.path_and_query()?;
    let exact = authority.as_str().as_bytes() == host.as_bytes() && path.as_str().starts_with('/');
    if !exact {
        return None;
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path.clone());
    Uri::from_parts(uri).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn original() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    fn request(target: &str, host: &str) -> Parts {
        let request = Request::get(target).header("host", host).body(()).unwrap();
        request.into_parts().0
    }

    #[test]
    fn what_http2_cannot_carry_unchanged_goes_over_http1() {
        for (target, host) in [("*", "web"), ("/", ""), ("/", "a b"), ("/", "a/b")] {
            let mut parts = request(target, host);
            let sent = prepare(&mut parts, Protocol::Http1, &Upgrade::None, original());
            assert_eq!(sent, Protocol::Http1, "{target} {host:?}");
            assert!(!parts.headers.contains_key(FORM));
        }
        let mut upgrade = request("/", "web");
        let to = Upgrade::Stream(HeaderValue::from_static("websocket"));
        assert_eq!(
            prepare(&mut upgrade, Protocol::Http1, &to, original()),
            Protocol::Http1
        );
        let mut expecting = request("/", "web");
        expecting
            .headers
            .insert(EXPECT, HeaderValue::from_static("100-continue"));
        let sent = prepare(&mut expecting, Protocol::Http1, &Upgrade::None, original());
        assert_eq!(sent, Protocol::Http1);
    }

    #[test]
    fn a_form_that_an_application_claims_is_overwritten() {
        let mut parts = request("/", "web");
        parts.headers.append(FORM, HeaderValue::from_static("2"));
        parts.headers.append(FORM, HeaderValue::from_static("3"));
        prepare(&mut parts, Protocol::Http1, &Upgrade::None, original());
        assert_eq!(parts.headers.get_all(FORM).iter().count(), 1);
        assert_eq!(Form::take(&mut parts), Some(Form::Http1(Target::Origin)));
    }

    #[test]
    fn s59_a_form_that_an_application_claims_does_not_go_on_over_http1_either() {
        let mut parts = request("/", "web");
        for (name, value) in [(FORM, "1.1-raw"), (TARGET, "/admin")] {
            parts.headers.insert(name, HeaderValue::from_static(value));
        }
        let to = Upgrade::Stream(HeaderValue::from_static("websocket"));
        prepare(&mut parts, Protocol::Http1, &to, original());
        assert!(!parts.headers.contains_key(FORM) && !parts.headers.contains_key(TARGET));
    }

    #[test]
    fn a_form_that_is_not_known_is_none() {
        let mut parts = request("/", "web");
        parts.headers.append(FORM, HeaderValue::from_static("9"));
        assert_eq!(Form::take(&mut parts), None);
        assert!(!parts.headers.contains_key(FORM));
    }

    proptest! {
        #[test]
        fn a_request_comes_out_as_it_went_in(
            path in "/[a-zA-Z0-9/%.;=-]{0,20}(\\?[a-z=&]{0,9})?",
            host in "[a-z][a-z0-9.-]{0,20}(:[0-9]{1,4})?",
            absolute: bool,
        ) {
            let target = if absolute { format!("http://{host}{path}") } else { path };
            let before = request(&target, &host);
            let mut parts = request(&target, &host);
            let sent = prepare(&mut parts, Protocol::Http1, &Upgrade::None, original());
            if sent == Protocol::Http2 {
                let form = Form::take(&mut parts).unwrap();
                form.restore(&mut parts);
            }
            prop_assert_eq!(&parts.uri, &before.uri);
            prop_assert_eq!(parts.uri.to_string(), before.uri.to_string());
            prop_assert_eq!(parts.headers, before.headers);
            prop_assert_eq!(parts.version, before.version);
        }
    }
}
