//! What must hold for any bytes that reach the proxy.

use std::sync::OnceLock;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use smilax_core::TrustDomain;
use smilax_core::workload_connection::TrustBundle;
use smilax_proxy::detect::hello::{self, Hello, Parsed};
use smilax_proxy::detect::{self, Guess};
use smilax_proxy::tls::{Credentials, Trust};

/// What the first bytes of a connection say is not taken back when more arrive.
pub(crate) fn first_bytes(bytes: &[u8]) {
    let mut said = None;
    for length in 0..bytes.len().min(1024) {
        let guess = detect::guess(&bytes[..length]);
        if let Some(before) = said {
            assert_eq!(guess, before, "{length} bytes");
        } else if guess != Guess::Unclear {
            said = Some(guess);
        }
    }
}

/// A ClientHello of a proxy is known by its own bytes, and what is known of the first bytes holds for more of them.
pub(crate) fn hello(bytes: &[u8]) {
    let is_foreign = |bytes| matches!(hello::parse(bytes), Parsed::Hello(Hello::Foreign));
    match hello::parse(bytes) {
        Parsed::Hello(Hello::Ours { bytes: read, .. }) => {
            let alone = hello::parse(&bytes[..read]);
            assert!(matches!(alone, Parsed::Hello(Hello::Ours { bytes, .. }) if bytes == read));
            assert!(
                !is_foreign(&bytes[..read / 2]),
                "foreign at first, ours in the end"
            );
        }
        Parsed::Hello(Hello::Foreign) => {}
        Parsed::Incomplete => assert!(!is_foreign(&bytes[..bytes.len() / 2])),
    }
}

/// Bytes as a certificate: as a root, as one of our own, and as a chain. They are taken or refused.
pub(crate) fn certificate(bytes: &[u8]) {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let key = KEY.get_or_init(|| rcgen::KeyPair::generate().expect("a key").serialize_der());
    let pem = pem(bytes);
    let bundle = TrustBundle {
        roots: pem.clone(),
        ..TrustBundle::default()
    };
    let _ = Trust::new(bundle, TrustDomain::default());
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(key.clone()).into();
    let _ = Credentials::new(&key, pem.as_bytes());
}

/// Base64 by hand: what is checked must not depend on a reader of it.
fn pem(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for three in bytes.chunks(3) {
        let at = |index: usize| three.get(index).copied().map_or(0, u32::from);
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4_usize {
            if digit <= three.len() {
                let value = bits >> (18 - 6 * digit) & 63;
                text.push(char::from(DIGITS[value as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}
