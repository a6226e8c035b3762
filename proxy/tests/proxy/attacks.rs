//! Attacks on identity and access, by their numbers in `docs/attacks.md`.

mod access;
mod announced;
mod floods;
mod framing;
mod handshakes;
mod header_bombs;
mod http2;
mod identity;
mod interim;
mod lying;
mod memory;
mod misread;
mod peers;
mod policy;
pub(crate) mod raw_http2;
mod requests;
mod resources;
mod scrapes;
mod servers;
mod spelling;
pub(crate) mod stage;
mod translation;
mod upgrades;
mod websocket;

/// A request in plaintext, and no more after it.
const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
