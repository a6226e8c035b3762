//! Addresses from which something may be asked.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Ranges of addresses, in CIDR notation. None at all is everybody. Loopback is always among them: whoever is in the pod has
/// what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRanges(Vec<IpNet>);

/// A word that is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses; write for example 10.0.0.0/8")]
pub struct InvalidSourceRange(String);

impl SourceRanges {
    /// Whether a connection from here is let in.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || address.is_loopback() || self.0.iter().any(|range| range.contains(&address))
    }

    /// Whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for SourceRanges {
    type Err = InvalidSourceRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| part.parse().map_err(|_| InvalidSourceRange(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for SourceRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(ranges: &str, address: &str) -> bool {
        let ranges: SourceRanges = ranges.parse().unwrap();
        ranges.contains(address.parse().unwrap())
    }

    #[test]
    fn s13_only_who_is_in_a_range_is_let_in_where_there_are_any() {
        let both = "10.1.0.0/16, fd00::/64";
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "127.0.0.1", "::1"] {
            assert!(lets_in(both, inside), "{inside}");
        }
        for outside in ["10.2.0.1", "fd01::1", "::ffff:10.2.0.1"] {
            assert!(!lets_in(both, outside), "{outside}");
        }
        assert!(lets_in("", "192.0.2.1"));
    }

    #[test]
    fn ranges_are_read_as_they_are_written() {
        let ranges: SourceRanges = "10.0.0.0/8,fd00::/8".parse().unwrap();
        assert_eq!(ranges.to_string().parse(), Ok(ranges));
        for bad in ["10.0.0.1", "10.0.0.0/33", "any"] {
            assert_eq!(
                bad.parse::<SourceRanges>(),
                Err(InvalidSourceRange(bad.to_owned()))
            );
        }
    }
}
