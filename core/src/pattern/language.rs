//! Expressions that no request can match, whatever is sent: told to their authors, who meant something else.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::parse;

/// Why an expression on paths matches no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing that it matches begins as a path does.
    #[error(
        "no path matches it, since paths begin with /; write / in front, or .* if anything may come before"
    )]
    NoSlash,
    /// Everything that it matches holds a `?`.
    #[error(
        "no path matches it, since the query is not part of the path; leave out the question mark and what follows"
    )]
    Query,
    /// Everything that it matches holds something else that no path holds.
    #[error(
        "no path matches it, since paths hold no space, no # and no control character; write them as %20 and so on"
    )]
    Bytes,
}

/// Why no path matches an expression, wherever it is anchored; `None` when one can, or when it is not valid.
pub fn path_fault(pattern: &str) -> Option<PathFault> {
    let hir = parse(pattern).ok()?;
    let in_path = |byte: u8| byte > b' ' && byte != 0x7f && !b"?#".contains(&byte);
    let starts_path = |byte: u8| byte == b'/' || byte == b'*';
    match Texts::of(&hir, in_path, starts_path) {
        Some(texts) if texts.empty || texts.starts => None,
        Some(_) => Some(PathFault::NoSlash),
        None => match Texts::of(&hir, |byte| in_path(byte) || byte == b'?', starts_path) {
            Some(_) => Some(PathFault::Query),
            None => Some(PathFault::Bytes),
        },
    }
}

/// Which texts of certain bytes an expression matches. Look-around is taken to hold, so that what is said to match nothing does not.
#[derive(Clone, Copy)]
struct Texts {
    /// The empty one.
    empty: bool,
    /// One that starts as asked.
    starts: bool,
}

impl Texts {
    /// `None` when it matches no text of these bytes.
    fn of(
        hir: &Hir,
        allowed: impl Fn(u8) -> bool + Copy,
        starts: impl Fn(u8) -> bool + Copy,
    ) -> Option<Self> {
        let nothing = Self {
            empty: true,
            starts: false,
        };
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(nothing),
            HirKind::Literal(literal) => literal.0.iter().all(|&byte| allowed(byte)).then(|| Self {
                empty: literal.0.is_empty(),
                starts: literal.0.first().is_some_and(|&byte| starts(byte)),
            }),
            HirKind::Class(class) => {
                let holds =
                    |is: &dyn Fn(u8) -> bool| (0..=u8::MAX).any(|byte| is(byte) && contains(class, byte));
                holds(&allowed).then(|| Self {
                    empty: false,
                    starts: holds(&starts),
                })
            }
            HirKind::Capture(capture) => Self::of(&capture.sub, allowed, starts),
            HirKind::Repetition(repeated) => match Self::of(&repeated.sub, allowed, starts) {
                _ if repeated.max == Some(0) => Some(nothing),
                None => (repeated.min == 0).then_some(nothing),
                Some(texts) => Some(Self {
                    empty: texts.empty || repeated.min == 0,
                    ..texts
                }),
            },
            HirKind::Concat(parts) => parts.iter().try_fold(nothing, |before, part| {
                let texts = Self::of(part, allowed, starts)?;
                Some(Self {
                    empty: before.empty && texts.empty,
                    starts: before.starts || before.empty && texts.starts,
                })
            }),
            HirKind::Alternation(parts) => {
                let each = parts.iter().filter_map(|part| Self::of(part, allowed, starts));
                each.reduce(|one, other| Self {
                    empty: one.empty || other.empty,
                    starts: one.starts || other.starts,
                })
            }
        }
    }
}

fn contains(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&byte)),
        Class::Unicode(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&char::from(byte))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern::{Anchors, Pattern};

    #[test]
    fn an_expression_that_no_path_matches_says_why() {
        for (pattern, fault) in [
            ("api/.*", PathFault::NoSlash),
            ("api|v1", PathFault::NoSlash),
            ("[a-z]+/.*", PathFault::NoSlash),
            ("https://shop/api", PathFault::NoSlash),
            ("/search\\?q=.*", PathFault::Query),
            ("/search[?]q=.*", PathFault::Query),
            ("/two words", PathFault::Bytes),
            ("/page#top", PathFault::Bytes),
        ] {
            assert_eq!(path_fault(pattern), Some(fault), "{pattern}");
        }
    }

    #[test]
    fn an_expression_that_some_path_matches_is_right() {
        for pattern in [
            "/caf\u{e9}",
            "",
            ".*",
            "/",
            "/api/.*",
            "^/api",
            "(?i)/API",
            "(api)?/x",
            "api|/v1",
            "[^a]",
            "x*",
            ".+/x",
            "/a?q=.*",
            "\\*",
            "/search(\\?.*)?",
            "\\b/x",
            "(",
            "/a{0,3}",
        ] {
            assert_eq!(path_fault(pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_is_said_to_match_no_path_matches_none(
            pattern in "[a/?.*|()x\\\\\\[\\]^$+]{0,8}",
            path in "/[a-x/.]{0,6}",
        ) {
            if path_fault(&pattern).is_some() {
                for anchors in [Anchors::Start, Anchors::Both] {
                    let compiled = Pattern::anchored(&pattern, anchors).unwrap();
                    prop_assert!(!compiled.is_match(path.as_bytes()), "{pattern} {path}");
                }
            }
        }
    }
}
