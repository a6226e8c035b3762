//! Readers of HTTP/1 and of HTTP/2's frames that take only what no two readers understand differently. What a proxy sends
//! on must satisfy them.

/// A head, without the empty line.
pub(crate) struct Head<'a> {
    pub(crate) first: &'a [u8],
    headers: Vec<(String, &'a [u8])>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Bytes(usize),
    Chunks,
    Unsaid,
}

type Read<T> = Result<T, Fault>;

/// Why bytes cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They end too early.
    Cut,
    /// They can be understood in more than one way, or in none.
    Unclear(&'static str),
}

fn holds(what: bool, else_why: &'static str) -> Read<()> {
    if what {
        Ok(())
    } else {
        Err(Fault::Unclear(else_why))
    }
}

/// The line that begins here, without its end, and what follows.
fn line(bytes: &[u8]) -> Read<(&[u8], &[u8])> {
    let end = bytes
        .windows(2)
        .position(|two| two == b"\r\n")
        .ok_or(Fault::Cut)?;
    let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
    holds(
        !line.iter().any(|byte| b"\r\n\0".contains(byte)),
        "a line has a line end or NUL inside",
    )?;
    Ok((line, rest))
}

fn is_token(bytes: &[u8]) -> bool {
    let is_symbol = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || is_symbol(byte))
}

impl<'a> Head<'a> {
    /// The head that begins here, and what follows.
    pub(crate) fn read(bytes: &'a [u8]) -> Read<(Self, &'a [u8])> {
        let (first, mut rest) = line(bytes)?;
        let headers = headers(&mut rest)?;
        Ok((Self { first, headers }, rest))
    }

    /// Every value of a header whose name is read as CGI does.
    pub(crate) fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let all = self.headers.iter().filter(|(its, _)| its == name);
        all.map(|(_, value)| *value).collect()
    }

    /// Words of the first line. A reason may be missing or have many.
    pub(crate) fn words(&self) -> Read<[&'a [u8]; 3]> {
        let mut words = self.first.splitn(3, |byte| *byte == b' ');
        let mut next = || {
            words
                .next()
                .ok_or(Fault::Unclear("the first line has too few words"))
        };
        Ok([next()?, next()?, next()?])
    }

    pub(crate) fn length(&self) -> Read<Length> {
        let (lengths, codings) = (self.values("content_length"), self.values("transfer_encoding"));
        // RFC 9110 section 8.6: said again, it is the same.
        let mut lengths: Vec<_> = lengths
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .collect();
        lengths.dedup();
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(Length::Unsaid),
            ([length], []) => {
                holds(length.iter().all(u8::is_ascii_digit), "a length is no number")?;
                let length = std::str::from_utf8(length)
                    .ok()
                    .and_then(|length| length.parse().ok());
                length
                    .map(Length::Bytes)
                    .ok_or(Fault::Unclear("a length is no number"))
            }
            ([], [coding]) => {
                holds(coding.eq_ignore_ascii_case(b"chunked"), "a coding is not chunked")?;
                Ok(Length::Chunks)
            }
            _ => Err(Fault::Unclear("several lengths or codings")),
        }
    }

    /// Holds that it is the head of a request; answers with its method.
    pub(crate) fn method(&self) -> Read<&'a [u8]> {
        let [method, target, version] = self.words()?;
        holds(is_token(method), "a method is no token")?;
        holds(
            !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f),
            "a target has blanks",
        )?;
        holds(
            [&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(&version),
            "a version is none",
        )?;
        holds(self.values("host").len() <= 1, "several hosts")?;
        Ok(method)
    }

    /// Holds that it is the head of a response; answers with its status.
    pub(crate) fn status(&self) -> Read<u16> {
        let [version, status, _] = self.words()?;
        holds(
            [&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(&version),
            "a version is none",
        )?;
        let digits = std::str::from_utf8(status)
            .ok()
            .filter(|digits| digits.len() == 3);
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or(Fault::Unclear("a status is none"))
    }
}

/// Takes headers and the empty line behind them. Names are in the form that CGI makes of them.
fn headers<'a>(rest: &mut &'a [u8]) -> Read<Vec<(String, &'a [u8])>> {
    let mut headers = Vec::new();
    loop {
        let (text, after) = line(rest)?;
        *rest = after;
        if text.is_empty() {
            return Ok(headers);
        }
        let colon = text.iter().position(|byte| *byte == b':');
        let (name, value) = text.split_at(colon.ok_or(Fault::Unclear("a header has no colon"))?);
        holds(is_token(name), "a name of a header is no token")?;
        let name = String::from_utf8_lossy(name)
            .to_lowercase()
            .replace(['-', '.'], "_");
        headers.push((name, value[1..].trim_ascii()));
    }
}

/// What follows a body. `Unsaid` is none.
pub(crate) fn after(body: Length, bytes: &[u8]) -> Read<&[u8]> {
    match body {
        Length::Unsaid => Ok(bytes),
        Length::Bytes(length) => bytes.get(length..).ok_or(Fault::Cut),
        Length::Chunks => after_chunks(bytes),
    }
}

fn after_chunks(mut bytes: &[u8]) -> Read<&[u8]> {
    loop {
        let (size, rest) = line(bytes)?;
        let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
        holds(
            !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
            "a chunk has no size",
        )?;
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.ok_or(Fault::Unclear("a chunk has no size"))?;
        bytes = rest;
        if size == 0 {
            headers(&mut bytes)?;
            return Ok(bytes);
        }
        bytes = bytes.get(size..).ok_or(Fault::Cut)?;
        let (end, rest) = line(bytes)?;
        holds(end.is_empty(), "a chunk is longer than its size")?;
        bytes = rest;
    }
}

/// A frame of HTTP/2.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
}

/// Every frame that is here whole.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let [high, middle, low, kind, _, stream @ ..] = *header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let Some(rest) = rest.get(length..) else { break };
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        frames.push(Frame { kind, stream });
        bytes = rest;
    }
    frames
}
