//! Answers as people and as programs read them.

use std::fmt;

use serde_json::{Value, json};

use super::answer::{Answer, Verdict};

/// Pods that are listed for one answer at most.
const MOST_PODS: usize = 5;

/// A line for each answer.
pub(crate) fn table(answers: &[Answer]) -> String {
    let lines: Vec<String> = answers.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

/// The same for programs.
pub(crate) fn json(answers: &[Answer]) -> Value {
    let all = answers.iter().map(|answer| {
        let pods = answer
            .pods
            .iter()
            .map(|(from, to)| json!({"from": from, "to": to}));
        json!({
            "verdict": word(answer.verdict),
            "caller": answer.caller,
            "called": answer.called.to_string(),
            "port": answer.port,
            "reason": answer.why,
            "pods": pods.collect::<Vec<_>>(),
        })
    });
    json!({"answers": all.collect::<Vec<_>>()})
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Audited => "audited",
        Verdict::Denied => "denied",
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = word(self.verdict);
        let Self {
            caller, called, port, ..
        } = self;
        write!(f, "{word:7}  {caller} -> {called} port {port}: {}", self.why)?;
        for (from, to) in self.pods.iter().take(MOST_PODS) {
            let from = if from.is_empty() { caller } else { from };
            write!(f, "\n         {from} -> {to}")?;
        }
        match self.pods.len().checked_sub(MOST_PODS) {
            Some(more @ 1..) => write!(f, "\n         and {more} more"),
            _ => Ok(()),
        }
    }
}
