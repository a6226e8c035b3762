//! What a proxy asks the operator to tell of. Pure.
//!
//! It follows use: what is used for the first time is asked for, what has not been used for a while no longer is, and
//! on a new stream everything is asked for again. While there is no stream, addresses stay. There are bounds; beyond them whatever was used longest ago goes.

use std::collections::HashMap;
use std::time::Duration;

use smilax_core::Resource;
use smilax_core::workload_connection::{MOST_RESOURCES, Subscribe};

/// What has not been used for so long is no longer asked for.
pub const UNUSED: Duration = Duration::from_mins(5);
/// Addresses asked for at most.
pub const MOST_ADDRESSES: usize = 1024;
/// Ports of destinations asked for at most.
pub const MOST_PORTS: usize = MOST_RESOURCES - MOST_ADDRESSES;

/// Resources in one message at most. Names may be long, and messages may not
/// ([`smilax_core::workload_connection::MOST_PROXY_FRAME_BYTES`]).
const MOST_AT_ONCE: usize = 128;

/// Something that happens to it.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream begins.
    Connected,
    /// It is gone.
    Lost,
    /// These were used.
    Used(Vec<Resource>),
    /// Time has passed.
    Tick,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What to say, in this order.
    pub say: Vec<Subscribe>,
    /// What is no longer asked for, and is to be forgotten.
    pub forget: Vec<Resource>,
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct Interest {
    used: HashMap<Resource, Duration>,
    stream: Stream,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    None,
    Open,
}

impl Interest {
    /// What to do now that this happened at `now`, a time since any fixed moment.
    pub fn step(&mut self, event: Event, now: Duration) -> Change {
        let mut change = Subscribe::default();
        match event {
            Event::Lost => self.stream = Stream::None,
            Event::Connected => {
                self.stream = Stream::Open;
                let forget = self.expire(now);
                change.add = self.used.keys().cloned().collect();
                change.add.sort();
                return Change {
                    say: parts(&change),
                    forget,
                };
            }
            Event::Used(resources) => {
                for resource in resources {
                    if let Some(known) = self.used.get_mut(&resource) {
                        *known = now;
                        continue;
                    }
                    if let Some(victim) = self.victim(&resource) {
                        self.used.remove(&victim);
                        // What was added in this very step need not be said at all.
                        match change.add.iter().position(|added| *added == victim) {
                            Some(index) => drop(change.add.swap_remove(index)),
                            None => change.remove.push(victim),
                        }
                    }
                    // What is removed and used again in this very step stays as it is.
                    match change.remove.iter().position(|removed| *removed == resource) {
                        Some(index) => drop(change.remove.swap_remove(index)),
                        None => change.add.push(resource.clone()),
                    }
                    self.used.insert(resource, now);
                }
            }
            Event::Tick => change.remove = self.expire(now),
        }
        let say = match self.stream {
            Stream::Open => parts(&change),
            Stream::None => Vec::new(),
        };
        Change {
            say,
            forget: change.remove,
        }
    }

    /// Whether this is asked for.
    pub fn contains(&self, resource: &Resource) -> bool {
        self.used.contains_key(resource)
    }

    /// How much is asked for.
    pub fn count(&self) -> usize {
        self.used.len()
    }

    /// All of it, with the time since it was last known to be used.
    pub fn all(&self, now: Duration) -> impl Iterator<Item = (&Resource, Duration)> {
        self.used
            .iter()
            .map(move |(resource, used)| (resource, now.saturating_sub(*used)))
    }

    fn expire(&mut self, now: Duration) -> Vec<Resource> {
        // What stands behind an address says how it is secured, and nobody could say so again.
        let is_kept = |resource: &Resource| match self.stream {
            Stream::None => matches!(resource, Resource::Address(_)),
            Stream::Open => false,
        };
        let unused = self
            .used
            .extract_if(|resource, used| now.saturating_sub(*used) >= UNUSED && !is_kept(resource));
        unused.map(|(resource, _)| resource).collect()
    }

    /// What has to go so that there is room for this.
    fn victim(&self, resource: &Resource) -> Option<Resource> {
        let most = match resource {
            Resource::Address(_) => MOST_ADDRESSES,
            Resource::Endpoints(_) => MOST_PORTS,
        };
        let kind = std::mem::discriminant(resource);
        let same = || {
            self.used
                .iter()
                .filter(|(known, _)| std::mem::discriminant(*known) == kind)
        };
        if self.used.len() < most || same().count() < most {
            return None;
        }
        same()
            .min_by_key(|(_, used)| **used)
            .map(|(oldest, _)| oldest.clone())
    }
}

/// The same in messages that are short enough. What goes makes room for what comes.
fn parts(change: &Subscribe) -> Vec<Subscribe> {
    let removals = change.remove.chunks(MOST_AT_ONCE).map(|some| Subscribe {
        remove: some.to_vec(),
        ..Subscribe::default()
    });
    let additions = change.add.chunks(MOST_AT_ONCE).map(|some| Subscribe {
        add: some.to_vec(),
        ..Subscribe::default()
    });
    removals.chain(additions).collect()
}

#[cfg(test)]
mod tests;
