//! Whether a TLS ClientHello is of another proxy, told without consuming it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LOOK_AGAIN, LOOK_AGAIN_MOST};
use crate::tls::Wire;

/// Bytes of a ClientHello of another proxy at most, several times what one has with a post-quantum key share. A longer one
/// passes to the application unread, as does everything else that is foreign.
const MOST_BYTES: usize = 8 * 1024;

thread_local! {
    /// Where bytes are looked at. Between two looks they stay in the kernel, so that a hello that does not end costs nothing
    /// here.
    static LOOK: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST_BYTES].into());
}

/// Kind of a ClientHello among the messages of a handshake (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
/// Kind of a record of a handshake, and the length of a record's header (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;
const RECORD_HEADER: usize = 5;
/// More bytes than a hello may have.
const NEVER: usize = MOST_BYTES + 1;

/// Versions of records, all of SSL 3.0 and TLS, have these numbers behind a 3 (RFC 8446 section 5.1).
const VERSIONS: std::ops::RangeInclusive<u8> = 0..=4;
/// Bytes that a first record has, from the header of its message to the most that one may (RFC 8446 section 5.1).
const LENGTHS: std::ops::RangeInclusive<u16> = 4..=1 << 14;

/// What the first bytes of a connection may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The first record of a ClientHello.
    Hello,
    /// The same, as far as it is here.
    Incomplete,
    /// Anything else.
    Other,
}

/// Whether a connection begins with the first record of a ClientHello, by its first six bytes.
pub fn beginning(first: &[u8]) -> Beginning {
    let length = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    let may_be = match first {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => true,
        [HANDSHAKE, 3, version] => VERSIONS.contains(version),
        [HANDSHAKE, 3, version, high] => VERSIONS.contains(version) && length(*high, 0) <= *LENGTHS.end(),
        [HANDSHAKE, 3, version, high, low, kind @ ..] => {
            VERSIONS.contains(version)
                && LENGTHS.contains(&length(*high, *low))
                && matches!(kind, [] | [CLIENT_HELLO, ..])
        }
        _ => false,
    };
    match may_be {
        true if first.len() > RECORD_HEADER => Beginning::Hello,
        true => Beginning::Incomplete,
        false => Beginning::Other,
    }
}

/// What a ClientHello says.
pub enum Hello {
    /// Another proxy wants to speak to this one.
    Ours {
        /// What was read of it.
        accepted: Box<Accepted>,
        /// How many bytes that was.
        bytes: usize,
    },
    /// It is the application's own affair.
    Foreign,
}

/// What the first bytes of a TLS connection hold.
pub enum Parsed {
    /// More are needed.
    Incomplete,
    /// A ClientHello.
    Hello(Hello),
}

/// What the first bytes of a TLS connection hold.
pub fn parse(first: &[u8]) -> Parsed {
    let mut acceptor = Acceptor::default();
    let mut rest = first;
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let ours = names_ours(&accepted);
                return Parsed::Hello(if ours {
                    Hello::Ours {
                        accepted: Box::new(accepted),
                        bytes: first.len() - rest.len(),
                    }
                } else {
                    Hello::Foreign
                });
            }
            Ok(None) if rest.is_empty() => return Parsed::Incomplete,
            Ok(None) => match acceptor.read_tls(&mut rest) {
                Ok(read) if read > 0 => {}
                _ => return Parsed::Hello(Hello::Foreign),
            },
            Err(_) => return Parsed::Hello(Hello::Foreign),
        }
    }
}

fn names_ours(accepted: &Accepted) -> bool {
    let hello = accepted.client_hello();
    let mut names = hello.alpn().into_iter().flatten();
    names.any(|name| Wire::of(name).is_some())
}

/// How much of a ClientHello is here, as its records announce it (RFC 8446 section 5.1). It is parsed once, when all of it
/// is here: parsing it again for each byte that comes would let its sender spend this side's time.
#[derive(Debug, Default)]
struct Extent {
    /// Where the next record begins.
    next_record: usize,
    /// Bytes of the message in the records before that.
    message: usize,
    /// The first of them: the kind of the message, and its length.
    begins: [u8; 4],
}

