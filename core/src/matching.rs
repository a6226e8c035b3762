//! Whether a request meets a match.

use regex::{Regex, RegexBuilder};

use crate::config::HttpMatch;
use crate::path;

/// Longest regular expression that is accepted, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// Largest compiled size of one regular expression, in bytes. The engine is linear in time; this bounds memory.
const MAX_COMPILED_BYTES: usize = 256 * 1024;
const MAX_NESTING: u32 = 32;

/// What a match can ask of a request, whatever carries it.
pub trait RequestView {
    /// The method as sent.
    fn method(&self) -> &str;
    /// The path as sent, without query.
    fn path(&self) -> &str;
    /// Every value of the header of this lower-case name, in order. `host` is the authority, in HTTP/2 too.
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]>;
}

/// A match with its regular expressions compiled.
#[derive(Clone, Debug)]
pub struct Matcher {
    path: Option<Regex>,
    methods: Box<[Box<str>]>,
    headers: Box<[(Box<str>, Regex)]>,
}

/// A regular expression that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("the regular expression has {0} bytes; at most {MAX_PATTERN_BYTES} are accepted")]
    TooLong(usize),
    /// Does not compile within its bounds.
    #[error("{0}")]
    Invalid(#[from] regex::Error),
}

/// Where a match is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {error}")]
pub struct MatcherError {
    /// Path of the field within the match.
    pub field: String,
    /// What is wrong with it.
    pub error: PatternError,
}

/// Compiles a pattern within the bounds that every part of the mesh keeps to.
///
/// # Errors
/// [`PatternError`] when it is too long, too large or no regular expression.
pub fn compile_pattern(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong(pattern.len()));
    }
    Ok(RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED_BYTES)
        .nest_limit(MAX_NESTING)
        .build()?)
}

impl Matcher {
    /// Compiles a match.
    ///
    /// # Errors
    /// [`MatcherError`] with the field whose expression is not accepted.
    pub fn new(config: &HttpMatch) -> Result<Self, MatcherError> {
        let compile = |field: String, pattern: &str| {
            compile_pattern(pattern).map_err(|error| MatcherError { field, error })
        };
        Ok(Self {
            path: config
                .path
                .as_deref()
                .map(|pattern| compile("path".to_owned(), pattern))
                .transpose()?,
            methods: config
                .methods
                .iter()
                .map(|method| method.as_str().into())
                .collect(),
            headers: config
                .headers
                .iter()
                .enumerate()
                .map(|(index, header)| {
                    let value = compile(format!("headers[{index}].value"), &header.value)?;
                    Ok((header.name.as_str().into(), value))
                })
                .collect::<Result<_, MatcherError>>()?,
        })
    }

    /// Whether it looks at the path, so that ambiguous paths must be refused before it is asked.
    pub fn reads_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether the request meets every condition. A header must be present, and each of its values must match:
    /// who may add a second value must not be able to add a right.
    pub fn matches(&self, request: &impl RequestView) -> bool {
        let method =
            self.methods.is_empty() || self.methods.iter().any(|method| **method == *request.method());
        method
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.is_match(&path::normalize(request.path())))
            && self.headers.iter().all(|(name, pattern)| {
                let mut values = request.header(name).peekable();
                values.peek().is_some()
                    && values
                        .all(|value| std::str::from_utf8(value).is_ok_and(|value| pattern.is_match(value)))
            })
    }
}

#[cfg(test)]
mod tests;
