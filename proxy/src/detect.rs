//! What a client speaks, told from its first bytes without consuming them.

mod first_line;
pub mod hello;
mod http_ports;
mod status_line;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::transport::{SecuredStream, Stream};

pub use first_line::{FirstLine, Seen};
use hello::Beginning;
pub use http_ports::HttpPorts;
pub use status_line::StatusLine;

/// The start of every HTTP/2 connection with prior knowledge (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Methods that somebody who stops in the middle of one probably means: those that llhttp knows, of HTTP (RFC 9110
/// section 9, RFC 5789), WebDAV and UPnP, and of Icecast and RTSP.
const METHODS: &str = "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH \
    UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE \
    PURGE MKCALENDAR LINK UNLINK SOURCE QUERY DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER \
    SET_PARAMETER REDIRECT RECORD FLUSH";
/// Names of versions in request lines that parsers of HTTP take: its own, and those of llhttp besides (Icecast, RTSP).
const VERSIONS: [&[u8]; 3] = [b"HTTP/", b"ICE/", b"RTSP/"];
/// Bytes looked at; a request line that is longer is judged by its beginning.
const LOOK_BYTES: usize = 512;
/// How soon a client that began but said too little is looked at again, at first.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// The same after many times.
const LOOK_AGAIN_MOST: Duration = Duration::from_millis(100);
/// Bytes of a server that are looked at: the header of a frame of HTTP/2.
const GREETING_BYTES: usize = 9;
/// Addresses remembered at most.
const MEMORY_ENTRIES: usize = 1024;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, whose first record is one of a ClientHello.
    Tls,
    /// Something else that begins with text, in which a lenient server of HTTP may see a request.
    Text,
    /// Anything else.
    Bytes,
}

/// What can be said after the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It is this.
    Spoken(Spoken),
    /// More bytes are needed.
    Unclear,
}

/// What the first bytes of a connection say. Beyond the first 512 nothing counts, so that more of them change nothing.
pub fn guess(first: &[u8]) -> Guess {
    let first = first.get(..LOOK_BYTES).unwrap_or(first);
    if first.starts_with(PREFACE) {
        return Guess::Spoken(Spoken::Http2);
    }
    if first.is_empty() || PREFACE.starts_with(first) {
        return Guess::Unclear;
    }
    match hello::beginning(first) {
        Beginning::Hello => return Guess::Spoken(Spoken::Tls),
        Beginning::Incomplete => return Guess::Unclear,
        Beginning::Other => {}
    }
    let whole = first.len() >= LOOK_BYTES;
    match split_method(first) {
        (method, [separator, rest @ ..]) if !method.is_empty() && is_separator(*separator) => {
            match memchr::memchr(b'\n', rest).map(|end| rest.get(..end).unwrap_or_default()) {
                Some(line) if names_version(line) || is_only_a_target(method, line) => {
                    Guess::Spoken(Spoken::Http1)
                }
                Some(line) if is_text(line) => Guess::Spoken(Spoken::Text),
                Some(_) => Guess::Spoken(Spoken::Bytes),
                None if whole => Guess::Spoken(Spoken::Http1),
                None => Guess::Unclear,
            }
        }
        // Some servers skip any number of empty lines, and take methods of any length.
        (_, []) if whole => Guess::Spoken(Spoken::Http1),
        (_, []) => Guess::Unclear,
        // A length in binary may look like a letter, so that one byte of text proves nothing.
        (_, rest @ [b'\n' | b' '..=b'~', ..]) if is_text(first_line_of(rest)) => Guess::Spoken(Spoken::Text),
        _ => Guess::Spoken(Spoken::Bytes),
    }
}

/// As [`guess`], but whoever may have begun a hello has: proxies are waited for where handshakes are counted.
fn guess_of_proxy(first: &[u8]) -> Guess {
    match hello::beginning(first) {
        Beginning::Incomplete if first.len() > 1 => Guess::Spoken(Spoken::Tls),
        _ => guess(first),
    }
}

/// What a client speaks that began in this way and does not go on. Servers wait for the rest of a request for as long as
/// they like; carried as bytes, it would reach the application with whatever headers about its caller it claims.
fn hangs(first: &[u8]) -> Spoken {
    if first.starts_with(b"PRI ") && PREFACE.starts_with(first) {
        return Spoken::Http2;
    }
    let is_request = match split_method(first) {
        (method, []) => methods().any(|known| known.starts_with(method)),
        (method, [separator, rest @ ..]) if is_separator(*separator) => {
            matches!(rest, [] | [b'/' | b'*' | b'h' | b'H', ..]) || methods().any(|known| known == method)
        }
        _ => false,
    };
    if is_request && !first.is_empty() {
        Spoken::Http1
    } else if !first.is_empty() && is_text(first) {
        Spoken::Text
    } else {
        Spoken::Bytes
    }
}

