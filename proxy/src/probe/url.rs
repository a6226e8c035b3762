//! URLs as kubelet reads and writes them: the part of Go's `net/url` (Go 1.26) that an HTTP prober reaches.
//!
//! A URL type that follows the WHATWG or RFC 3986 reads the paths of existing probes differently: what it refuses or
//! normalizes, kubelet sends. So the rules are Go's own, in Go's order; `url/tests.rs` holds what the real ones return.

mod escape;
mod resolve;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use escape::{Part, escape, is_escaped, unescape};
use resolve::resolve;

/// A URL. Bytes, not text: a `Location` header need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// In lower case; empty in a relative reference.
    pub scheme: String,
    /// What follows the scheme when that is not a slash.
    opaque: Vec<u8>,
    /// Name and password, separated by a colon, ready for basic authentication.
    user: Option<Vec<u8>>,
    /// With the port, if there is one.
    host: Vec<u8>,
    path: Vec<u8>,
    /// How the path was written, where that is not how it is escaped by default.
    raw_path: Vec<u8>,
    raw_query: Vec<u8>,
    /// Whether a question mark stands without a query.
    query_mark: QueryMark,
}

/// Whether a URL ends in a question mark that no query follows (`ForceQuery`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum QueryMark {
    Alone,
    #[default]
    WithQuery,
}

/// Why something is not a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A control character.
    #[error("invalid control character")]
    Control,
    /// A colon at the beginning.
    #[error("missing protocol scheme")]
    Scheme,
    /// Something like `a_b:c`.
    #[error("first path segment cannot contain a colon")]
    Colon,
    /// A percent sign that is not followed by two hexadecimal digits.
    #[error("invalid percent-encoding")]
    Escape,
    /// A host that is none.
    #[error("invalid host")]
    Host,
    /// A user name with characters that have to be escaped.
    #[error("invalid user information")]
    User,
}

impl Url {
    /// What a probe asks: `formatURL` of kubelet's prober. A path that is no URL reference is taken as a path that has
    /// not been escaped yet; another host in it is not taken over.
    pub fn of_probe(scheme: &str, host: SocketAddr, path: &str) -> Self {
        let mut url = Self::parse(path.as_bytes()).unwrap_or_else(|_| Self {
            path: path.as_bytes().to_vec(),
            ..Self::default()
        });
        scheme.clone_into(&mut url.scheme);
        url.host = host.to_string().into_bytes();
        // Go writes the URL out and reads it again; a rootless path gets its slash there.
        let mut path = url.escaped_path();
        if path.first().is_some_and(|&first| first != b'/') {
            path.insert(0, b'/');
        }
        if url.opaque.is_empty() && url.set_path(&path).is_err() {
            url.path = path;
        }
        url
    }

    /// `url.Parse`.
    ///
    /// # Errors
    /// [`UrlError`], where Go has one.
    pub fn parse(text: &[u8]) -> Result<Self, UrlError> {
        let (text, fragment) = cut(text, b'#').unwrap_or((text, b""));
        let url = Self::parse_without_fragment(text)?;
        unescape(fragment, Part::Other)?;
        Ok(url)
    }

