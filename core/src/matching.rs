//! Whether a request meets a match.

use std::sync::Arc;

use crate::config::HttpMatch;
use crate::path;
use crate::pattern::{NotTaken, Pattern, Patterns};

/// What a match can ask of a request, whatever carries it.
pub trait RequestView {
    /// The method as sent.
    fn method(&self) -> &str;
    /// The path as sent, without query.
    fn path(&self) -> &str;
    /// Every value of the header of this lower-case name, in order. `host` is the authority, in HTTP/2 too.
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]>;
    /// The name of every header, in any order, also several times.
    fn header_names(&self) -> impl Iterator<Item = &str>;
}

/// A match with its regular expressions compiled.
#[derive(Clone, Debug)]
pub struct Matcher {
    path: Option<Arc<Pattern>>,
    methods: Box<[Box<str>]>,
    headers: Box<[(Box<str>, Arc<Pattern>)]>,
}

/// Where a match is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {error}")]
pub struct MatcherError {
    /// Path of the field within the match.
    pub field: String,
    /// What is wrong with it.
    pub error: NotTaken,
}

impl Matcher {
    /// Compiles a match, its expressions among those of its table.
    ///
    /// # Errors
    /// [`MatcherError`] with the field whose expression is not accepted.
    pub fn new(config: &HttpMatch, patterns: &mut Patterns<'_>) -> Result<Self, MatcherError> {
        let mut compile = |field: String, pattern: &str| {
            patterns
                .get(pattern)
                .map_err(|error| MatcherError { field, error })
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

    /// The headers that it looks at, so that other spellings of them must be refused before it is asked.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| &**name)
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
                .is_none_or(|path| path.is_match(path::normalize(request.path()).as_bytes()))
            && self.headers.iter().all(|(name, pattern)| {
                let mut values = request.header(name).peekable();
                values.peek().is_some() && values.all(|value| pattern.is_match(value))
            })
    }
}

#[cfg(test)]
mod tests;
