//! Kubernetes quantities (`k8s.io/apimachinery/pkg/api/resource`), of weights and of resources: exactly, to the
//! billionth, which is the finest that one can be written in.

use serde_json::Value;

/// Kubernetes caps quantities at 2^63-1.
const MAX_NANO: i128 = i64::MAX as i128 * NANO;
/// Billionths in one.
const NANO: i128 = 1_000_000_000;
/// Billionths in a thousandth.
const NANO_IN_MILLI: i128 = 1_000_000;
/// More digits than any number of billionths below the cap has.
const MAX_WHOLE_DIGITS: i64 = 31;

/// A quantity, to the billionth; what is finer is rounded away from zero, as Kubernetes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nano: i128,
    exact: bool,
}

impl Quantity {
    /// Reads the text of a quantity: sign, decimal number, and a suffix (`n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`) or
    /// an exponent (`e3`, `E-3`). `None` when it is not one. Values beyond 2^63-1 are capped.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return None;
        }
        let (power_of_ten, power_of_1024) = scale(suffix)?;
        let mut digits: Vec<u8> = whole
            .bytes()
            .chain(fraction.bytes())
            .map(|digit| digit - b'0')
            .collect();
        for _ in 0..power_of_1024 {
            multiply_by_1024(&mut digits);
        }
        let fraction = i64::try_from(fraction.len()).ok()?;
        let (nano, exact) = to_integer(&digits, power_of_ten.saturating_add(9).saturating_sub(fraction));
        Some(Self {
            nano: if negative { -nano } else { nano },
            exact,
        })
    }

    /// Reads a quantity from an object: text, or a number.
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// The value, if it is a whole number.
    pub fn whole(self) -> Option<i64> {
        let whole = self.exact && self.nano % NANO == 0;
        whole.then(|| i64::try_from(self.nano / NANO).ok()).flatten()
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli(self) -> i128 {
        let away_from_zero = i128::from(self.nano % NANO_IN_MILLI != 0) * self.nano.signum();
        self.nano / NANO_IN_MILLI + away_from_zero
    }

    /// The value in billionths, rounded away from zero.
    pub fn nano(self) -> i128 {
        self.nano
    }
}

/// What a suffix multiplies by: a power of ten and a power of 1024.
fn scale(suffix: &str) -> Option<(i64, u32)> {
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 1),
        "Mi" => (0, 2),
        "Gi" => (0, 3),
        "Ti" => (0, 4),
        "Pi" => (0, 5),
        "Ei" => (0, 6),
        _ => (exponent(suffix.strip_prefix(['e', 'E'])?)?, 0),
    })
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent that does not fit is far beyond every bound that follows.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// Multiplies a decimal number, most significant digit first.
fn multiply_by_1024(digits: &mut Vec<u8>) {
    let mut carry = 0_u16;
    for digit in digits.iter_mut().rev() {
        let product = u16::from(*digit) * 1024 + carry;
        *digit = (product % 10).to_le_bytes()[0];
        carry = product / 10;
    }
    while carry > 0 {
        digits.insert(0, (carry % 10).to_le_bytes()[0]);
        carry /= 10;
    }
}

/// `digits * 10^power`, rounded up and capped, and whether it is exactly that.
fn to_integer(digits: &[u8], power: i64) -> (i128, bool) {
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[leading..];
    let Ok(count) = i64::try_from(digits.len()) else {
        return (MAX_NANO, true);
    };
    let whole_digits = count.saturating_add(power);
    if digits.is_empty() {
        return (0, true);
    }
    if whole_digits > MAX_WHOLE_DIGITS {
        return (MAX_NANO, true);
    }
    let kept = usize::try_from(whole_digits.clamp(0, count)).unwrap_or(0);
    let mut value = digits[..kept]
        .iter()
        .fold(0_i128, |value, digit| value * 10 + i128::from(*digit));
    for _ in 0..power.clamp(0, MAX_WHOLE_DIGITS) {
        value *= 10;
    }
    let exact = digits[kept..].iter().all(|digit| *digit == 0);
    if value > MAX_NANO {
        return (MAX_NANO, true);
    }
    (if exact { value } else { value + 1 }, exact)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milli(text: &str) -> Option<i128> {
        Quantity::parse(text).map(Quantity::milli)
    }

    #[test]
    fn every_suffix_has_its_value() {
        let cases = [
            ("1", 1000),
            ("+1.5", 1500),
            ("-2", -2000),
            (".5", 500),
            ("5.", 5000),
            ("900m", 900),
            ("1500m", 1500),
            ("2000000n", 2),
            ("3000u", 3),
            ("1k", 1_000_000),
            ("1M", 1_000_000_000),
            ("1G", 1_000_000_000_000),
            ("1T", 1_000_000_000_000_000),
            ("1P", 1_000_000_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1Ki", 1_024_000),
            ("1.5Mi", 1_572_864_000),
            ("1Gi", 1_073_741_824_000),
            ("1Ti", 1_099_511_627_776_000),
            ("1Pi", 1_125_899_906_842_624_000),
            ("1Ei", 1_152_921_504_606_846_976_000),
            ("12e2", 1_200_000),
            ("12E-1", 1200),
            ("1e+3", 1_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_thousandth_is_rounded_away_from_zero() {
        assert_eq!(
            [milli("1n"), milli("-1n"), milli("0.0001Ki"), milli("1e-400")],
            [Some(1), Some(-1), Some(103), Some(1)]
        );
        assert_eq!(Quantity::parse("1n").expect("parses").whole(), None);
    }

    #[test]
    fn billionths_are_read_exactly() {
        let nano = |text| Quantity::parse(text).map(Quantity::nano);
        assert_eq!(
            [nano("1n"), nano("0.5u"), nano("1.000000001"), nano("0.1n")],
            [Some(1), Some(500), Some(1_000_000_001), Some(1)]
        );
    }

    #[test]
    fn what_is_beyond_63_bits_is_capped() {
        let cap = i128::from(i64::MAX) * 1000;
        for text in [
            "10E",
            "9223372036854775808",
            "1e400",
            "9999Ei",
            "99999999999999999999999999999",
        ] {
            assert_eq!(milli(text), Some(cap), "{text}");
        }
    }

    #[test]
    fn a_whole_quantity_may_be_written_in_parts() {
        let whole = |text| Quantity::parse(text).expect("parses").whole();
        assert_eq!(
            [whole("1000m"), whole("1.0"), whole("0.5k"), whole("500m")],
            [Some(1), Some(1), Some(500), None]
        );
        assert_eq!(whole("1000000000.000000000000000000001"), None);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "-", ".", "1.2.3", "1 ", "m", "1K", "1mm", "1e", "1e1.5", "0x1", "١",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn whole_numbers_are_read_exactly(number: i64) {
            let number = number.max(-i64::MAX);
            prop_assert_eq!(Quantity::parse(&number.to_string()).and_then(Quantity::whole), Some(number));
        }

        #[test]
        fn thousandths_are_read_exactly(number in -1_000_000_000_i64..1_000_000_000) {
            prop_assert_eq!(milli(&format!("{number}m")), Some(i128::from(number)));
        }
    }
}
