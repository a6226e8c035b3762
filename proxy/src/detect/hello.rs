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

/// Waits for the whole ClientHello. One that does not come to an end within `limit`, or at all, is foreign.
///
/// # Errors
/// When the connection breaks.
pub async fn wait(client: &TcpStream, limit: Duration) -> io::Result<Hello> {
    let deadline = Instant::now() + limit;
    let mut first = vec![0; FIRST_LOOK];
    let mut pause = LOOK_AGAIN;
    let mut before = 0;
    loop {
        let length = client.peek(&mut first).await?;
        if length > before {
            before = length;
            pause = LOOK_AGAIN;
            if let Parsed::Hello(hello) = parse(first.get(..length).unwrap_or_default()) {
                return Ok(hello);
            }
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
