//! What a proxy says in words, made fit to be shown: it may come from a proxy that somebody took over, and ends in terminals,
//! logs and statuses. Pure.

/// Characters that are kept of it.
pub(crate) const LONGEST: usize = 256;
const CUT: &str = "...";

/// One line of printable characters. Said twice, it stays the same.
pub(crate) fn said(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(LONGEST + 1).collect();
    let line = words.join(" ");
    let mut characters = line.chars().map(shown);
    let kept: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_none() {
        return kept;
    }
    kept.chars()
        .take(LONGEST - CUT.len())
        .chain(CUT.chars())
        .collect()
}

/// Quotes are what such a text is shown in. Others that Rust would escape cannot be seen, or change how others are shown.
fn shown(c: char) -> char {
    match c {
        '"' => '\'',
        '\'' | '\\' => c,
        _ if c.escape_debug().len() == 1 => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_what_a_proxy_says_is_one_line_of_printable_characters() {
        let shown = said("routes[0]:\r\n  \u{1b}[31m \"no\"\u{202e}\u{200b}\0 é \\d");
        assert_eq!(
            shown,
            "routes[0]: \u{fffd}[31m 'no'\u{fffd}\u{fffd}\u{fffd} é \\d"
        );
    }

    #[test]
    fn s30_of_what_a_proxy_says_256_characters_are_kept() {
        for word in ["é", "word ", "\u{202e}"] {
            let shown = said(&word.repeat(9999));
            assert_eq!(shown.chars().count(), LONGEST);
            assert!(shown.ends_with(CUT));
        }
        let whole = "é".repeat(LONGEST);
        assert_eq!(said(&whole), whole);
    }

    #[test]
    fn s30_what_was_made_fit_to_be_shown_stays_as_it_is() {
        for text in ["", " a  b ", "\u{7}\"", &"x ".repeat(9999)] {
            let once = said(text);
            assert_eq!(said(&once), once);
        }
    }
}
