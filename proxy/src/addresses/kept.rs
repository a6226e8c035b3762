//! Destinations that were found, kept for a restart while no operator answers: without them, what takes mutual TLS alone would
//! be called in plaintext, and refuse it. How they are secured is kept, and nothing of where requests go.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use smilax_core::config::Destination;

use super::{Behind, Known};
use crate::config_source;
use crate::operator_connection::interest::MOST_ADDRESSES;

/// File in the state directory.
const FILE: &str = "found.json";
/// Bytes of it at most: it lies in the pod's memory. What does not fit is asked for again.
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    address: SocketAddr,
    destinations: Vec<Destination>,
}

/// Keeps the destinations among what is known.
///
/// # Errors
/// When the directory cannot be written.
pub fn save(state_directory: &Path, known: &Known) -> io::Result<()> {
    config_source::replace(&state_directory.join(FILE), &text(known, MOST_BYTES)?)
}

/// What a proxy of this pod kept before it ended.
///
/// # Errors
/// The reason why it cannot be used.
pub fn load(state_directory: &Path) -> Result<Vec<(SocketAddr, Behind)>, String> {
    let content = config_source::read(&state_directory.join(FILE))?;
    let kept: Vec<Kept> = serde_json::from_slice(&content).map_err(|error| format!("{FILE}: {error}"))?;
    let behind = |one: Kept| (one.address, Behind::Destinations(one.destinations.into()));
    Ok(kept.into_iter().take(MOST_ADDRESSES).map(behind).collect())
}

fn text(known: &Known, most: usize) -> serde_json::Result<Vec<u8>> {
    let mut found: Vec<Kept> = known
        .iter()
        .filter_map(|(&address, behind)| match behind {
            Behind::Destinations(destinations) => Some(Kept {
                address,
                destinations: destinations.iter().map(without_routes).collect(),
            }),
            Behind::Nothing | Behind::Pod(_) => None,
        })
        .collect();
    found.sort_by_key(|one| one.address);
    let mut parts = Vec::new();
    let mut length = 2;
    for one in &found {
        let part = serde_json::to_string(one)?;
        if length + part.len() < most {
            length += part.len() + 1;
            parts.push(part);
        }
    }
    Ok(format!("[{}]", parts.join(",")).into_bytes())
}

fn without_routes(destination: &Destination) -> Destination {
    let mut destination = destination.clone();
    for port in &mut destination.ports {
        port.routes.clear();
    }
    destination
}

#[cfg(test)]
mod tests {
    use smilax_core::config::{DestinationPort, Protocol, Security};
    use smilax_core::{Found, Workload};

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    fn web(last: u8) -> Behind {
        let destination = Destination {
            name: "bank/web".parse().unwrap(),
            addresses: vec![address(last).ip()],
            accounts: vec![Workload::new("bank", "web").into()],
            ports: vec![DestinationPort {
                security: Security::MutualTls,
                ..DestinationPort::plaintext(80, Protocol::Http)
            }],
        };
        Found::Destinations(vec![destination]).into()
    }

    #[test]
    fn destinations_are_kept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let known = Known::from([(address(1), web(1)), (address(2), Behind::Nothing)]);
        save(directory.path(), &known).unwrap();
        assert_eq!(load(directory.path()), Ok(vec![(address(1), web(1))]));
    }

    #[test]
    fn s2_what_is_kept_is_bounded() {
        let known: Known = (0..200).map(|last| (address(last), web(last))).collect();
        let all = text(&known, MOST_BYTES).unwrap();
        let some = text(&known, all.len() / 2).unwrap();
        assert!(some.len() <= all.len() / 2);
        let kept: Vec<Kept> = serde_json::from_slice(&some).unwrap();
        assert!(kept.len() > 90, "{}", kept.len());
    }

    #[test]
    fn what_is_damaged_is_refused_whole() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), b"[{").unwrap();
        assert!(load(directory.path()).unwrap_err().contains(FILE));
    }
}
