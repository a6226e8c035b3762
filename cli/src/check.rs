//! What is right and what is wrong, decided from a snapshot of the cluster.

mod before;
mod definitions;
mod installation;
mod keys;
mod objects;
mod pods;
mod refused;
mod udp;
mod versions;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::controller::is_gone;
use crate::operator::{self, Operator};
use crate::output::{OutputArgs, counted};
use crate::world::text;

pub(crate) use before::{Before, before};
pub(crate) use refused::why as refused;
pub(crate) use versions::Versions;

/// Group, kind and plural of every SMI kind.
pub(crate) const SMI_KINDS: [(&str, &str, &str); 6] = [
    ("split.smi-spec.io", "TrafficSplit", "trafficsplits"),
    ("specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups"),
    ("specs.smi-spec.io", "TCPRoute", "tcproutes"),
    ("specs.smi-spec.io", "UDPRoute", "udproutes"),
    ("access.smi-spec.io", "TrafficTarget", "traffictargets"),
    ("access.smi-spec.io", "IdentityBinding", "identitybindings"),
];

/// How it is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Check whether Smilax can be installed: versions, your rights, other meshes, nodes.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) pre: bool,
    /// Check again until nothing fails, for this many seconds at most [default if no number is given: 120].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "120")]
    pub(crate) wait: Option<u64>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What was read from the cluster, as raw objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) namespace: String,
    pub(crate) definitions: Vec<Value>,
    pub(crate) deployments: Vec<Value>,
    pub(crate) mutating: Vec<Value>,
    pub(crate) validating: Vec<Value>,
    pub(crate) namespaces: Vec<Value>,
    pub(crate) meshes: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) objects: Vec<Value>,
    /// What else labels and annotations of the mesh are written on, each with its kind.
    pub(crate) keyed: Vec<Value>,
    /// Endpoints of Services, each with its kind.
    pub(crate) slices: Vec<Value>,
    /// Name of the operator's pod that leads, where that may be seen.
    pub(crate) leader: Option<String>,
}

impl Snapshot {
    /// The operator of the installation that is asked about.
    fn operator(&self) -> Option<Operator<'_>> {
        Operator::find(&self.deployments, &self.pods, self.leader.as_deref())
    }

    /// Everything that policy is compiled from, each object with its kind.
    fn policy(&self) -> Vec<Value> {
        let of_kind = |kind: &'static str, all: &[Value]| -> Vec<Value> {
            let typed = all.iter().cloned().map(|mut object| {
                object["kind"] = Value::from(kind);
                object["apiVersion"] = Value::from("v1");
                object
            });
            typed.collect()
        };
        let accounts_and_services = self
            .keyed
            .iter()
            .filter(|one| matches!(text(one, "/kind"), "ServiceAccount" | "Service"));
        [
            of_kind("Namespace", &self.namespaces),
            of_kind("Pod", &self.pods),
            accounts_and_services.cloned().collect(),
            self.slices.clone(),
            self.settings(),
            self.objects.clone(),
        ]
        .concat()
    }

    /// What decides about the settings of the whole mesh: the MeshConfigs, and the operator as it runs. Each with its kind.
    fn settings(&self) -> Vec<Value> {
        let operator = self
            .operator()
            .map(|operator| ("Deployment", operator.in_force()));
        let meshes = self.meshes.iter().cloned().map(|mesh| ("MeshConfig", mesh));
        let all = meshes.chain(operator).map(|(kind, mut object)| {
            object["kind"] = Value::from(kind);
            object
        });
        all.collect()
    }

    /// Namespaces in which an operator runs.
    fn installations(&self) -> BTreeSet<&str> {
        let pods = self
            .pods
            .iter()
            .filter(|pod| operator::is_pod(pod) && !is_gone(pod));
        pods.map(|pod| text(pod, "/metadata/namespace")).collect()
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) subject: String,
    pub(crate) message: String,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// Worth a look.
    Notice,
    /// Wrong.
    Failed,
}

/// Looks at everything.
pub(crate) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    definitions::check(snapshot, &mut findings);
    installation::operator(snapshot, &mut findings);
    installation::webhooks(snapshot, &mut findings);
    installation::authority(snapshot, &mut findings);
    pods::check(snapshot, &mut findings);
    refused::check(snapshot, &mut findings);
    udp::check(snapshot, &mut findings);
    keys::check(snapshot, &mut findings);
    objects::check(snapshot, &mut findings);
    findings
}

/// One line for each finding.
pub(crate) fn table(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.subject.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Good => "ok    ",
            Verdict::Notice => "notice",
            Verdict::Failed => "FAILED",
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{word}  {:width$}  {}", finding.subject, finding.message);
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .count();
    let notices = findings.iter().any(|finding| finding.verdict == Verdict::Notice);
    let _ = match failed {
        0 if notices => writeln!(text, "\nNothing failed. What the notices say is worth a look."),
        0 => writeln!(text, "\nAll is well."),
        failed => writeln!(text, "\n{} failed.", counted(failed, "check")),
    };
    text
}

/// The same for programs.
pub(crate) fn json(findings: &[Finding]) -> Value {
    let all = findings.iter().map(|finding| {
        let verdict = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Notice => "notice",
            Verdict::Failed => "failed",
        };
        json!({"verdict": verdict, "subject": finding.subject, "message": finding.message})
    });
    json!({"findings": all.collect::<Vec<_>>()})
}

/// Whether something failed.
pub(crate) fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Failed)
}

fn good(subject: &str, message: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Good,
        subject: subject.to_owned(),
        message: message.into(),
    }
}

fn notice(subject: &str, message: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Notice,
        subject: subject.to_owned(),
        message: message.into(),
    }
}

fn failed(subject: &str, message: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Failed,
        subject: subject.to_owned(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
