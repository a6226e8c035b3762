//! What an expression counts for, remembered: the operator asks at admission and when it compiles, and holds none.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{Anchors, Pattern, PatternError};

/// What an expression counts for, or why it is not accepted.
pub type Measure = Result<usize, PatternError>;

/// Bytes of text after which what was remembered longest is forgotten; twice as much is remembered at most.
const MOST_REMEMBERED: usize = 4 * 1024 * 1024;

static REMEMBERED: Mutex<Option<Remembered>> = Mutex::new(None);

/// What an expression counts for with anchors around it, in bytes. It is compiled when it was not lately; others are not
/// kept waiting for that.
///
/// # Errors
/// [`PatternError`] when it is not accepted.
pub fn measured(pattern: &str, anchors: Anchors) -> Measure {
    let of = match anchors {
        Anchors::None => 'n',
        Anchors::Start => 's',
        Anchors::Both => 'b',
    };
    let key = format!("{of}{pattern}");
    if let Some(known) = with(|remembered| remembered.get(&key)) {
        return known;
    }
    let measure = Pattern::anchored(pattern, anchors).map(|pattern| pattern.size());
    with(|remembered| remembered.put(&key, measure.clone()));
    measure
}

fn with<R>(act: impl FnOnce(&mut Remembered) -> R) -> R {
    let mut remembered = REMEMBERED.lock();
    act(remembered.get_or_insert_default())
}

/// Two generations: what is asked for moves to the young one, and the old one is forgotten when the young one is full.
#[derive(Debug, Default)]
struct Remembered {
    young: HashMap<Box<str>, Measure>,
    old: HashMap<Box<str>, Measure>,
    bytes: usize,
}

impl Remembered {
    fn get(&mut self, pattern: &str) -> Option<Measure> {
        if let Some(known) = self.young.get(pattern) {
            return Some(known.clone());
        }
        let (_, known) = self.old.remove_entry(pattern)?;
        self.put(pattern, known.clone());
        Some(known)
    }

    fn put(&mut self, pattern: &str, measure: Measure) {
        let words = match &measure {
            Err(PatternError::Invalid(words)) => words.len(),
            _ => 0,
        };
        self.bytes += size_of::<(Box<str>, Measure)>() + pattern.len() + words;
        if self.bytes > MOST_REMEMBERED {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.young.insert(pattern.into(), measure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_again_is_the_same() {
        for pattern in ["/a+", "("] {
            assert_eq!(measured(pattern, Anchors::Both), measured(pattern, Anchors::Both));
        }
    }

    #[test]
    fn what_breaks_out_of_its_anchors_is_not_taken_for_what_looks_like_it() {
        assert!(measured("a)|(b", Anchors::Both).is_err());
        assert!(measured("^(?:a)|(b)$", Anchors::None).is_ok());
        assert!(measured("a)|(b", Anchors::Both).is_err());
    }

    #[test]
    fn s1_what_is_remembered_is_bounded_and_what_is_asked_for_stays() {
        let mut remembered = Remembered::default();
        for index in 0..100_000 {
            remembered.put(&format!("{index:0900}"), Ok(index));
            assert!(remembered.get(&format!("{:0900}", 0)).is_some());
        }
        let held = remembered.young.len() + remembered.old.len();
        assert!(held * 900 < 2 * MOST_REMEMBERED, "{held}");
        assert!(remembered.get(&format!("{:0900}", 1)).is_none());
    }
}
