//! Expressions of one table: each compiled once, and all of them within a budget.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::{Pattern, PatternError};

/// Expressions that some table holds, by their text: another table with the same ones takes them as they are.
#[derive(Debug, Default)]
pub struct Compiled(HashMap<Box<str>, Weak<Pattern>>);

/// The expressions of one part of a table.
#[derive(Debug)]
pub struct Patterns<'a> {
    compiled: &'a mut Compiled,
    held: HashMap<Box<str>, Arc<Pattern>>,
    size: usize,
    /// What was compiled and did not fit, in bytes.
    refused: usize,
    most: usize,
}

/// Why an expression is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is not accepted.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It and those before it count for more than the budget.
    #[error("the regular expressions up to this one count for more than {0} bytes when compiled")]
    Budget(usize),
}

impl Compiled {
    /// Forgets what no table holds any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|_, pattern| pattern.strong_count() > 0);
    }

    fn get(&mut self, pattern: &str) -> Result<Arc<Pattern>, PatternError> {
        if let Some(known) = self.0.get(pattern).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let compiled = Arc::new(Pattern::new(pattern)?);
        self.0.insert(pattern.into(), Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

impl<'a> Patterns<'a> {
    /// None so far, and no more than `most` bytes in all.
    pub fn within(most: usize, compiled: &'a mut Compiled) -> Self {
        Self {
            compiled,
            held: HashMap::new(),
            size: 0,
            refused: 0,
            most,
        }
    }

    /// An expression, which counts once however often it is asked for.
    ///
    /// # Errors
    /// When it is not accepted, or does not fit beside those before it.
    pub fn get(&mut self, pattern: &str) -> Result<Arc<Pattern>, NotTaken> {
        if let Some(held) = self.held.get(pattern) {
            return Ok(Arc::clone(held));
        }
        // What did not fit must not keep out what does, but to find that out for ever would cost too much.
        if self.refused > self.most {
            return Err(NotTaken::Budget(self.most));
        }
        let compiled = self.compiled.get(pattern);
        let size = compiled.as_ref().map_or_else(PatternError::size, |it| it.size());
        if self.size + size > self.most {
            self.refused += size;
            return Err(NotTaken::Budget(self.most));
        }
        self.size += size;
        let compiled = compiled?;
        self.held.insert(pattern.into(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_an_expression_is_compiled_once_for_as_long_as_it_is_held() {
        let mut compiled = Compiled::default();
        let first = Patterns::within(usize::MAX, &mut compiled).get("^/a").unwrap();
        let again = Patterns::within(usize::MAX, &mut compiled).get("^/a").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        drop((first, again));
        compiled.forget_unused();
        assert!(compiled.0.is_empty());
    }

    #[test]
    fn s1_what_does_not_fit_is_refused_and_repetition_costs_nothing() {
        let size = Pattern::new("^/a").unwrap().size();
        let mut compiled = Compiled::default();
        let mut patterns = Patterns::within(size * 3 / 2, &mut compiled);
        for _ in 0..10 {
            assert!(patterns.get("^/a").is_ok());
        }
        assert!(matches!(patterns.get("^/b"), Err(NotTaken::Budget(_))));
        assert!(patterns.get("^/a").is_ok());
    }
}
