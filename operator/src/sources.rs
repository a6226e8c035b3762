//! Who is connected: a source has its share of the connections and no more, so that one caller cannot keep the others
//! out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections by the source that they come from: an address, or a network.
#[derive(Clone, Debug)]
pub(crate) struct Sources<K> {
    connected: Arc<Mutex<HashMap<K, usize>>>,
    most_of_one: usize,
}

/// One connection; over when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    sources: Sources<K>,
    source: K,
}

impl<K: Copy + Eq + Hash> Sources<K> {
    /// Nobody yet; at most so many connections of one source.
    pub(crate) fn new(most_of_one: usize) -> Self {
        Self {
            connected: Arc::default(),
            most_of_one,
        }
    }

    /// One more connection; `None` when the source has its share.
    pub(crate) fn enter(&self, source: K) -> Option<Place<K>> {
        let mut connected = self.connected.lock();
        let of_one = connected.entry(source).or_default();
        if *of_one >= self.most_of_one {
            return None;
        }
        *of_one += 1;
        let connected = Arc::clone(&self.connected);
        Some(Place {
            sources: Self {
                connected,
                most_of_one: self.most_of_one,
            },
            source,
        })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut connected = self.sources.connected.lock();
        match connected.get_mut(&self.source) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => {
                connected.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_a_source_has_its_share_and_leaves_no_trace_when_it_is_gone() {
        let sources = Sources::new(2);
        let first = sources.enter("a").unwrap();
        let second = sources.enter("a").unwrap();
        assert!(sources.enter("a").is_none());
        assert!(sources.enter("b").is_some());
        drop(first);
        let third = sources.enter("a");
        assert!(third.is_some());
        drop((second, third));
        assert!(sources.connected.lock().is_empty());
    }
}
