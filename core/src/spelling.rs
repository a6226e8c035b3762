//! Header names that some applications take for one name.
//!
//! To CGI (RFC 3875 section 4.1.18) and what descends from it (WSGI, Rack, PHP), everything in a header name that is
//! neither letter nor digit is `_`: `x-role` and `x_role` become the same variable, and which value it has depends on
//! the server. So where a rule decides by a header, a request that has it in another spelling is refused rather than
//! guessed at.

use std::cmp::Ordering;

/// Names of headers that rules read, sorted by the variable that they become, each once.
#[derive(Clone, Debug, Default)]
pub struct HeaderNames(Box<[Box<str>]>);

/// Whether two names become the same variable. Each name is its own twin.
pub fn is_twin(one: &str, other: &str) -> bool {
    compare(one, other) == Ordering::Equal
}

/// Whether two different names become the same variable.
pub fn are_confusable(one: &str, other: &str) -> bool {
    !one.eq_ignore_ascii_case(other) && is_twin(one, other)
}

impl HeaderNames {
    /// Whether there is another spelling of `name` among these.
    pub fn has_other_spelling_of(&self, name: &str) -> bool {
        let first = self
            .0
            .partition_point(|known| compare(known, name) == Ordering::Less);
        let mut twins = self.0.iter().skip(first).take_while(|known| is_twin(known, name));
        twins.any(|known| are_confusable(known, name))
    }
}

impl<'a> FromIterator<&'a str> for HeaderNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort_by(|one, other| compare(one, other).then_with(|| one.cmp(other)));
        names.dedup();
        Self(names.into())
    }
}

fn compare(one: &str, other: &str) -> Ordering {
    one.bytes().map(variable).cmp(other.bytes().map(variable))
}

/// What a byte of a name is in the name of the variable.
fn variable(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_uppercase()
    } else {
        b'_'
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> HeaderNames {
        names.iter().copied().collect()
    }

    #[test]
    fn s34_another_spelling_of_a_name_is_told_from_the_name() {
        let names = names(&["x-role", "x-user", "host"]);
        for twin in ["x_role", "x.role", "X_Role", "x~user"] {
            assert!(names.has_other_spelling_of(twin), "{twin}");
        }
        for other in [
            "x-role", "X-ROLE", "x-user", "xrole", "x--role", "x-roles", "x-rol", "host",
        ] {
            assert!(!names.has_other_spelling_of(other), "{other}");
        }
    }

    #[test]
    fn s34_two_rules_that_spell_a_name_differently_make_both_spellings_ambiguous() {
        let names = names(&["x_role", "x-role", "x-role"]);
        assert!(names.has_other_spelling_of("x-role"));
        assert!(names.has_other_spelling_of("x_role"));
    }

    proptest! {
        #[test]
        fn s34_a_name_is_found_among_many_exactly_when_it_is_a_twin_of_another(
            known in prop::collection::vec("[a-c_.-]{1,4}", 0..12),
            name in "[a-cA-C_.-]{1,4}",
        ) {
            let names: HeaderNames = known.iter().map(String::as_str).collect();
            let expected = known.iter().any(|one| are_confusable(one, &name));
            prop_assert_eq!(names.has_other_spelling_of(&name), expected);
        }
    }
}
