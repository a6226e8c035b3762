//! Which log lines a program writes, in the form that `tracing-subscriber` reads.
//!
//! Its own parser takes a mistyped level for the name of a module, turns that module on, and everything else off: a program that was started with
//! `verbose` would log nothing at all. So whatever takes a filter from a user reads it with this one first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter whose levels are levels: `info`, or `info,smilax_proxy=debug`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

/// Why a text is not a log filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log filter: write error, warn, info, debug, trace, or info,smilax_proxy=debug")]
pub struct LogFilterError(String);

impl LogFilter {
    /// The text as `tracing-subscriber` reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.split(',').map(str::trim).all(is_directive) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LogFilterError(text.to_owned()))
        }
    }
}

/// A level, or `target=level`.
fn is_directive(directive: &str) -> bool {
    let is_target_character = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    match directive.split_once('=') {
        None => LEVELS.contains(&directive),
        Some((target, level)) => {
            !target.is_empty() && target.chars().all(is_target_character) && LEVELS.contains(&level)
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = LogFilterError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_of_modules_are_filters() {
        for text in [
            "info",
            "off",
            "info,smilax_proxy=debug",
            " warn , smilax_core::table=trace ",
        ] {
            assert_eq!(
                text.parse::<LogFilter>().map(String::from),
                Ok(text.trim().to_owned())
            );
        }
    }

    #[test]
    fn a_mistyped_level_is_not_taken_for_the_name_of_a_module() {
        for text in [
            "verbose",
            "lots",
            "",
            "info,",
            "INFO",
            "smilax_proxy=verbose",
            "=debug",
            "a b=info",
        ] {
            assert!(text.parse::<LogFilter>().is_err(), "{text:?}");
        }
    }
}
