//! Ports that annotations list.

use std::fmt;
use std::str::FromStr;

/// How many single ports a list of opaque ports may name: each of them stands in the proxy's environment.
const MOST_OPAQUE: u32 = 1024;

/// A set of ports, in order and without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

/// A list of ports that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// An entry is neither a port nor a range.
    #[error("{0:?} is neither a port from 1 to 65535 nor a range such as 9000-9010")]
    Entry(String),
    /// Too much for the environment.
    #[error("it names {0} ports, and at most {MOST_OPAQUE} can be opaque: skip them instead")]
    TooMany(u32),
}

impl PortSet {
    fn len(&self) -> u32 {
        self.0
            .iter()
            .map(|&(from, to)| u32::from(to) - u32::from(from) + 1)
            .sum()
    }

    /// Its ranges, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = std::ops::RangeInclusive<u16>> {
        self.0.iter().map(|&(from, to)| from..=to)
    }

    /// Every port, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|&(from, to)| from..=to)
    }

    /// Reads a list whose ports are opaque.
    ///
    /// # Errors
    /// As [`FromStr`], and [`PortsError::TooMany`].
    pub fn opaque(text: &str) -> Result<Self, PortsError> {
        let set: Self = text.parse()?;
        match set.len() {
            count if count > MOST_OPAQUE => Err(PortsError::TooMany(count)),
            _ => Ok(set),
        }
    }
}

impl FromStr for PortSet {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let mut ranges = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| range(entry).ok_or_else(|| PortsError::Entry(entry.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Ok(Self(merged))
    }
}

fn range(entry: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0);
    match entry.split_once('-') {
        Some((from, to)) => Some((port(from)?, port(to)?)).filter(|(from, to)| from <= to),
        None => port(entry).map(|port| (port, port)),
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_ports_and_ranges_are_put_in_order() {
        let set: PortSet = " 9000-9010, 22,9005-9020 , 9021".parse().unwrap();
        assert_eq!(set.to_string(), "22,9000-9021");
        assert_eq!(set.iter().count(), 23);
        assert_eq!("".parse(), Ok(PortSet::default()));
    }

    #[test]
    fn an_entry_that_is_no_port_is_named() {
        for entry in ["0", "65536", "web", "10-5", "1-2-3", "-1"] {
            let error = format!("80,{entry}").parse::<PortSet>().unwrap_err();
            assert_eq!(error, PortsError::Entry(entry.to_owned()));
        }
    }

    #[test]
    fn too_many_opaque_ports_are_refused() {
        assert_eq!(PortSet::opaque("1-65535"), Err(PortsError::TooMany(65535)));
        assert!(PortSet::opaque("1-1024").is_ok());
    }

    proptest! {
        #[test]
        fn a_set_comes_back_from_its_text(ranges in proptest::collection::vec((1_u16.., 0_u16..20), 0..4)) {
            let text = ranges
                .iter()
                .map(|(from, more)| format!("{from}-{}", from.saturating_add(*more)))
                .collect::<Vec<_>>()
                .join(",");
            let set: PortSet = text.parse().unwrap();
            prop_assert_eq!(&set.to_string().parse::<PortSet>().unwrap(), &set);
            for (from, more) in ranges {
                let to = from.saturating_add(more);
                prop_assert!((from..=to).all(|port| set.iter().any(|listed| listed == port)));
            }
        }
    }
}
