//! What is wrong with a request of HTTP/1, of which the library does not tell.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the library gets for a request whose target is too long.
pub(super) const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// Methods are not longer.
const LONGEST_METHOD: usize = 20;

const NONE: u8 = 0;
const TWO_LENGTHS: u8 = 1;
const TARGET_TOO_LONG: u8 = 2;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadDefect {
    /// It has both `Content-Length` and `Transfer-Encoding`.
    TwoLengths,
    /// Its target is longer than [`TARGET_BYTES`](crate::http::limits::TARGET_BYTES). The request that the library got
    /// is not the client's.
    TargetTooLong,
}

/// What is wrong with the request that begins on a connection.
#[derive(Debug, Default)]
pub struct DefectCell(AtomicU8);

impl DefectCell {
    /// What it is.
    pub fn get(&self) -> Option<HeadDefect> {
        match self.0.load(Ordering::Relaxed) {
            TWO_LENGTHS => Some(HeadDefect::TwoLengths),
            TARGET_TOO_LONG => Some(HeadDefect::TargetTooLong),
            _ => None,
        }
    }

    pub(super) fn set(&self, defect: Option<HeadDefect>) {
        let defect = match defect {
            None => NONE,
            Some(HeadDefect::TwoLengths) => TWO_LENGTHS,
            Some(HeadDefect::TargetTooLong) => TARGET_TOO_LONG,
        };
        self.0.store(defect, Ordering::Relaxed);
    }
}

/// Whether a line that is too long begins as a request line does.
pub(super) fn names_method(line: &[u8]) -> bool {
    let method = line.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    (1..=LONGEST_METHOD).contains(&method) && line.get(method) == Some(&b' ')
}
