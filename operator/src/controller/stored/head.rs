//! The few values that are read of a stored text, whoever wrote it.

use std::fmt;
use std::io::Read;

use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use smilax_core::Revision;

/// Bytes of a trust bundle that is looked into; ours have a few kibibytes.
const MOST_BUNDLE: usize = 128 * 1024;

/// The revision of a policy. What stands behind it is not read.
pub(super) fn revision(policy: impl Read) -> Option<Revision> {
    let mut found = None;
    // Reading ends with an error in any case: on purpose behind the revision.
    let _ = serde_json::Deserializer::from_reader(policy).deserialize_map(Until(&mut found));
    found
}

/// The generation of a trust bundle.
pub(super) fn generation(bundle: &str) -> Option<u64> {
    /// All else is skipped.
    #[derive(serde::Deserialize)]
    struct Bundle {
        generation: u64,
    }
    let bundle = Some(bundle).filter(|bundle| bundle.len() <= MOST_BUNDLE)?;
    Some(serde_json::from_str::<Bundle>(bundle).ok()?.generation)
}

/// Reads up to the member `revision`.
struct Until<'a>(&'a mut Option<Revision>);

impl<'de> Visitor<'de> for Until<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "revision" {
                *self.0 = members.next_value()?;
                return Err(A::Error::custom("the revision was found"));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: Revision = Revision { term: 4, counter: 7 };

    #[test]
    fn s27_a_revision_is_read_and_nothing_behind_it() {
        let endless = std::io::repeat(b'x');
        let policy = br#"{"requires":[],"revision":"4.7","destinations":"#.chain(endless);
        assert_eq!(revision(policy), Some(REVISION));
    }

    #[test]
    fn what_has_no_revision_has_none() {
        for policy in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"revision":7}"#,
            r#"{"revision":null}"#,
        ] {
            assert_eq!(revision(policy.as_bytes()), None, "{policy}");
        }
    }

    #[test]
    fn a_generation_is_that_of_a_bundle() {
        assert_eq!(generation(r#"{"generation":7,"roots":"","issuer":""}"#), Some(7));
        assert_eq!(generation(""), None);
        assert_eq!(generation("{}"), None);
    }

    #[test]
    fn s27_nothing_is_read_of_a_bundle_that_is_too_long() {
        let bundle = format!(r#"{{"generation":7,"roots":"{}"}}"#, "x".repeat(MOST_BUNDLE));
        assert_eq!(generation(&bundle), None);
    }
}
