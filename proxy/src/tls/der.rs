//! The little of DER (ITU-T X.690) that certificates of a mesh need. It never looks beyond what it was given, and goes
//! no deeper than its caller asks it to.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// Its tag, of one byte.
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) content: &'a [u8],
    /// All of it, tag and length included.
    pub(crate) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is. `None` at the end, and where what follows is no complete element.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, header) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            // Indefinite lengths are no DER, and nothing of ours needs more than three bytes.
            let count = usize::from(first & 0x7f);
            if !(1..=3).contains(&count) {
                return None;
            }
            let length = rest
                .get(..count)?
                .iter()
                .fold(0, |length, &byte| (length << 8) | usize::from(byte));
            (length, 2 + count)
        };
        let whole = self.0.get(..header + length)?;
        self.0 = self.0.get(header + length..)?;
        Some(Element {
            tag,
            content: whole.get(header..)?,
            whole,
        })
    }

    /// The next element, which must be of this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next element if it is of this tag; otherwise nothing is read.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.expect(tag)?;
        *self = ahead;
        Some(element)
    }
}

impl<'a> Element<'a> {
    /// The elements in it.
    pub(crate) fn inner(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Writes an element.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut written = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => written.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            let significant = bytes.get(zeros..).unwrap_or_default();
            written.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            written.extend_from_slice(significant);
        }
    }
    for part in parts {
        written.extend_from_slice(part);
    }
    written
}

/// Content of an object identifier (X.690 section 8.19).
pub(crate) fn object_identifier(arcs: &[u64]) -> Vec<u8> {
    let [first, second, rest @ ..] = arcs else {
        return Vec::new();
    };
    let mut content = Vec::new();
    for arc in std::iter::once(40 * first + second).chain(rest.iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let seven = u8::try_from((arc >> (7 * group)) & 0x7f).unwrap_or_default();
            content.push(if group == 0 { seven } else { 0x80 | seven });
        }
    }
    content
}

/// Seconds since the epoch of a UTCTime or GeneralizedTime in the form that certificates use (RFC 5280 section
/// 4.1.2.5): in UTC, with seconds.
pub(crate) fn time(element: &Element<'_>) -> Option<u64> {
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = element.content.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = element.content.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let [month, day, hour, minute, second] = {
        let digits: &[u8; 11] = rest.try_into().ok()?;
        let (digits, b'Z') = (digits.get(..10)?, digits[10]) else {
            return None;
        };
        let mut values = [0; 5];
        for (value, pair) in values.iter_mut().zip(digits.chunks_exact(2)) {
            *value = number(pair)?;
        }
        values
    };
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && (1970..10_000).contains(&year);
    if !valid {
        return None;
    }
    // Days of the Gregorian calendar, in years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(tag: u8, text: &str) -> Option<u64> {
        let bytes = element(tag, &[text.as_bytes()]);
        time(&Reader::new(&bytes).any()?)
    }

    #[test]
    fn times_are_read_as_seconds_since_the_epoch() {
        assert_eq!(at(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, "240229235959Z"), Some(1_709_251_199));
        assert_eq!(at(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(at(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
    }

    #[test]
    fn what_is_no_time_of_a_certificate_is_refused() {
        for text in [
            "",
            "2402292359Z",
            "240229235959+0100",
            "241329235959Z",
            "24022923595xZ",
            "500101000000Z0",
        ] {
            assert_eq!(at(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(at(INTEGER, "240229235959Z"), None);
        assert_eq!(at(GENERALIZED_TIME, "00010101000000Z"), None);
    }

    #[test]
    fn identifiers_are_written_as_certificates_hold_them() {
        assert_eq!(object_identifier(&[2, 5, 29, 17]), [0x55, 0x1d, 0x11]);
        assert_eq!(
            object_identifier(&[1, 2, 840, 10045]),
            [0x2a, 0x86, 0x48, 0xce, 0x3d]
        );
        assert_eq!(object_identifier(&[2, 25, 0]), [0x69, 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(tag: u8, content in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let bytes = element(tag, &[&content]);
            let mut reader = Reader::new(&bytes);
            let read = reader.any().unwrap();
            prop_assert_eq!((read.tag, read.content, read.whole), (tag, &content[..], &bytes[..]));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut read = 0;
            while let Some(element) = reader.any() {
                read += element.whole.len();
                let _ = time(&element);
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
