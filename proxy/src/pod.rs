//! What a proxy knows of its own pod: from its environment once, and its labels from a file that kubelet keeps.

use std::collections::BTreeMap;

/// Bytes of the file of labels at most.
pub const MOST_LABEL_BYTES: u64 = 1024 * 1024;

/// A line of the file that is not of its form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not of the form key=\"value\"")]
pub struct LabelsError {
    /// Number of the line, from 1.
    line: usize,
}

/// Reads labels as the downward API writes them: `key="value"` in lines, the value quoted as Go does it.
///
/// # Errors
/// [`LabelsError`]; labels that are half read would select other policies than were meant.
pub fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, LabelsError> {
    let mut labels = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let label = line
            .split_once('=')
            .and_then(|(key, quoted)| Some((key.to_owned(), unquote(quoted)?)))
            .ok_or(LabelsError { line: index + 1 })?;
        labels.extend([label]);
    }
    Ok(labels)
}

/// Undoes Go's `strconv.Quote`, as far as values of labels can need it: they hold letters, digits, dots, hyphens and
/// underscores, and what is written for anything else is read too.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(one) = rest.next() {
        match one {
            '"' => return None,
            '\\' => text.push(escaped(&mut rest)?),
            one => text.push(one),
        }
    }
    Some(text)
}

fn escaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match rest.next()? {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        one @ ('"' | '\\' | '\'') => return Some(one),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let hexadecimal: String = rest.take(digits).collect();
    if hexadecimal.len() != digits {
        return None;
    }
    char::from_u32(u32::from_str_radix(&hexadecimal, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_read_as_kubelet_writes_them() {
        let labels = parse_labels("app=\"web\"\napp.kubernetes.io/name=\"a=b\"\nempty=\"\"").unwrap();
        assert_eq!(labels["app"], "web");
        assert_eq!(labels["app.kubernetes.io/name"], "a=b");
        assert_eq!(labels["empty"], "");
        assert!(parse_labels("").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_no_label_is_named() {
        for broken in ["x", "a=b", "a=\"b", "a=\"b\"c\"", "a=\"\\q\"", "a=\"\\x4\""] {
            let text = format!("app=\"web\"\n{broken}\n");
            assert_eq!(parse_labels(&text), Err(LabelsError { line: 2 }), "{broken}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        let labels = parse_labels(r#"a="\"\\\n\t\x41\u00e9""#).unwrap();
        assert_eq!(labels["a"], "\"\\\n\tA\u{e9}");
    }

    proptest! {
        #[test]
        fn every_valid_label_survives(key in "[a-z][a-z./-]{0,20}", value in "[A-Za-z0-9._-]{0,63}") {
            let labels = parse_labels(&format!("{key}=\"{value}\"\n")).unwrap();
            prop_assert_eq!(labels.get(&key), Some(&value));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_labels(&text);
        }
    }
}
