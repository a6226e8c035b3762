//! What stands behind addresses that the configuration does not name, as far as the operator has told.
//!
//! ```text
//! connection to an unknown address ─► Lookups (of one worker) ─► Wanted ─► Interest ─► operator
//!            waits 100 ms at most  ◄─ Addresses (shared, swapped whole) ◄─ answer ◄───────┘
//! ```
//!
//! A destination that was found is lowered into the table, together with the configuration; this says only that it was.

pub mod kept;
mod learned;
pub mod lookups;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use smilax_core::config::{Destination, Protocol};
use smilax_core::endpoints::Sidecar;
use smilax_core::{ExpectedIdentity, Found};
use tokio::sync::watch;

pub use learned::AddressStatus;
pub use lookups::Lookups;

/// What the operator has told of addresses. The control thread writes it, workers read it.
#[derive(Debug)]
pub struct Addresses {
    known: Arc<ArcSwap<Known>>,
    news: watch::Sender<()>,
}

/// What is known, by address.
pub type Known = HashMap<SocketAddr, Behind>;

/// What stands behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing of the mesh.
    Nothing,
    /// A destination, and others that its routes lead to; the table has them.
    Destinations(Arc<[Destination]>),
    /// A pod with a proxy.
    Pod(Pod),
}

/// A pod with a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Whom it must prove to be. Empty: it cannot, and takes nothing else.
    pub expected: Arc<[ExpectedIdentity]>,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// Whether what was told changes which destinations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does: the table must be lowered anew before workers see it.
    Destinations,
    /// It does not.
    None,
}

impl Addresses {
    /// What workers read.
    pub fn shared(&self) -> &Arc<ArcSwap<Known>> {
        &self.known
    }

    /// Something to wait on for the next answer.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// What is known with these changes; `None` forgets.
    pub fn with(&self, changes: Vec<(SocketAddr, Option<Behind>)>) -> (Known, Effect) {
        let mut known = Known::clone(&self.known.load());
        let mut effect = Effect::None;
        for (address, behind) in changes {
            let before = match &behind {
                Some(behind) => known.insert(address, behind.clone()),
                None => known.remove(&address),
            };
            let concerns = |one: &Option<Behind>| matches!(one, Some(Behind::Destinations(_)));
            if before != behind && (concerns(&before) || concerns(&behind)) {
                effect = Effect::Destinations;
            }
        }
        (known, effect)
    }

    /// Lets workers see it.
    pub fn publish(&self, known: Known) {
        self.known.store(Arc::new(known));
        self.news.send_replace(());
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            news: watch::Sender::new(()),
        }
    }
}

impl From<Found> for Behind {
    fn from(found: Found) -> Self {
        match found {
            Found::Nothing => Self::Nothing,
            Found::Destinations(destinations) => Self::Destinations(destinations.into()),
            Found::Pod {
                workload,
                protocol,
                sidecar,
            } => Self::Pod(Pod {
                expected: match sidecar {
                    Sidecar::Present => [workload].into(),
                    Sidecar::Absent => [].into(),
                },
                protocol,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn destinations() -> Behind {
        Found::Destinations(vec![]).into()
    }

    #[test]
    fn only_destinations_concern_the_table() {
        let addresses = Addresses::default();
        let told = |changes| {
            let (known, effect) = addresses.with(changes);
            addresses.publish(known);
            effect
        };
        assert_eq!(told(vec![(address(1), Some(Behind::Nothing))]), Effect::None);
        assert_eq!(
            told(vec![(address(1), Some(destinations()))]),
            Effect::Destinations
        );
        assert_eq!(told(vec![(address(1), Some(destinations()))]), Effect::None);
        assert_eq!(told(vec![(address(2), None)]), Effect::None);
        assert_eq!(told(vec![(address(1), None)]), Effect::Destinations);
        assert!(addresses.known.load().is_empty());
    }
}