    fn parse_without_fragment(text: &[u8]) -> Result<Self, UrlError> {
        if text.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
            return Err(UrlError::Control);
        }
        let mut url = Self::default();
        if text == b"*" {
            url.path = text.to_vec();
            return Ok(url);
        }
        let (scheme, mut rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        match cut(rest, b'?') {
            Some((before, b"")) => {
                url.query_mark = QueryMark::Alone;
                rest = before;
            }
            Some((before, query)) => {
                url.raw_query = query.to_vec();
                rest = before;
            }
            None => {}
        }
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if cut(rest, b'/').map_or(rest, |(first, _)| first).contains(&b':') {
                return Err(UrlError::Colon);
            }
        }
        let has_authority = !url.scheme.is_empty() || !rest.starts_with(b"///");
        if let Some(authority) = rest.strip_prefix(b"//").filter(|_| has_authority) {
            let end = authority
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(authority.len());
            let (authority, path) = authority.split_at_checked(end).unwrap_or((authority, b""));
            url.set_authority(authority)?;
            rest = path;
        }
        url.set_path(rest)?;
        Ok(url)
    }

    fn set_authority(&mut self, authority: &[u8]) -> Result<(), UrlError> {
        let at = authority.iter().rposition(|&byte| byte == b'@');
        let (user, host) = match at {
            Some(at) => (authority.get(..at), authority.get(at + 1..).unwrap_or_default()),
            None => (None, authority),
        };
        self.host = host_with_port(host)?;
        if let Some(user) = user {
            if !user
                .iter()
                .all(|&byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte))
            {
                return Err(UrlError::User);
            }
            let (name, password) = cut(user, b':').unwrap_or((user, b""));
            let mut user = unescape(name, Part::Other)?;
            user.push(b':');
            user.extend(unescape(password, Part::Other)?);
            self.user = Some(user);
        }
        Ok(())
    }

    fn set_path(&mut self, path: &[u8]) -> Result<(), UrlError> {
        self.path = unescape(path, Part::Other)?;
        self.raw_path = if escape(&self.path) == path {
            Vec::new()
        } else {
            path.to_vec()
        };
        Ok(())
    }

    fn escaped_path(&self) -> Vec<u8> {
        if !self.raw_path.is_empty() && is_escaped(&self.raw_path) {
            self.raw_path.clone()
        } else if self.path == b"*" {
            self.path.clone()
        } else {
            escape(&self.path)
        }
    }

    fn query(&self) -> Vec<u8> {
        match (self.query_mark, self.raw_query.as_slice()) {
            (QueryMark::WithQuery, b"") => Vec::new(),
            (_, query) => [b"?", query].concat(),
        }
    }

    /// What the request line asks for.
    pub fn request_target(&self) -> Vec<u8> {
        let path = match self.escaped_path() {
            path if path.is_empty() => b"/".to_vec(),
            path => path,
        };
        [path, self.query()].concat()
    }

    /// `URL.Parse`: what a `Location` header in the answer to this URL leads to.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn join(&self, location: &[u8]) -> Result<Self, UrlError> {
        let mut url = Self::parse(location)?;
        let is_absolute = !url.scheme.is_empty();
        if !is_absolute {
            url.scheme.clone_from(&self.scheme);
        }
        if is_absolute || !url.host.is_empty() || url.user.is_some() {
            let path = resolve(&url.escaped_path(), b"");
            url.set_path(&path)?;
            return Ok(url);
        }
        if url.path.is_empty() && url.query_mark == QueryMark::WithQuery && url.raw_query.is_empty() {
            url.raw_query.clone_from(&self.raw_query);
        }
        url.host.clone_from(&self.host);
        url.user.clone_from(&self.user);
        let path = resolve(&self.escaped_path(), &url.escaped_path());
        url.set_path(&path)?;
        Ok(url)
    }

    /// Host without port and brackets. Empty for a URL that leads to no server.
    pub fn hostname(&self) -> &[u8] {
        if !self.opaque.is_empty() {
            return b"";
        }
        let host = self.host.as_slice();
        if let Some(inner) = host.strip_prefix(b"[") {
            let end = inner.iter().position(|&byte| byte == b']').unwrap_or(inner.len());
            return inner.get(..end).unwrap_or(inner);
        }
        match host.iter().rposition(|&byte| byte == b':') {
            Some(colon) if is_port(host.get(colon..).unwrap_or_default()) => {
                host.get(..colon).unwrap_or(host)
            }
            _ => host,
        }
    }

    /// Host as the `Host` header names it.
    pub fn host(&self) -> &[u8] {
        // Go drops a colon without a port.
        self.host.strip_suffix(b":").unwrap_or(&self.host)
    }

    /// Port that is connected to. `None` for a scheme that is not HTTP, and for a number that is no port.
    pub fn port(&self) -> Option<u16> {
        let default = match self.scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let after_brackets = self.host.rsplit(|&byte| byte == b']').next()?;
        match after_brackets.iter().rposition(|&byte| byte == b':') {
            None => Some(default),
            Some(colon) => match after_brackets.get(colon + 1..)? {
                [] => Some(default),
                port => std::str::from_utf8(port).ok()?.parse().ok(),
            },
        }
    }

    /// Name and password for basic authentication.
    pub fn user(&self) -> Option<&[u8]> {
        self.user.as_deref()
    }

    /// The URL as a `Referer` names it: without user and fragment.
    pub fn referer(&self) -> Vec<u8> {
        let scheme = self.scheme.as_bytes();
        [scheme, b"://", &self.host, &self.escaped_path(), &self.query()].concat()
    }

    /// Whether this leads to a server.
    pub fn is_hierarchical(&self) -> bool {
        self.opaque.is_empty()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_hierarchical() {
            f.write_str(&String::from_utf8_lossy(&self.referer()))
        } else {
            write!(f, "{}:{}", self.scheme, String::from_utf8_lossy(&self.opaque))
        }
    }
}

/// `strings.Cut`.
fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|&byte| byte == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

/// `getScheme`.
fn scheme(text: &[u8]) -> Result<(&str, &[u8]), UrlError> {
    let end = text
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)));
    let Some(end) = end.filter(|&end| text.get(end) == Some(&b':')) else {
        return Ok(("", text));
    };
    let (scheme, rest) = text.split_at_checked(end).unwrap_or_default();
    match scheme.first() {
        None => Err(UrlError::Scheme),
        Some(first) if first.is_ascii_alphabetic() => {
            let scheme = std::str::from_utf8(scheme).map_err(|_| UrlError::Scheme)?;
            Ok((scheme, rest.get(1..).unwrap_or_default()))
        }
        Some(_) => Ok(("", text)),
    }
}

/// `validOptionalPort`.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// `parseHost`.
fn host_with_port(host: &[u8]) -> Result<Vec<u8>, UrlError> {
    match host.iter().rposition(|&byte| byte == b'[') {
        Some(0) => {
            let end = host
                .iter()
                .rposition(|&byte| byte == b']')
                .ok_or(UrlError::Host)?;
            let (address, port) = host.split_at_checked(end + 1).ok_or(UrlError::Host)?;
            let address = address.get(1..end).ok_or(UrlError::Host)?;
            let address = unescape(address, Part::Host)?;
            // A zone may follow; what it names does not matter here, since no pod has such an address.
            let bare = address.split(|&byte| byte == b'%').next().unwrap_or_default();
            let is_v6 = std::str::from_utf8(bare).is_ok_and(|text| matches!(text.parse(), Ok(IpAddr::V6(_))));
            if !is_v6 || !is_port(port) {
                return Err(UrlError::Host);
            }
            return Ok([b"[", address.as_slice(), b"]", port].concat());
        }
        Some(_) => return Err(UrlError::Host),
        None => {}
    }
    // Go 1.26 refuses more than one colon, but not for a program whose go.mod says an earlier version, such as kubelet's.
    let colon = host.iter().rposition(|&byte| byte == b':');
    if colon.is_some_and(|colon| !is_port(host.get(colon..).unwrap_or_default())) {
        return Err(UrlError::Host);
    }
    unescape(host, Part::Host)
}

#[cfg(test)]
mod tests;
