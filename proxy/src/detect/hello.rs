//! Whether a TLS ClientHello is of another proxy, told without consuming it.

use std::io;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LOOK_AGAIN, LOOK_AGAIN_MOST};
use crate::tls::Wire;

/// Bytes of a ClientHello at most; one that is longer is nobody's of ours.
const MOST_BYTES: usize = 64 * 1024;
/// Bytes looked at first. A usual hello fits, one with a key exchange that withstands quantum computers too.
const FIRST_LOOK: usize = 4 * 1024;

/// Kind of a record of a handshake, and the length of a record's header (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;
const RECORD_HEADER: usize = 5;
/// More bytes than a hello may have.
const NEVER: usize = MOST_BYTES + 1;

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
    /// and [`NEVER`] where it is no hello. Records that were looked at are not looked at again.
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
            let Some(fragment) = rest.get(..length) else {
                return end;
            };
            let begins = self.begins.iter_mut().skip(self.message);
            begins.zip(fragment).for_each(|(place, byte)| *place = *byte);
            self.message += length;
            self.next_record = end;
            let [_, high, middle, low] = self.begins;
            let whole = self.begins.len() + u32::from_be_bytes([0, high, middle, low]) as usize;
            match self.message {
                0..4 => {}
                _ if whole > MOST_BYTES => return NEVER,
                message if message >= whole => return 0,
                _ => {}
            }
        }
    }
}

/// Waits for the whole ClientHello. One that does not come to an end within `limit`, or at all, is foreign.
///
/// # Errors
/// When the connection breaks.
pub async fn wait(client: &TcpStream, limit: Duration) -> io::Result<Hello> {
    let deadline = Instant::now() + limit;
    let mut first = vec![0; FIRST_LOOK];
    let mut pause = LOOK_AGAIN;
    let mut extent = Extent::default();
    let mut needed = 0;
    loop {
        let length = client.peek(&mut first).await?;
        let here = first.get(..length).unwrap_or_default();
        if length >= needed {
            needed = extent.needed(here);
        }
        if needed > MOST_BYTES {
            return Ok(Hello::Foreign);
        }
        if length >= needed
            && let Parsed::Hello(hello) = parse(here)
        {
            return Ok(hello);
        }
        if length == first.len() {
            if length >= MOST_BYTES {
                return Ok(Hello::Foreign);
            }
            first.resize((length * 4).min(MOST_BYTES), 0);
            continue;
        }
        if Instant::now() >= deadline {
            return Ok(Hello::Foreign);
        }
        // What lies there already keeps the socket readable, so more of it can only be looked for.
        tokio::time::sleep(pause).await;
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
