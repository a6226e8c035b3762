//! An explanation as people and as programs read it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Concerned, Enforces, Explanation};
use crate::output::{View, columns, counted};
use crate::world::text;

/// For people.
pub(crate) fn table(explained: &Explanation, view: View) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "{} {}/{}, generation {}",
        explained.kind, explained.namespace, explained.name, explained.generation
    );
    for condition in &explained.conditions {
        let observed = condition["observedGeneration"].as_i64().unwrap_or_default();
        let about = if observed == explained.generation {
            String::new()
        } else {
            format!(" (about generation {observed})")
        };
        let _ = writeln!(
            out,
            "  {:13} {:8} {}: {}{about}",
            text(condition, "/type"),
            text(condition, "/status"),
            text(condition, "/reason"),
            text(condition, "/message"),
        );
    }
    if explained.conditions.is_empty() {
        let _ = writeln!(
            out,
            "  It has no status yet: does the operator run? smilax check tells."
        );
    }
    for finding in &explained.findings {
        let _ = writeln!(out, "  found: {} ({})", finding.message, finding.reason.as_str());
    }
    if let Some(trouble) = &explained.trouble {
        let _ = writeln!(out, "\nWhat proxies enforce is not known: {trouble}");
    }
    out.push('\n');
    proxies(&mut out, explained, view);
    if !explained.others.is_empty() {
        out.push('\n');
    }
    for sentence in &explained.others {
        let _ = writeln!(out, "{sentence}");
    }
    out
}

fn proxies(out: &mut String, explained: &Explanation, view: View) {
    let concerned = &explained.proxies;
    let accounts: BTreeSet<(&str, &str)> = concerned
        .iter()
        .map(|one| (one.proxy.namespace.as_str(), one.proxy.account.as_str()))
        .collect();
    if concerned.is_empty() {
        out.push_str("It concerns no proxy.\n");
        return;
    }
    let proxies = match concerned.len() {
        1 => "1 proxy".to_owned(),
        many => format!("{many} proxies"),
    };
    let _ = writeln!(
        out,
        "It concerns {proxies} of {}:\n",
        counted(accounts.len(), "account")
    );
    let mut rows: Vec<[String; 7]> = concerned.iter().map(|one| row(one, view)).collect();
    if explained.trouble.is_some() {
        for cell in rows.iter_mut().flat_map(|row| &mut row[2..6]) {
            "-".clone_into(cell);
        }
    }
    let headings = [
        "NAMESPACE/POD",
        "ACCOUNT",
        "ENFORCES",
        "REVISION",
        "STATE",
        "SINCE",
        "THROUGH",
    ];
    out.push_str(&columns(headings, &rows));
    for one in concerned {
        if let Some(reason) = &one.proxy.reason {
            let _ = writeln!(
                out,
                "\n{}/{} rejects the newest: {reason}",
                one.proxy.namespace, one.proxy.pod
            );
        }
    }
}

fn row(one: &Concerned, view: View) -> [String; 7] {
    let proxy = &one.proxy;
    [
        format!("{}/{}", proxy.namespace, proxy.pod),
        proxy.account.clone(),
        enforces(one.enforces),
        match (proxy.revision, proxy.wanted) {
            (Some(revision), Some(wanted)) if revision < wanted => format!("{revision} of {wanted}"),
            (Some(revision), _) => revision.to_string(),
            (None, _) => "-".to_owned(),
        },
        proxy.state.as_str().to_owned(),
        view.since(proxy.since),
        if one.through.is_empty() {
            "-".to_owned()
        } else {
            one.through.join(", ")
        },
    ]
}

fn enforces(what: Enforces) -> String {
    match what {
        Enforces::Generation(generation) => format!("generation {generation}"),
        Enforces::Newest => "the newest".to_owned(),
        Enforces::Older => "something older".to_owned(),
        Enforces::NotYet => "not yet".to_owned(),
        Enforces::Unknown => "-".to_owned(),
    }
}

/// For programs.
pub(crate) fn json(explained: &Explanation) -> Value {
    let proxies: Vec<Value> = explained
        .proxies
        .iter()
        .map(|one| {
            json!({
                "proxy": one.proxy,
                "through": one.through,
                "enforces": enforces(one.enforces),
                "generation": match one.enforces {
                    Enforces::Generation(generation) => Some(generation),
                    _ => None,
                },
            })
        })
        .collect();
    let findings: Vec<Value> = explained
        .findings
        .iter()
        .map(|one| json!({"reason": one.reason.as_str(), "message": one.message}))
        .collect();
    json!({
        "object": {"kind": explained.kind, "namespace": explained.namespace, "name": explained.name},
        "generation": explained.generation,
        "conditions": explained.conditions,
        "findings": findings,
        "proxies": proxies,
        "others": explained.others,
        "trouble": explained.trouble,
    })
}
