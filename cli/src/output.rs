//! How answers are shown: as tables for people, or as JSON and YAML for programs.

use std::fmt::Write as _;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns, and times in full.
    Wide,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct OutputArgs {
    /// Output format: table, wide (more columns and full times), json or yaml.
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) output: Output,
}

/// How much a table shows, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// In seconds since the epoch.
    now: u64,
    pub(crate) width: Width,
}

/// How much a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// What fits on a line.
    Usual,
    /// Everything.
    Wide,
}

impl OutputArgs {
    /// The answer in the form that was asked for. `now` is in seconds since the epoch.
    ///
    /// # Errors
    /// When it cannot be written in that form.
    pub(crate) fn render(
        self,
        now: u64,
        table: impl FnOnce(View) -> String,
        value: impl FnOnce() -> Value,
    ) -> anyhow::Result<String> {
        let view = |width| View { now, width };
        Ok(match self.output {
            Output::Table => table(view(Width::Usual)),
            Output::Wide => table(view(Width::Wide)),
            Output::Json => format!("{:#}\n", value()),
            Output::Yaml => {
                serde_saphyr::to_string(&value()).context("the answer cannot be written as YAML")?
            }
        })
    }
}

impl View {
    /// A table of usual width.
    pub(crate) fn usual(now: u64) -> Self {
        let width = Width::Usual;
        Self { now, width }
    }

    /// A wide table.
    #[cfg(test)]
    pub(crate) fn wide(now: u64) -> Self {
        let width = Width::Wide;
        Self { now, width }
    }

    /// How long ago something was; the time itself in a wide table.
    pub(crate) fn since(self, at: Option<u64>) -> String {
        self.shown(at, |at| span(self.now.saturating_sub(at)))
    }

    /// When something runs out.
    pub(crate) fn expiry(self, at: Option<u64>) -> String {
        self.shown(at, |at| {
            if at <= self.now {
                format!("expired {} ago", span(self.now - at))
            } else {
                format!("in {}", span(at - self.now))
            }
        })
    }

    fn shown(self, at: Option<u64>, relative: impl FnOnce(u64) -> String) -> String {
        match (at, self.width) {
            (None, _) => "-".to_owned(),
            (Some(at), Width::Usual) => relative(at),
            (Some(at), Width::Wide) => rfc3339(at),
        }
    }
}

/// A time in seconds since the epoch as RFC 3339 writes it.
pub(crate) fn rfc3339(at: u64) -> String {
    let timestamp = i64::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_second(at).ok());
    timestamp.map_or_else(|| at.to_string(), |timestamp| timestamp.to_string())
}

/// The same of a field that is shown to programs.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn as_rfc3339<S: Serializer>(at: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

/// A number of things, in words.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

/// The first of these names, and how many more there are.
pub(crate) fn named(names: &[impl ToString], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(ToString::to_string).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Rows under their headings, each column as wide as its widest cell.
pub(crate) fn columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, &widths, &headings);
    for row in rows {
        line(&mut text, &widths, &row.each_ref().map(String::as_str));
    }
    text
}

/// The first cells of a row.
pub(crate) fn first<T: Clone, const ALL: usize, const SOME: usize>(row: &[T; ALL]) -> [T; SOME] {
    const { assert!(SOME <= ALL, "a row has no more cells than it has") };
    std::array::from_fn(|index| row[index].clone())
}

fn line(text: &mut String, widths: &[usize], cells: &[&str]) {
    let start = text.len();
    for (width, cell) in widths.iter().zip(cells) {
        // Writing to a String does not fail.
        let _ = write!(text, "{cell:width$}   ");
    }
    let end = start + text[start..].trim_end().len();
    text.truncate(end);
    text.push('\n');
}

/// A span of time as `kubectl` writes ages: 45s, 12m, 3h5m, 4d.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_shows_times_in_full() {
        let (at, now) = (1_764_115_200, 1_764_115_260);
        assert_eq!(View::usual(now).since(Some(at)), "60s");
        assert_eq!(View::wide(now).since(Some(at)), "2025-11-26T00:00:00Z");
        assert_eq!(View::usual(now).expiry(Some(at)), "expired 60s ago");
        assert_eq!(View::wide(now).expiry(None), "-");
    }

    #[test]
    fn every_form_says_the_same() {
        let render = |output| {
            let value = || serde_json::json!({"name": "web", "weights": [90, 10]});
            let table = |view: View| format!("{:?}", view.width);
            OutputArgs { output }.render(0, table, value).unwrap()
        };
        assert_eq!(render(Output::Table), "Usual");
        assert_eq!(render(Output::Wide), "Wide");
        let json: Value = serde_json::from_str(&render(Output::Json)).unwrap();
        let yaml: Value = serde_saphyr::from_str(&render(Output::Yaml)).unwrap();
        assert_eq!(json, yaml);
    }

    #[test]
    fn of_many_names_the_first_are_given() {
        assert_eq!(named(&["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more");
        assert_eq!(named(&["a"], 3), "a");
    }
}
