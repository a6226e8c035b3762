//! Logging, and its level, which can be changed while the proxy runs.

use std::io::stderr;

use smilax_core::LogFilter;
use smilax_core::log_filter::LogFilterError;
use smilax_core::log_line::LogLines;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The filter in use.
#[derive(Clone, Debug)]
pub struct Level(Option<reload::Handle<EnvFilter, Registry>>);

/// A filter that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// Not a log filter.
    #[error(transparent)]
    Invalid(#[from] LogFilterError),
    /// A log filter that the logging library does not take.
    #[error("the log filter is not accepted: {0}")]
    Rejected(#[from] ParseError),
    /// Logging has ended, or somebody else's logging is in place.
    #[error("the log filter cannot be changed here")]
    Fixed,
}

/// Starts logging to standard error.
///
/// # Errors
/// [`LevelError::Fixed`] when logging was started before, [`LevelError::Rejected`].
pub fn start(filter: &LogFilter, format: Format) -> Result<Level, LevelError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter.as_str())?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => registry
            .with(fmt::layer().with_writer(|| LogLines(stderr())).with_ansi(false))
            .try_init(),
        Format::Json => registry.with(fmt::layer().json().with_writer(stderr)).try_init(),
    };
    started.map_err(|_| LevelError::Fixed)?;
    Ok(Level(Some(handle)))
}

impl Level {
    /// A level that belongs to somebody else, as in tests.
    pub fn fixed() -> Self {
        Self(None)
    }

    /// The filter in use.
    ///
    /// # Errors
    /// [`LevelError::Fixed`].
    pub fn get(&self) -> Result<String, LevelError> {
        let handle = self.0.as_ref().ok_or(LevelError::Fixed)?;
        handle
            .with_current(ToString::to_string)
            .map_err(|_| LevelError::Fixed)
    }

    /// Puts another filter in use.
    ///
    /// # Errors
    /// [`LevelError`].
    pub fn set(&self, filter: &str) -> Result<(), LevelError> {
        let filter: LogFilter = filter.parse()?;
        let parsed = EnvFilter::try_new(filter.as_str())?;
        let handle = self.0.as_ref().ok_or(LevelError::Fixed)?;
        handle.reload(parsed).map_err(|_| LevelError::Fixed)
    }
}
