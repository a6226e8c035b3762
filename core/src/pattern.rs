//! Regular expressions of bounded size and cost.
//!
//! The syntax is that of RE2, which Envoy and the Gateway API use, over bytes: paths are ASCII on the wire, and header
//! values are bytes (RFC 9110 section 5.5). So `\d`, `\w`, `\s` and `\b` mean ASCII, as they do in RE2, `.` is one byte,
//! and letters outside ASCII stand for their UTF-8. `\p{…}` and `(?u)` are refused: one Unicode class compiles to more than
//! the rest of a usual expression, and ignoring case in one takes milliseconds.
//!
//! An expression becomes a deterministic automaton: one table lookup for a byte, nothing held for a search, and a size
//! that is known. One whose automaton is too large is simulated instead, which takes longer and no more memory.

mod language;
mod measure;
mod store;

use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::{Input, meta};
use regex_syntax::ast::{self, Ast, ClassSetItem, Flag, Flags, GroupKind, Visitor};
use regex_syntax::hir::{self, Hir};

pub use language::{PathFault, path_fault};
pub use measure::{Measure, measured};
pub use store::{Compiled, NotTaken, Patterns};

/// Longest regular expression that is accepted, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// What the expressions of one HTTPRouteGroup may count for in all, in bytes, each expression once.
pub const MOST_OF_GROUP: usize = 1024 * 1024;
/// What the expressions of one namespace may count for, in bytes.
pub const MOST_OF_NAMESPACE: usize = 4 * 1024 * 1024;
/// What the expressions in the routes of one configuration may count for, in bytes: its own and those it imports.
pub const MOST_OF_ROUTES: usize = 8 * 1024 * 1024;

/// Largest deterministic automaton, in bytes.
const MAX_DFA_BYTES: usize = 64 * 1024;
/// Most that making one may take for a moment, in bytes.
const MAX_DETERMINIZE_BYTES: usize = 128 * 1024;
/// Largest nondeterministic automaton, in bytes.
const MAX_NFA_BYTES: usize = 64 * 1024;
/// What each byte of text counts for: long texts take time to compile, also where little comes of them.
const COUNTED_OF_TEXT: usize = 16;
/// What one counts for that is simulated: the attempt at the other, and what searches hold.
const SIMULATED_BYTES: usize = 2 * MAX_DFA_BYTES;
/// What one counts for that is too large for either, which is found out by trying.
const REFUSED_BYTES: usize = MAX_DFA_BYTES + MAX_NFA_BYTES;
const MAX_NESTING: u32 = 32;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    engine: Engine,
    size: usize,
}

#[derive(Clone, Debug)]
enum Engine {
    Table(Box<dense::DFA<Vec<u32>>>),
    Simulated(Box<meta::Regex>),
}

/// Where an expression must begin and end, beside what it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchors {
    /// Anywhere.
    None,
    /// At the start of the text.
    Start,
    /// At both ends of it.
    Both,
}

impl Anchors {
    /// The expression with these around it.
    pub fn around(self, pattern: &str) -> String {
        match self {
            Self::None => pattern.to_owned(),
            Self::Start => format!("^(?:{pattern})"),
            Self::Both => format!("^(?:{pattern})$"),
        }
    }
}

/// A regular expression that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("the regular expression has {0} bytes; at most {MAX_PATTERN_BYTES} are accepted")]
    TooLong(usize),
    /// Asks for Unicode.
    #[error(
        "{0} asks for Unicode, and expressions are matched byte by byte; write an ASCII class such as [A-Za-z] or [[:alpha:]]"
    )]
    Unicode(String),
    /// Its automaton is too large.
    #[error(
        "the regular expression is too large when compiled; repeat less in it, or write several shorter matches"
    )]
    TooLarge,
    /// Whatever else is wrong, in the words of the parser.
    #[error("{0}")]
    Invalid(Arc<str>),
}

