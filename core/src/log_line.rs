//! Log lines for people, where an event is one line whatever stands in it.
//!
//! A caller chooses paths, names and much of what errors quote. Were a line break written as it came, a caller could
//! write lines of its own into the log; were an escape sequence, it could rule the terminal of who reads it.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes each event as one line. What is written at once is an event; its last line break ends it.
#[derive(Clone, Copy, Debug)]
pub struct LogLines<W>(pub W);

impl<W: Write> Write for LogLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(&one_line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The event with every control character but a last line break as `\xNN`. Those beyond ASCII, U+0080 to U+009F, are
/// left to whoever formats it.
pub fn one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = match event.split_last() {
        Some((b'\n', text)) => (text, &b"\n"[..]),
        _ => (event, &b""[..]),
    };
    if !text.iter().any(u8::is_ascii_control) {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len() + 16);
    for &byte in text {
        if byte.is_ascii_control() {
            line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            line.push(byte);
        }
    }
    line.extend_from_slice(end);
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f11_an_event_cannot_look_like_two_nor_rule_a_terminal() {
        let event = "INFO denied path=/a\r\n2026-01-01 INFO allowed \x1b[2J\t\x7f\n";
        let expected = "INFO denied path=/a\\x0d\\x0a2026-01-01 INFO allowed \\x1b[2J\\x09\\x7f\n";
        assert_eq!(one_line(event.as_bytes()), expected.as_bytes());
    }

    #[test]
    fn an_event_without_control_characters_is_written_as_it_is() {
        let event = "INFO caf\u{e9} started\n".as_bytes();
        assert!(matches!(one_line(event), Cow::Borrowed(same) if same == event));
        assert_eq!(one_line(b""), &b""[..]);
    }

    proptest! {
        #[test]
        fn f11_whatever_is_written_comes_out_as_one_line(event: Vec<u8>) {
            let mut written = Vec::new();
            LogLines(&mut written).write_all(&event).unwrap();
            let text = written.strip_suffix(b"\n").unwrap_or(&written);
            prop_assert!(!text.iter().any(u8::is_ascii_control));
            prop_assert_eq!(written.ends_with(b"\n"), event.ends_with(b"\n"));
        }
    }
}