impl Extent {
    /// Bytes that must be here before there is something to parse: more than `first` has, while the message is not whole,
    /// and [`NEVER`] as soon as it is clear that it is no hello, or a longer one than proxies send. Records that were looked
    /// at are not looked at again.
    fn needed(&mut self, first: &[u8]) -> usize {
        loop {
            let record = first.get(self.next_record..).unwrap_or_default();
            let &[kind, _, _, high, low, ref rest @ ..] = record else {
                return self.next_record + RECORD_HEADER;
            };
            if kind != HANDSHAKE {
                return NEVER;
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            let end = self.next_record + RECORD_HEADER + length;
            let fragment = rest.get(..length).unwrap_or(rest);
            let begins = self.begins.iter_mut().skip(self.message);
            begins.zip(fragment).for_each(|(place, byte)| *place = *byte);
            let here = self.message + fragment.len();
            let [kind, high, middle, low] = self.begins;
            let whole = self.begins.len() + u32::from_be_bytes([0, high, middle, low]) as usize;
            if here > 0 && kind != CLIENT_HELLO || here >= self.begins.len() && whole > MOST_BYTES {
                return NEVER;
            }
            if fragment.len() < length {
                return end;
            }
            self.message = here;
            self.next_record = end;
            if here >= self.begins.len() && here >= whole {
                return 0;
            }
        }
    }
}

/// What is to be done after a look.
enum Step {
    /// Nothing: it is known what it is.
    Known(Hello),
    /// Wait for more.
    Wait,
}

/// What a look at everything that is here says.
fn step(extent: &mut Extent, here: &[u8]) -> Step {
    let needed = extent.needed(here);
    if needed > MOST_BYTES {
        return Step::Known(Hello::Foreign);
    }
    if here.len() < needed {
        return Step::Wait;
    }
    match parse(here) {
        Parsed::Hello(hello) => Step::Known(hello),
        Parsed::Incomplete if here.len() >= MOST_BYTES => Step::Known(Hello::Foreign),
        Parsed::Incomplete => Step::Wait,
    }
}

/// Waits for the whole ClientHello. One that does not come to an end within `limit`, or at all, is foreign.
///
/// # Errors
/// When the connection breaks.
pub async fn wait(client: &TcpStream, limit: Duration) -> io::Result<Hello> {
    let deadline = Instant::now() + limit;
    let mut pause = LOOK_AGAIN;
    let mut extent = Extent::default();
    loop {
        let step = poll_fn(|cx| {
            LOOK.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(client.poll_peek(cx, &mut buffer))?;
                Poll::Ready(io::Result::Ok(step(&mut extent, buffer.filled())))
            })
        });
        match step.await? {
            Step::Known(hello) => return Ok(hello),
            Step::Wait if Instant::now() >= deadline => return Ok(Hello::Foreign),
            // What lies there already keeps the socket readable, so more of it can only be looked for.
            Step::Wait => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LOOK_AGAIN_MOST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("web.shop").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn is_ours(parsed: &Parsed) -> Option<bool> {
        match parsed {
            Parsed::Incomplete => None,
            Parsed::Hello(Hello::Ours { .. }) => Some(true),
            Parsed::Hello(Hello::Foreign) => Some(false),
        }
    }

    #[test]
    fn s51_a_hello_begins_with_a_record_that_holds_one() {
        let whole = hello(&[b"h2"]);
        assert_eq!(beginning(&whole), Beginning::Hello);
        for here in 0..=RECORD_HEADER {
            assert_eq!(beginning(&whole[..here]), Beginning::Incomplete, "{here} bytes");
        }
        for (other, why) in [
            (&b"\x16\x03 /admin HTTP/1.1\r\n"[..], "no version"),
            (b"\x16\x03\x01GET / HTTP/1.1\r\n", "a record of 18245 bytes"),
            (b"\x16\x03\x01\x40\x01\x01", "a record that is too long"),
            (b"\x16\x03\x01\x41", "a record that is too long"),
            (b"\x16\x03\x01\0\x03\x01", "a record that is too short"),
        ] {
            assert_eq!(beginning(other), Beginning::Other, "{why}: {other:?}");
        }
    }

    #[test]
    fn a_hello_is_ours_when_it_names_what_only_proxies_speak() {
        assert_eq!(is_ours(&parse(&hello(&[b"smilax-h2"]))), Some(true));
        assert_eq!(is_ours(&parse(&hello(&[b"h2", b"smilax-tcp"]))), Some(true));
        assert_eq!(is_ours(&parse(&hello(&[b"h2", b"http/1.1"]))), Some(false));
        assert_eq!(is_ours(&parse(&hello(&[]))), Some(false));
        assert_eq!(is_ours(&parse(&hello(&[b"smilax-h22", b"smilax"]))), Some(false));
    }

    #[test]
    fn a_part_of_a_hello_is_incomplete() {
        let whole = hello(&[b"smilax-h2"]);
        for cut in 0..whole.len() {
            assert_eq!(is_ours(&parse(&whole[..cut])), None, "{cut}");
        }
    }

    #[test]
    fn c10_a_hello_that_comes_byte_by_byte_is_parsed_when_it_is_whole() {
        let whole = hello(&[b"smilax-h2"]);
        for bytes in [whole.clone(), in_records(&whole, 100), in_records(&whole, 3)] {
            let mut extent = Extent::default();
            for length in 0..bytes.len() {
                let needed = extent.needed(&bytes[..length]);
                assert!(
                    (length + 1..=bytes.len()).contains(&needed),
                    "{needed} at {length}"
                );
            }
            assert_eq!(extent.needed(&bytes), 0);
        }
    }

    #[test]
    fn c10_a_hello_that_announces_too_much_is_not_waited_for() {
        let record = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
        assert_eq!(Extent::default().needed(&record), NEVER);
        let empty = [0x16, 3, 1, 0, 0].repeat(MOST_BYTES / RECORD_HEADER);
        assert!(Extent::default().needed(&empty) > empty.len());
    }

    #[test]
    fn s52_what_cannot_be_the_hello_of_a_proxy_is_known_from_its_first_bytes() {
        let foreign = |first: &[u8]| {
            let step = step(&mut Extent::default(), first);
            matches!(step, Step::Known(Hello::Foreign))
        };
        for (first, why) in [
            (&[0x16, 3, 1, 2, 0, 2][..], "another message"),
            (
                &[0x16, 3, 1, 2, 0, 1, 0x20, 0x61, 0x20],
                "a length that no hello has",
            ),
            (&[0x16, 3, 1, 2, 0, 1, 0, 0x20, 0], "longer than those of proxies"),
            (&[0x16, 3, 1, 0x40, 0], "a record that is longer"),
            (
                &[0x16, 3, 1, 0, 1, 1, 0x16, 3, 1, 0, 9, 0xff, 0, 0],
                "in two records",
            ),
        ] {
            assert!(foreign(first), "{why}");
        }
        let whole = hello(&[b"smilax-h2"]);
        assert!(whole.len() < MOST_BYTES / 3, "{}", whole.len());
        for cut in 0..whole.len() {
            let step = step(&mut Extent::default(), &whole[..cut]);
            assert!(matches!(step, Step::Wait), "{cut}");
        }
    }

    #[test]
    fn a_record_that_is_of_no_handshake_ends_the_waiting() {
        let alert = b"\x16\x03\x01\x00\x00\x15\x03\x01\x00\x02";
        assert_eq!(Extent::default().needed(alert), NEVER);
    }

    #[test]
    fn what_is_behind_a_hello_changes_nothing_and_is_counted_with_what_was_read() {
        let mut bytes = hello(&[b"smilax-h2"]);
        let alone = bytes.len();
        bytes.extend_from_slice(&[0x17, 3, 3, 0, 1, 0]);
        let Parsed::Hello(Hello::Ours { bytes: read, .. }) = parse(&bytes) else {
            panic!("not ours");
        };
        assert!((alone..=bytes.len()).contains(&read), "{read}");
    }

    /// A hello in records of this size, as a client may cut it.
    fn in_records(whole: &[u8], size: usize) -> Vec<u8> {
        whole[5..]
            .chunks(size)
            .flat_map(|part| {
                let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[0x16, 3, 1, length[0], length[1]], part].concat()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_hello_in_many_records_is_read_as_one(size in 1usize..600) {
            let cut = in_records(&hello(&[b"smilax-h2"]), size);
            // The library bounds how many records a message may have; such a hello is nobody's.
            prop_assert!(is_ours(&parse(&cut)).is_some());
            if size > 100 {
                prop_assert_eq!(is_ours(&parse(&cut)), Some(true));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let framed = [&[0x16, 3, 1, 0, 200, 1, 0][..], &bytes].concat();
            let _ = parse(&framed);
        }

        #[test]
        fn no_change_to_a_hello_makes_it_panic(at in 0usize..2000, to: u8, size in 1usize..2000) {
            let mut bytes = hello(&[b"smilax-h2"]);
            let length = bytes.len();
            bytes[at % length] = to;
            let _ = parse(&bytes);
            let _ = parse(&in_records(&bytes, size));
        }
    }
}
