//! Kubernetes quantities of CPU and memory, compared by what they are worth.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use smilax_core::quantity;

/// A positive quantity, kept as it was written.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    /// In units of 10⁻⁹, the finest that a quantity can be written in.
    nano: u128,
}

/// Text that is no quantity above zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity above zero: write it as 100m, 0.5 or 64Mi")]
pub struct QuantityError {
    text: String,
}

impl Quantity {
    /// In units of 10⁻⁹.
    pub fn nano(&self) -> u128 {
        self.nano
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
        };
        let text = text.trim();
        let nano = quantity::Quantity::parse(text).and_then(|quantity| u128::try_from(quantity.nano()).ok());
        match nano {
            Some(nano @ 1..) => Ok(Self {
                text: text.to_owned(),
                nano,
            }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn quantities_are_compared_by_value() {
        for (one, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("64Mi", "67108864"),
            ("1e3", "1k"),
            ("1Gi", "1024Mi"),
            (".5", "500m"),
            ("1E", "1e18"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one} and {other}");
        }
        assert!(quantity("100m") < quantity("1"));
        assert!(quantity("1M") < quantity("1Mi"));
    }

    #[test]
    fn what_is_no_quantity_above_zero_is_refused() {
        for text in ["", "0", "-1", "abc", "1.2.3", "64MB", "1 Gi", ".", "1e"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }
}
