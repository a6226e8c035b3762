//! How much of what is found about one object is told: its owner must learn of every mistake, but an object with hundreds
//! of them is no reason for hundreds of Events, or for a status that fills etcd.

use std::collections::BTreeSet;

use smilax_core::ObjectRef;

use crate::diagnostic::{Diagnostic, Reason};

/// Findings about one object that get an Event each; one more counts the others.
pub const MOST_EVENTS: usize = 10;
/// Findings that one condition quotes.
const MOST_QUOTED: usize = 10;
/// Bytes of the findings that one condition quotes. The API takes 32,768.
const LONGEST: usize = 4096;

/// What Events say: the first findings one by one, and how many there are beside them. Another number is another finding,
/// so that a mistake among many is still told.
pub fn announcements(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    let distinct: Vec<&Diagnostic> = diagnostics.iter().filter(|one| seen.insert(*one)).collect();
    let (first, others) = distinct.split_at(distinct.len().min(MOST_EVENTS));
    let more = others.first().map(|other| more(&other.object, others.len()));
    first.iter().copied().cloned().chain(more).collect()
}

fn more(object: &ObjectRef, count: usize) -> Diagnostic {
    let ObjectRef {
        kind,
        namespace,
        name,
        ..
    } = object;
    let message = match &**kind {
        "ServiceAccount" | "Service" | "Namespace" => {
            format!("and {count} more findings, which are told as the others are corrected")
        }
        _ => format!(
            "and {count} more findings: smilax explain {kind}/{name} --namespace {namespace} shows all"
        ),
    };
    Diagnostic {
        object: object.clone(),
        reason: Reason::MoreFindings,
        message,
    }
}

/// What a condition says of several findings.
pub(super) fn quoted<'a>(messages: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = messages.collect();
    let mut text = String::new();
    let mut quoted = 0;
    for message in all.iter().take(MOST_QUOTED) {
        let separator = if text.is_empty() { "" } else { "; " };
        if quoted > 0 && text.len() + separator.len() + message.len() > LONGEST {
            break;
        }
        text.push_str(separator);
        text.push_str(&shortened(message));
        quoted += 1;
    }
    match all.len() - quoted {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// A text that is no longer than what a condition quotes.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST - 3).rev().find(|&end| text.is_char_boundary(end));
    format!("{}...", text.get(..end.unwrap_or_default()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(number: usize) -> Diagnostic {
        Diagnostic {
            object: ObjectRef {
                kind: "TrafficSplit".into(),
                namespace: "shop".into(),
                name: "web".into(),
                generation: 1,
            },
            reason: Reason::BackendNotFound,
            message: format!("Service web-{number} does not exist"),
        }
    }

    fn told(count: usize) -> Vec<Diagnostic> {
        announcements(&(0..count).map(missing).collect::<Vec<_>>())
    }

    #[test]
    fn s29_every_finding_is_announced_while_there_are_few() {
        assert_eq!(
            told(MOST_EVENTS),
            (0..MOST_EVENTS).map(missing).collect::<Vec<_>>()
        );
    }

    #[test]
    fn s29_of_many_findings_the_first_are_announced_and_the_others_counted() {
        let told = told(250);
        assert_eq!(told.len(), MOST_EVENTS + 1);
        assert_eq!(told[MOST_EVENTS].reason, Reason::MoreFindings);
        assert!(told[MOST_EVENTS].message.starts_with("and 240 more findings"));
    }

    #[test]
    fn s29_one_more_mistake_among_many_is_announced() {
        let (before, after) = (told(250), told(251));
        let new: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
        assert_eq!(new.len(), 1);
    }

    #[test]
    fn s29_a_finding_that_is_made_twice_is_announced_once() {
        assert_eq!(announcements(&[missing(1), missing(1)]), [missing(1)]);
    }

    #[test]
    fn s29_a_condition_quotes_some_findings_and_counts_the_others() {
        let all: Vec<String> = (0..12).map(|one| one.to_string()).collect();
        let text = quoted(all.iter().map(String::as_str));
        assert_eq!(text, "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more");
        assert_eq!(quoted(["a", "b"].into_iter()), "a; b");
    }

    #[test]
    fn s29_a_condition_is_no_longer_than_the_api_takes_however_long_its_findings_are() {
        for length in [LONGEST, 99_999] {
            let long = "é".repeat(length);
            let text = quoted([long.as_str(); 250].into_iter());
            assert!(text.len() < LONGEST + 32, "{}", text.len());
            assert!(text.ends_with("...; and 249 more"));
        }
    }
}
