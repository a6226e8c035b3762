//! Proxies as people and as programs read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::state::{Proxy, State};
use crate::output::{columns, span};

const HEADINGS: [&str; 8] = [
    "NAMESPACE/POD",
    "ACCOUNT",
    "VERSION",
    "REVISION",
    "WANTED",
    "STATE",
    "SINCE",
    "CERTIFICATE EXPIRES",
];

/// A line for each proxy, and how many there are in each state; after them what is missing. `now` is in seconds since
/// the epoch.
pub(crate) fn table(proxies: &[Proxy], missing: &[String], now: u64) -> String {
    let mut text = if proxies.is_empty() {
        "There is no such proxy.\n".to_owned()
    } else {
        lines(proxies, now)
    };
    for sentence in missing {
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n{sentence}");
    }
    text
}

fn lines(proxies: &[Proxy], now: u64) -> String {
    let rows: Vec<[String; 8]> = proxies.iter().map(|proxy| row(proxy, now)).collect();
    let mut text = columns(HEADINGS, &rows);
    for proxy in proxies {
        if let Some(reason) = &proxy.reason {
            let name = format!("{}/{}", proxy.namespace, proxy.pod);
            let _ = match proxy.state {
                State::Tampered => writeln!(text, "\n{name}: {reason}"),
                _ => writeln!(text, "\n{name} rejects {}: {reason}", shown(proxy.wanted)),
            };
        }
    }
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for proxy in proxies {
        *states.entry(proxy.state).or_default() += 1;
    }
    let states: Vec<String> = states
        .iter()
        .map(|(state, count)| format!("{count} {}", state.as_str()))
        .collect();
    let count = match proxies.len() {
        1 => "1 proxy".to_owned(),
        many => format!("{many} proxies"),
    };
    let _ = writeln!(text, "\n{count}: {}", states.join(", "));
    text
}

/// The same for programs.
pub(crate) fn json(proxies: &[Proxy], missing: &[String]) -> Value {
    json!({ "proxies": proxies, "missing": missing })
}

fn row(proxy: &Proxy, now: u64) -> [String; 8] {
    let ago = |at: Option<u64>| at.map_or("-".to_owned(), |at| span(now.saturating_sub(at)));
    [
        format!("{}/{}", proxy.namespace, proxy.pod),
        proxy.account.clone(),
        proxy.version.clone(),
        shown(proxy.revision),
        shown(proxy.wanted),
        proxy.state.as_str().to_owned(),
        ago(proxy.since),
        match proxy.certificate_expires {
            None => "-".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(at) => format!("in {}", span(at - now)),
        },
    ]
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
