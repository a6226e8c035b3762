//! Kubernetes quantities of CPU and memory (`k8s.io/apimachinery/pkg/api/resource`), compared by what they are worth.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

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
        match nano(text) {
            Some(nano) if nano > 0 => Ok(Self {
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

/// The value in units of 10⁻⁹, rounded down. `None` for text that is no quantity, a negative one, or one beyond reason.
fn nano(text: &str) -> Option<u128> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(number_end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction:0<9}").parse().ok()?;
    let (times, divided_by) = scale(suffix)?;
    Some(digits.checked_mul(times)? / divided_by)
}

fn scale(suffix: &str) -> Option<(u128, u128)> {
    let power = |base: u128, exponent: u32| base.checked_pow(exponent).map(|times| (times, 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let times = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, times) } else { (times, 1) })
        }
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
        for text in ["", "0", "-1", "abc", "1.2.3", "64MB", "1 Gi", ".", "1e", "1e99"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }
}
