//! Prometheus' text formats, as far as two pages become one.
//!
//! Prometheus drops a whole answer for one line that it cannot read, so what the application wrote is read here first.

use http::HeaderValue;

/// What ends a page of OpenMetrics, once.
const END: &str = "# EOF";

/// A form of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`, which every scraper takes.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

/// A line that no scraper reads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is neither a comment nor a sample.
    #[error("line {0} is not a sample in the format that the Content-Type names")]
    Line(usize),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
}

impl Format {
    /// The form that a `Content-Type` names. `None` where it cannot be merged, as protocol buffers, and where it is missing.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "text/plain" => Some(Self::Text),
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            _ => None,
        }
    }

    /// What a scraper takes that sends these `Accept` headers.
    pub(super) fn accepted<'a>(accept: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let mut media_types = accept
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        if media_types.any(|one| Self::of(one) == Some(Self::OpenMetrics)) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// What the application is asked for: nothing that cannot be merged.
    pub(super) fn asked_for(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain;version=0.0.4,*/*;q=0.1",
            Self::OpenMetrics => {
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            }
        })
    }

    /// The `Content-Type` of a page.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// Whether a scraper reads this.
///
/// # Errors
/// [`Malformed`], with the first line that it does not read.
pub(super) fn check(page: &[u8], format: Format) -> Result<(), Malformed> {
    let page = std::str::from_utf8(page).map_err(|_| Malformed::Encoding)?;
    for (index, line) in page.lines().enumerate() {
        let is_readable = match (line.strip_prefix('#'), format) {
            (Some(comment), _) => is_comment(comment, format),
            (None, Format::Text) => line.is_empty() || is_sample(line, format),
            (None, Format::OpenMetrics) => is_sample(line, format),
        };
        if !is_readable {
            return Err(Malformed::Line(index + 1));
        }
    }
    Ok(())
}

/// The application's page as it stands behind the sidecar's, which comes first: of two samples of one series, Prometheus
/// keeps the first.
pub(super) fn behind(application: &[u8], format: Format) -> Vec<u8> {
    let mut page = Vec::with_capacity(application.len() + END.len() + 2);
    for line in application.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // An end in the middle would hide what follows, and be an error.
        if !line.is_empty() && line.trim_ascii_end() != END.as_bytes() {
            page.extend_from_slice(line);
            page.push(b'\n');
        }
    }
    if format == Format::OpenMetrics {
        page.extend_from_slice(END.as_bytes());
        page.push(b'\n');
    }
    page
}

/// Our own page, which is text, in OpenMetrics: there, a counter is declared without the `_total` of its samples.
pub(super) fn as_open_metrics(page: &[u8]) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    let is_counter = |name: &str| page.contains(&format!("# TYPE {name} counter\n"));
    let mut written = String::with_capacity(page.len());
    for line in page.lines() {
        let declared = ["# HELP ", "# TYPE "].into_iter().find_map(|word| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            let family = name.strip_suffix("_total")?;
            is_counter(name).then(|| format!("{word}{family} {rest}"))
        });
        written.push_str(declared.as_deref().unwrap_or(line));
        written.push('\n');
    }
    written.into_bytes()
}

/// `name{label="value"} 1.5 1700000000 # {trace_id="x"} 1`: a name, labels, a value; then a time, and in OpenMetrics an exemplar.
fn is_sample(line: &str, format: Format) -> bool {
    let Some(rest) = after_name(line).and_then(after_labels) else {
        return false;
    };
    let (sample, exemplar) = match rest.split_once('#') {
        Some((sample, exemplar)) => (sample, Some(exemplar)),
        None => (rest, None),
    };
    let mut words = sample.split_ascii_whitespace();
    let is_valued = words.next().is_some_and(is_number);
    let is_time = |word: &str| match format {
        Format::Text => word.parse::<i64>().is_ok(),
        Format::OpenMetrics => is_number(word),
    };
    let is_timed = words.next().is_none_or(is_time) && words.next().is_none();
    is_valued
        && is_timed
        && exemplar.is_none_or(|exemplar| format == Format::OpenMetrics && is_exemplar(exemplar))
}

/// What a scraper does not skip must be a declaration. In OpenMetrics there is nothing to skip.
fn is_comment(comment: &str, format: Format) -> bool {
    let mut words = comment.split_ascii_whitespace();
    let (keyword, name, value) = (words.next(), words.next(), words.next());
    let is_named = name.is_some_and(|name| after_name(&format!("{name} ")) == Some(" "));
    match (keyword, format) {
        (Some("HELP"), _) => is_named,
        (Some("TYPE"), _) => {
            is_named && words.next().is_none() && value.is_some_and(|value| is_type(value, format))
        }
        (Some("UNIT"), Format::OpenMetrics) => {
            is_named && value.is_none_or(|unit| name.is_some_and(|name| name.ends_with(&format!("_{unit}"))))
        }
        (Some("EOF"), Format::OpenMetrics) => name.is_none(),
        (_, Format::OpenMetrics) => false,
        (_, Format::Text) => true,
    }
}

fn is_type(word: &str, format: Format) -> bool {
    match word {
        "counter" | "gauge" | "histogram" | "summary" => true,
        "untyped" => format == Format::Text,
        "gaugehistogram" | "info" | "stateset" | "unknown" => format == Format::OpenMetrics,
        _ => false,
    }
}

fn is_exemplar(text: &str) -> bool {
    let rest = text.trim_start();
    let values = rest.strip_prefix('{').and_then(|_| after_labels(rest));
    values.is_some_and(|values| {
        let count = values.split_ascii_whitespace().count();
        (1..=2).contains(&count) && values.split_ascii_whitespace().all(is_number)
    })
}

/// Names as both formats write them outside of quotes.
fn after_name(line: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_part(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let begins = name.chars().next()?;
    (!begins.is_ascii_digit() && rest.starts_with(['{', ' ', '\t'])).then_some(rest)
}

/// What follows the labels in braces, or all of it without any.
fn after_labels(text: &str) -> Option<&str> {
    let Some(mut rest) = text.trim_start_matches([' ', '\t']).strip_prefix('{') else {
        return Some(text);
    };
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (name, value) = rest.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        rest = after_quoted(value.trim_start()).filter(|_| is_name)?;
    }
}

/// What follows a value in quotes, in which a backslash takes the next character along.
fn after_quoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let mut characters = inner.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return inner.get(index + 1..),
            '\\' => drop(characters.next()?),
            _ => {}
        }
    }
    None
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests;