fn methods() -> impl Iterator<Item = &'static [u8]> {
    METHODS.split(' ').map(str::as_bytes)
}

/// What stands where a request has its method, and what follows. Servers skip empty lines before it (RFC 9112 section
/// 2.2), and those that split the line at whitespace skip whitespace too.
fn split_method(first: &[u8]) -> (&[u8], &[u8]) {
    let skipped = |&&byte: &&u8| byte == b'\n' || is_separator(byte);
    let begins = first.iter().take_while(skipped).count();
    let begun = first.get(begins..).unwrap_or_default();
    let method = begun.iter().take_while(|&&byte| is_token(byte)).count();
    begun.split_at(method)
}

/// Whether a version stands behind the target of a request line. Whatever the target looks like and whatever separates
/// the two, some server takes it.
fn names_version(rest: &[u8]) -> bool {
    let mut words = rest.split(|&byte| is_separator(byte));
    words.any(|word| {
        VERSIONS.iter().any(|version| {
            word.get(..version.len())
                .is_some_and(|name| name.eq_ignore_ascii_case(version))
        })
    })
}

/// Whether a request line without a version ends here. Servers that take it read headers after it. Methods are in
/// capitals there, which tells them from the commands of memcached, whose keys may look like paths.
fn is_only_a_target(method: &[u8], rest: &[u8]) -> bool {
    let begins = rest.iter().take_while(|&&byte| is_separator(byte)).count();
    let ends = rest.iter().rev().take_while(|&&byte| is_separator(byte)).count();
    let target = rest.get(begins..rest.len() - ends).unwrap_or_default();
    let is_target = match target {
        [b'/' | b'*', ..] => true,
        // NATS sends its options in JSON.
        [first, ..] if method == b"CONNECT" => *first != b'{',
        _ => target.windows(3).any(|part| part == b"://"),
    };
    is_target && !method.iter().any(u8::is_ascii_lowercase) && !target.contains(&b' ')
}

/// Whether some server splits a request line here: at the whitespace of RFC 9112 section 3, or of Latin-1 as Python and
/// JavaScript know it. NUL and other control characters are left out, so that binary protocols are clear at once.
fn is_separator(byte: u8) -> bool {
    matches!(
        byte,
        b'\t' | 0x0b | 0x0c | b'\r' | 0x1c..=0x1f | b' ' | 0x85 | 0xa0
    )
}

/// The bytes before the end of the line.
fn first_line_of(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// Whether a server that reads lines would read these bytes as part of one.
fn is_text(bytes: &[u8]) -> bool {
    let is_of_text = |&byte: &u8| byte == b'\n' || is_separator(byte) || byte >= b' ' && byte != 0x7f;
    bytes.iter().all(is_of_text)
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until its first byte.
    pub first: Duration,
    /// From its first byte until it is clear what it speaks.
    pub clear: Duration,
}

/// Waits until it is clear what a client from outside speaks, in TLS or not. As [`wait`], but a client that may have begun
/// a hello outside of TLS is a proxy until [`so_far`] says otherwise.
///
/// # Errors
/// When the connection breaks.
pub async fn wait_on(client: &mut Stream, patience: Patience) -> io::Result<Option<Spoken>> {
    match client {
        Stream::Plain(client) => wait_for_proxy(client, patience).await,
        Stream::Tls(client) => wait_inside(client, patience).await,
    }
}

async fn wait_inside(client: &mut SecuredStream, patience: Patience) -> io::Result<Option<Spoken>> {
    let mut deadline = Instant::now() + patience.first;
    let mut known = 0;
    loop {
        let first = match tokio::time::timeout_at(deadline, client.look(known)).await {
            Ok(first) => first?,
            Err(_) if known == 0 => return Ok(None),
            Err(_) => return Ok(Some(hangs(client.seen()))),
        };
        match guess(first) {
            Guess::Spoken(spoken) => return Ok(Some(spoken)),
            Guess::Unclear if first.len() == known => return Ok(Some(hangs(first))),
            Guess::Unclear => {}
        }
        if known == 0 {
            deadline = Instant::now() + patience.clear;
        }
        known = first.len();
    }
}

/// Whether a server that speaks first speaks HTTP: it may begin a connection of HTTP/2 with its settings before it has
/// seen the client's preface (RFC 9113 section 3.4), or say that the client took too long. One that breaks off does not.
pub async fn server_speaks_http(server: &TcpStream, clear: Duration) -> bool {
    let deadline = Instant::now() + clear;
    let mut pause = LOOK_AGAIN;
    let mut first = [0; GREETING_BYTES];
    loop {
        let length = server.peek(&mut first).await.unwrap_or_default();
        match greets_in_http(first.get(..length).unwrap_or_default()) {
            Some(greets) => return greets,
            None if length == 0 || Instant::now() >= deadline => return false,
            None => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LOOK_AGAIN_MOST);
    }
}

/// Whether the first bytes of a server are of HTTP. `None`: more are needed.
fn greets_in_http(first: &[u8]) -> Option<bool> {
    const RESPONSE: &[u8] = b"HTTP/";
    let may_respond = first.iter().zip(RESPONSE).all(|(one, other)| one == other);
    // A frame of settings: its length, of which the first byte is 0 as there are few settings; its type; no flags, and no
    // stream (RFC 9113 sections 4.1 and 6.5).
    let mut frame = (0..GREETING_BYTES).zip(first);
    let may_set = frame.all(|(at, &byte)| match at {
        1 | 2 => true,
        3 => byte == 4,
        _ => byte == 0,
    });
    let greets = may_respond && first.len() >= RESPONSE.len() || may_set && first.len() >= GREETING_BYTES;
    match (greets, may_respond || may_set) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => Some(false),
    }
}