impl Pattern {
    /// Compiles an expression within the bounds that every part of the mesh keeps to.
    ///
    /// # Errors
    /// [`PatternError`] when it is too long, too large or no regular expression.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong(pattern.len()));
        }
        let hir = parse(pattern)?;
        let nfa = thompson::Compiler::new()
            .configure(
                NFA::config()
                    .nfa_size_limit(Some(MAX_NFA_BYTES))
                    .which_captures(WhichCaptures::None)
                    .utf8(false),
            )
            .build_from_hir(&hir)
            .map_err(|_| PatternError::TooLarge)?;
        let table = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(MAX_DFA_BYTES))
                    .determinize_size_limit(Some(MAX_DETERMINIZE_BYTES)),
            )
            .build_from_nfa(&nfa);
        match table {
            Ok(table) => Ok(Self {
                size: size_of::<Self>()
                    + size_of_val(&table)
                    + table.memory_usage()
                    + pattern.len() * COUNTED_OF_TEXT,
                engine: Engine::Table(Box::new(table)),
            }),
            Err(_) => Self::simulated(pattern, &hir),
        }
    }

    fn simulated(pattern: &str, hir: &Hir) -> Result<Self, PatternError> {
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_NFA_BYTES))
            .auto_prefilter(false);
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|_| PatternError::TooLarge)?;
        Ok(Self {
            size: SIMULATED_BYTES + regex.memory_usage() + pattern.len() * COUNTED_OF_TEXT,
            engine: Engine::Simulated(Box::new(regex)),
        })
    }

    /// Compiles an expression with anchors around it. It must stand by itself: `a)|(b` would break out of them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn anchored(pattern: &str, anchors: Anchors) -> Result<Self, PatternError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong(pattern.len()));
        }
        if anchors != Anchors::None {
            parse(pattern)?;
        }
        Self::new(&anchors.around(pattern))
    }

    /// What it counts for in a budget, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether it is found anywhere in the text, as far as its own anchors let it.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            // It gives up on nothing: it has no bytes to quit at.
            Engine::Table(table) => table
                .try_search_fwd(&Input::new(text).earliest(true))
                .is_ok_and(|found| found.is_some()),
            Engine::Simulated(regex) => regex.is_match(text),
        }
    }
}

impl PatternError {
    /// What trying it counts for in a budget, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::TooLong(_) => 0,
            Self::Unicode(_) | Self::Invalid(_) => MAX_PATTERN_BYTES * COUNTED_OF_TEXT,
            Self::TooLarge => REFUSED_BYTES,
        }
    }
}

fn parse(pattern: &str) -> Result<Hir, PatternError> {
    let invalid = |error: &dyn std::fmt::Display| PatternError::Invalid(error.to_string().into());
    let ast = ast::parse::ParserBuilder::new()
        .nest_limit(MAX_NESTING)
        .build()
        .parse(pattern)
        .map_err(|error| invalid(&error))?;
    let unicode = |span: ast::Span| {
        let text = pattern.get(span.start.offset..span.end.offset);
        PatternError::Unicode(text.unwrap_or(pattern).to_owned())
    };
    ast::visit(&ast, NoUnicode).map_err(unicode)?;
    hir::translate::TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .translate(pattern, &ast)
        .map_err(|error| match error.kind() {
            hir::ErrorKind::UnicodeNotAllowed => unicode(*error.span()),
            _ => invalid(&error),
        })
}

/// Finds what would turn Unicode on, where it stands.
struct NoUnicode;

impl NoUnicode {
    fn flags(flags: &Flags) -> Result<(), ast::Span> {
        match flags.flag_state(Flag::Unicode) {
            Some(true) => Err(flags.span),
            _ => Ok(()),
        }
    }
}

impl Visitor for NoUnicode {
    type Output = ();
    type Err = ast::Span;

    fn finish(self) -> Result<(), ast::Span> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ast::Span> {
        match ast {
            Ast::ClassUnicode(class) => Err(class.span),
            Ast::Flags(set) => Self::flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => Self::flags(flags),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ast::Span> {
        match item {
            ClassSetItem::Unicode(class) => Err(class.span),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
