//! A plan as people and as programs read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use smilax_compiler::{Diagnostic, Severity};

use super::reach::Caller;
use super::{AccountChange, Change, Difference, Plan};
use crate::output::{counted, named};

/// Callers that are named; more are counted.
const NAMED: usize = 10;

/// For people. Accounts that change alike are shown together.
pub(crate) fn table(plan: &Plan) -> String {
    let mut text = String::new();
    for (names, pods, change) in alike(&plan.accounts) {
        // Writing to a String does not fail.
        let _ = match change {
            Change::Added => writeln!(text, "+ {names}: a new configuration ({})", counted(pods, "pod")),
            Change::Removed => writeln!(
                text,
                "- {names}: no configuration any more ({})",
                counted(pods, "pod")
            ),
            Change::Changed(differences) => {
                let _ = writeln!(text, "{names} ({})", counted(pods, "pod"));
                shown(&mut text, differences);
                Ok(())
            }
        };
    }
    for one in plan.accounts.iter().filter(|one| !one.reach.is_empty()) {
        let _ = writeln!(text, "access to {}", one.workload);
        for (word, callers) in [
            ("gain", &one.reach.gain),
            ("lose", &one.reach.lose),
            ("limited to a part", &one.reach.narrow),
            ("no longer limited", &one.reach.widen),
        ] {
            if !callers.is_empty() {
                let _ = writeln!(text, "    {word}: {}", named(callers, NAMED));
            }
        }
    }
    for (sign, findings) in [("+", &plan.appearing), ("-", &plan.disappearing)] {
        for finding in findings {
            let _ = writeln!(
                text,
                "{sign} {} {}: {} ({})",
                word(finding),
                finding.object,
                finding.message,
                finding.reason.as_str()
            );
        }
    }
    if plan.is_empty() {
        let _ = writeln!(
            text,
            "Nothing changes for any of {}.",
            counted(plan.known, "account")
        );
        return text;
    }
    let pods: usize = plan.accounts.iter().map(|one| one.pods).sum();
    let _ = writeln!(
        text,
        "\n{} of {} would change, with {}. Findings: {} new, {} resolved.",
        plan.accounts.len(),
        counted(plan.known, "account"),
        counted(pods, "pod"),
        plan.appearing.len(),
        plan.disappearing.len(),
    );
    text
}

/// For programs.
pub(crate) fn json(plan: &Plan) -> Value {
    let accounts: Vec<Value> = plan
        .accounts
        .iter()
        .map(|one| {
            let (change, differences) = match &one.change {
                Change::Added => ("added", Vec::new()),
                Change::Removed => ("removed", Vec::new()),
                Change::Changed(differences) => ("changed", differences.iter().map(difference).collect()),
            };
            let mut account = json!({
                "account": one.workload.to_string(), "pods": one.pods, "change": change, "differences": differences,
            });
            if !one.reach.is_empty() {
                let callers = |all: &[Caller]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
                account["access"] = json!({
                    "gain": callers(&one.reach.gain), "lose": callers(&one.reach.lose),
                    "narrow": callers(&one.reach.narrow), "widen": callers(&one.reach.widen),
                });
            }
            account
        })
        .collect();
    let findings = |all: &[Diagnostic]| all.iter().map(finding).collect::<Vec<Value>>();
    json!({
        "accounts": accounts,
        "findings": {"appear": findings(&plan.appearing), "disappear": findings(&plan.disappearing)},
    })
}

fn alike(accounts: &[AccountChange]) -> Vec<(String, usize, &Change)> {
    let mut groups: Vec<(String, usize, &Change)> = Vec::new();
    for one in accounts {
        match groups.iter_mut().find(|(_, _, change)| **change == one.change) {
            Some((names, pods, _)) => {
                let _ = write!(names, ", {}", one.workload);
                *pods += one.pods;
            }
            None => groups.push((one.workload.to_string(), one.pods, &one.change)),
        }
    }
    groups
}

fn shown(text: &mut String, differences: &[Difference]) {
    let mut subjects: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    for one in differences {
        subjects.entry(&one.subject).or_default().push(one);
    }
    for (subject, differences) in subjects {
        let _ = writeln!(text, "    {subject}");
        for one in differences {
            let aspect = &one.aspect;
            let _ = match (&one.before, &one.after) {
                (Some(before), Some(after)) => {
                    let _ = writeln!(text, "      ~ {aspect}");
                    let _ = writeln!(text, "          before: {before}");
                    writeln!(text, "          after:  {after}")
                }
                (None, Some(after)) => writeln!(text, "      + {aspect}: {after}"),
                (Some(before), None) => writeln!(text, "      - {aspect}: {before}"),
                (None, None) => Ok(()),
            };
        }
    }
}

fn difference(one: &Difference) -> Value {
    json!({"subject": one.subject, "aspect": one.aspect, "before": one.before, "after": one.after})
}

fn finding(one: &Diagnostic) -> Value {
    json!({
        "object": one.object.to_string(),
        "severity": word(one),
        "reason": one.reason.as_str(),
        "message": one.message,
    })
}

fn word(finding: &Diagnostic) -> &'static str {
    match finding.reason.severity() {
        Severity::Rejected => "rejected",
        Severity::Unresolved => "unresolved",
        Severity::Withheld => "withheld",
        Severity::Notice => "notice",
    }
}
