//! The order of configurations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Place of a configuration in the one order that its writers keep: first the term of the leader that wrote it,
/// then that leader's counter. Written `term.counter`; a later one always compares greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// How often leadership had changed hands when it was written.
    pub term: u64,
    /// Counts up within a term.
    pub counter: u64,
}

/// A revision that is not `term.counter`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("revision {0:?} is not of the form term.counter, for example 3.17")]
pub struct InvalidRevision(String);

impl Revision {
    /// The revision that a leader of `term` writes after this one. A term that is behind what is already written
    /// does not lower it, so that revisions never go back.
    #[must_use]
    pub fn next(self, term: u64) -> Self {
        if term > self.term {
            Self { term, counter: 1 }
        } else {
            Self {
                term: self.term,
                counter: self.counter.saturating_add(1),
            }
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (term, counter) = text.split_once('.')?;
            Some(Self {
                term: term.parse().ok()?,
                counter: counter.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidRevision(text.to_owned()))
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_next_revision_is_always_greater(term in 0u64..9, counter in 0u64..99, leader in 0u64..9) {
            let now = Revision { term, counter };
            prop_assert!(now.next(leader) > now);
        }

        #[test]
        fn a_revision_parses_as_it_prints(term: u64, counter: u64) {
            let revision = Revision { term, counter };
            prop_assert_eq!(revision.to_string().parse::<Revision>(), Ok(revision));
        }
    }

    #[test]
    fn text_that_is_no_revision_is_refused() {
        for bad in ["", "1", "1.", ".1", "a.b", "1.2.3", "-1.2"] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }
}