/// Waits until it is clear what the client speaks. `None`: it said nothing. A client that begins and does not go on is
/// taken to speak something else, unless it has begun a request.
///
/// # Errors
/// When the connection breaks.
pub async fn wait(client: &TcpStream, patience: Patience) -> io::Result<Option<Spoken>> {
    wait_by(client, patience, guess).await
}

/// As [`wait_on`], outside of TLS.
///
/// # Errors
/// When the connection breaks.
pub async fn wait_for_proxy(client: &TcpStream, patience: Patience) -> io::Result<Option<Spoken>> {
    wait_by(client, patience, guess_of_proxy).await
}

/// What a client speaks by what is here of it. What is still unclear counts as bytes.
///
/// # Errors
/// When the connection breaks.
pub async fn so_far(client: &TcpStream) -> io::Result<Spoken> {
    let mut first = [0; LOOK_BYTES];
    let length = client.peek(&mut first).await?;
    Ok(match guess(first.get(..length).unwrap_or_default()) {
        Guess::Spoken(spoken) => spoken,
        Guess::Unclear => Spoken::Bytes,
    })
}

async fn wait_by(
    client: &TcpStream,
    patience: Patience,
    guess: fn(&[u8]) -> Guess,
) -> io::Result<Option<Spoken>> {
    let mut first = [0; LOOK_BYTES];
    let Ok(length) = tokio::time::timeout(patience.first, client.peek(&mut first)).await else {
        return Ok(None);
    };
    let mut length = length?;
    let deadline = Instant::now() + patience.clear;
    let mut pause = LOOK_AGAIN;
    loop {
        match guess(first.get(..length).unwrap_or_default()) {
            Guess::Spoken(spoken) => return Ok(Some(spoken)),
            Guess::Unclear if length == 0 || Instant::now() >= deadline => {
                return Ok(Some(hangs(first.get(..length).unwrap_or_default())));
            }
            // What lies there already keeps the socket readable, so more of it can only be looked for.
            Guess::Unclear => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LOOK_AGAIN_MOST);
        length = client.peek(&mut first).await?;
    }
}

/// Addresses at which something was seen: that the server there speaks first, so that its clients need not be waited for;
/// or that a client there says as bytes what a server answers in HTTP. Bounded, and forgotten after a while, as who is at
/// an address changes.
#[derive(Debug)]
pub struct Remembered {
    until: HashMap<SocketAddr, Instant>,
    memory: Duration,
}

impl Remembered {
    /// Remembers each address for `memory`.
    pub fn new(memory: Duration) -> Self {
        Self {
            until: HashMap::new(),
            memory,
        }
    }

    /// Whether it was seen at this address.
    pub fn knows(&self, address: SocketAddr) -> bool {
        !self.until.is_empty()
            && self
                .until
                .get(&address)
                .is_some_and(|&until| until > Instant::now())
    }

    /// Remembers that it was seen at this address.
    pub fn remember(&mut self, address: SocketAddr) {
        let now = Instant::now();
        if self.until.len() >= MEMORY_ENTRIES {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < MEMORY_ENTRIES {
            self.until.insert(address, now + self.memory);
        }
    }
}

#[cfg(test)]
mod tests;
