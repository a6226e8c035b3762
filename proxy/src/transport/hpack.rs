//! Counting the headers of a block as HPACK writes them (RFC 7541 section 6), without decoding them.
//!
//! One byte can name a header of the table, so that a block of 11 KB becomes 11,000 headers and almost a megabyte of memory
//! in h2. How many there are can be told from the bytes alone: neither the table nor Huffman's code is needed for it.

/// Counts the headers of a block that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct HeaderCount {
    count: usize,
    expected: Expected,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// A header, or a change of the table's size.
    #[default]
    Representation,
    /// The rest of a number, and then so many strings.
    Number(Strings),
    /// The length of the first of so many strings.
    Length(Strings),
    /// The rest of that length.
    LengthGoesOn {
        strings: Strings,
        length: usize,
        shift: u32,
    },
    /// Bytes of the first of so many strings.
    Octets { strings: Strings, left: usize },
}

/// Strings of a header that are yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strings {
    None,
    Value,
    NameAndValue,
}

impl Strings {
    fn after_one(self) -> Self {
        match self {
            Self::NameAndValue => Self::Value,
            Self::Value | Self::None => Self::None,
        }
    }

    fn expected(self) -> Expected {
        match self {
            Self::None => Expected::Representation,
            Self::Value | Self::NameAndValue => Expected::Length(self),
        }
    }
}

impl HeaderCount {
    /// Headers so far, pseudo-headers included.
    pub(super) fn get(&self) -> usize {
        self.count
    }

    /// Looks at the next bytes of the block.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Expected::Octets { strings, left } = self.expected {
                let taken = left.min(bytes.len());
                bytes = bytes.get(taken..).unwrap_or_default();
                self.expected = octets(strings, left - taken);
                continue;
            }
            bytes = rest;
            self.expected = match self.expected {
                Expected::Representation => self.representation(byte),
                Expected::Number(strings) if byte & 0x80 == 0 => strings.expected(),
                Expected::Number(strings) => Expected::Number(strings),
                Expected::Length(strings) => match usize::from(byte & 0x7f) {
                    length @ 0x7f => Expected::LengthGoesOn {
                        strings,
                        length,
                        shift: 0,
                    },
                    length => octets(strings, length),
                },
                Expected::LengthGoesOn {
                    strings,
                    length,
                    shift,
                } => {
                    let more = usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                    let length = length.saturating_add(more);
                    if byte & 0x80 == 0 {
                        octets(strings, length)
                    } else {
                        let shift = shift.saturating_add(7);
                        Expected::LengthGoesOn {
                            strings,
                            length,
                            shift,
                        }
                    }
                }
                Expected::Octets { .. } => self.expected,
            };
        }
    }

    fn representation(&mut self, byte: u8) -> Expected {
        let (mask, strings) = match byte {
            0x80.. => (0x7f, Strings::None),
            0x40.. => (0x3f, Strings::Value),
            // The size of the table is no header.
            0x20.. => {
                return if byte & 0x1f == 0x1f {
                    Expected::Number(Strings::None)
                } else {
                    Expected::Representation
                };
            }
            _ => (0x0f, Strings::Value),
        };
        self.count += 1;
        match (byte & mask, strings) {
            (0, Strings::Value) => Strings::NameAndValue.expected(),
            (index, strings) if index == mask => Expected::Number(strings),
            (_, strings) => strings.expected(),
        }
    }
}

fn octets(strings: Strings, left: usize) -> Expected {
    if left == 0 {
        strings.after_one().expected()
    } else {
        Expected::Octets { strings, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(block: &[u8], piece: usize) -> usize {
        let mut count = HeaderCount::default();
        block.chunks(piece).for_each(|bytes| count.pass(bytes));
        count.get()
    }

    /// Of RFC 7541 appendix C.
    #[test]
    fn headers_are_counted_in_every_form_and_in_any_pieces() {
        let long = [&[0x00, 0x7f, 0x81, 0x01][..], &[b'n'; 256], &[0x01, b'v']].concat();
        let cases: [(&[u8], usize); 8] = [
            (b"\x40\x0acustom-key\x0dcustom-header", 1),
            (b"\x04\x0c/sample/path", 1),
            (b"\x10\x08password\x06secret", 1),
            (b"\x82\x86\x84\x41\x0fwww.example.com", 4),
            (
                b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                4,
            ),
            // An index, a size of the table and a name's index of more than one byte; an empty value.
            (b"\xff\x80\x01\x3f\xe1\x1f\x7f\x02\x00\xbe", 3),
            (&long, 1),
            (b"", 0),
        ];
        for (block, expected) in cases {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(counted(block, piece), expected, "{block:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_byte_that_names_a_header_of_the_table_is_a_header() {
        assert_eq!(counted(&[0xbe; 11_500], 16_384), 11_500);
    }

    #[test]
    fn a_length_beyond_all_measure_ends_in_no_overflow() {
        let block = [&[0x00, 0x7f][..], &[0xff; 64], &[0xbe; 64]].concat();
        assert_eq!(counted(&block, 1), 1);
    }
}
