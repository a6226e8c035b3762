//! Proxies as people and as programs read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::state::{Proxy, State};
use crate::controller::Controller;
use crate::output::{View, Width, columns, first};

const HEADINGS: [&str; 9] = [
    "NAMESPACE/POD",
    "ACCOUNT",
    "VERSION",
    "REVISION",
    "WANTED",
    "STATE",
    "SINCE",
    "CERTIFICATE EXPIRES",
    // In a wide table only.
    "NODE",
];

/// A line for each proxy, and how many there are in each state; after them what is missing.
pub(crate) fn table(proxies: &[Proxy], missing: &[String], idle: &[Controller], view: View) -> String {
    let mut text = if proxies.is_empty() {
        "No proxies found.\n".to_owned()
    } else {
        lines(proxies, view)
    };
    if !idle.is_empty() {
        let all: Vec<String> = idle.iter().map(Controller::subject).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "\nScaled to 0, so without a proxy: {}", all.join(", "));
    }
    for sentence in missing {
        let _ = writeln!(text, "\n{sentence}");
    }
    text
}

fn lines(proxies: &[Proxy], view: View) -> String {
    let rows: Vec<[String; 9]> = proxies.iter().map(|proxy| row(proxy, view)).collect();
    let mut text = match view.width {
        Width::Usual => {
            let rows: Vec<[String; 8]> = rows.into_iter().map(|row| first(&row)).collect();
            columns(first(&HEADINGS), &rows)
        }
        Width::Wide => columns(HEADINGS, &rows),
    };
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
pub(crate) fn json(proxies: &[Proxy], missing: &[String], idle: &[Controller]) -> Value {
    let idle: Vec<String> = idle.iter().map(Controller::subject).collect();
    json!({ "proxies": proxies, "missing": missing, "scaledToZero": idle })
}

fn row(proxy: &Proxy, view: View) -> [String; 9] {
    [
        format!("{}/{}", proxy.namespace, proxy.pod),
        proxy.account.clone(),
        proxy.version.clone(),
        shown(proxy.revision),
        shown(proxy.wanted),
        proxy.state.as_str().to_owned(),
        view.since(proxy.since),
        view.expiry(proxy.certificate_expires),
        proxy.node.clone(),
    ]
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
