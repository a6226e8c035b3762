//! How answers are shown: as tables for people, or as JSON for programs.

use std::fmt::Write as _;

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
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
    fn of_many_names_the_first_are_given() {
        assert_eq!(named(&["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more");
        assert_eq!(named(&["a"], 3), "a");
    }
}
