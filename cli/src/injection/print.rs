//! Explanations as people and as programs read them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Explained;
use super::why::{Sidecar, Why};
use crate::output::{View, Width, counted, named};

/// Pods that are named of a workload; more are counted.
const NAMED: usize = 3;

/// A block for each workload.
pub(crate) fn table(all: &Explained, view: View) -> String {
    let blocks: Vec<String> = all.workloads.iter().map(|one| block(one, view)).collect();
    let mut text = match blocks.as_slice() {
        [] => "No pods found, and no workload that creates any.\n".to_owned(),
        blocks => blocks.join("\n"),
    };
    for sentence in &all.unseen {
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n{sentence}");
    }
    text
}

fn block(one: &Why, view: View) -> String {
    let mut text = String::new();
    let most = match view.width {
        Width::Usual => NAMED,
        Width::Wide => usize::MAX,
    };
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}: {}", one.controller.subject(), word(one.sidecar));
    if !one.pods.is_empty() {
        let count = counted(one.pods.len(), "pod");
        let _ = writeln!(text, "  pods:  {count}: {}", named(&one.pods, most));
    }
    let _ = writeln!(text, "  rule:  {}", one.rule);
    let _ = writeln!(text, "  why:   {}", one.reason);
    if let Some(next) = &one.next {
        let _ = writeln!(text, "  next:  {next}");
    }
    text
}

fn word(sidecar: Sidecar) -> &'static str {
    match sidecar {
        Sidecar::Present => "has a sidecar",
        Sidecar::LeftAlone => "no sidecar, as configured",
        Sidecar::Failing => "SIDECAR NOT RUNNING",
        Sidecar::Lacking => "SIDECAR MISSING",
        Sidecar::Refused => "PODS REFUSED",
        Sidecar::Expected => "new pods get a sidecar",
    }
}

/// The same for programs.
pub(crate) fn json(all: &Explained) -> Value {
    let workloads = all.workloads.iter().map(|one| {
        json!({
            "namespace": one.controller.namespace,
            "kind": one.controller.api_kind(),
            "name": one.controller.name,
            "pods": one.pods,
            "sidecar": match one.sidecar {
                Sidecar::Present => "present",
                Sidecar::LeftAlone => "leftAlone",
                Sidecar::Failing => "failing",
                Sidecar::Lacking => "lacking",
                Sidecar::Refused => "refused",
                Sidecar::Expected => "expected",
            },
            "rule": one.rule,
            "reason": one.reason,
            "next": one.next,
        })
    });
    json!({"workloads": workloads.collect::<Vec<_>>(), "unseen": all.unseen})
}
