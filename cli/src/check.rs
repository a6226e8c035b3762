//! What is right and what is wrong, decided from a snapshot of the cluster.

mod before;
mod definitions;
mod keys;
mod pods;
mod udp;
mod versions;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::output::{OutputArgs, counted};

pub(crate) use before::{Before, before};
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
    operator(snapshot, &mut findings);
    webhooks(snapshot, &mut findings);
    authority(snapshot, &mut findings);
    pods::check(snapshot, &mut findings);
    udp::check(snapshot, &mut findings);
    keys::check(snapshot, &mut findings);
    objects(snapshot, &mut findings);
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

fn is_operator(deployment: &Value) -> bool {
    deployment["metadata"]["name"] == "smilax-operator"
        || deployment["metadata"]["labels"]["app.kubernetes.io/name"] == "smilax"
}

fn operator_version(deployment: &Value) -> &str {
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or_default();
    image.rsplit_once(':').map_or("unknown", |(_, tag)| tag)
}

fn operator(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let Some(deployment) = snapshot.deployments.iter().find(|one| is_operator(one)) else {
        findings.push(failed(
            "operator",
            format!(
                "there is no Deployment smilax-operator in namespace {0}; run helm upgrade --install smilax charts/smilax --namespace {0}, or name its namespace with --smilax-namespace",
                snapshot.namespace
            ),
        ));
        return;
    };
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
    let version = operator_version(deployment);
    findings.push(match ready {
        0 => failed(
            "operator",
            format!("none of {wanted} replicas is ready; running proxies go on with what they have"),
        ),
        ready if ready < wanted => notice(
            "operator",
            format!("{ready} of {wanted} replicas are ready, version {version}"),
        ),
        _ => good(
            "operator",
            format!("{ready} of {wanted} replicas are ready, version {version}"),
        ),
    });
}

fn webhooks(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for (name, all) in [
        ("smilax-inject", &snapshot.mutating),
        ("smilax-validate", &snapshot.validating),
    ] {
        let Some(found) = all.iter().find(|one| one["metadata"]["name"] == name) else {
            findings.push(failed(
                name,
                "the webhook configuration is missing; run helm upgrade --install smilax charts/smilax",
            ));
            continue;
        };
        let unpublished = found["webhooks"].as_array().into_iter().flatten().any(|hook| {
            hook["clientConfig"]["caBundle"]
                .as_str()
                .is_none_or(str::is_empty)
        });
        findings.push(if unpublished {
            failed(
                name,
                "it has no caBundle yet; the operator publishes it when it runs",
            )
        } else {
            good(name, "the webhook is registered")
        });
    }
}

fn objects(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let mut sound = 0;
    for object in &snapshot.objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let subject = format!(
            "{} {}/{}",
            text(&object["kind"]),
            text(&metadata["namespace"]),
            text(&metadata["name"])
        );
        let conditions: Vec<&Value> = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let condition = |kind: &str| conditions.iter().find(|one| one["type"] == kind);
        let Some(accepted) = condition("Accepted") else {
            findings.push(notice(&subject, "it has no status yet; the operator writes it"));
            continue;
        };
        let wrong: Vec<&&Value> = conditions
            .iter()
            .filter(|one| one["status"] == "False" && one["type"] != "Ready")
            .collect();
        if wrong.is_empty() {
            sound += 1;
        }
        for one in wrong {
            let message = format!("{}: {}", text(&one["reason"]), text(&one["message"]));
            // Nothing carries UDP yet: no mistake of whoever wrote the route.
            findings.push(if accepted["status"] == "False" && object["kind"] != "UDPRoute" {
                failed(&subject, message)
            } else {
                notice(&subject, message)
            });
        }
    }
    findings.push(good(
        "objects",
        format!(
            "{sound} of {} SMI objects are accepted and resolved",
            snapshot.objects.len()
        ),
    ));
}

/// What the operator tells about the authority, when there is a MeshConfig for it to tell on.
fn authority(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let conditions = snapshot
        .meshes
        .iter()
        .filter(|mesh| mesh["metadata"]["name"] == "default")
        .filter_map(|mesh| mesh["status"]["conditions"].as_array())
        .flatten();
    for one in conditions {
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        let message = format!("{}: {}", text("reason"), text("message"));
        match (text("type"), text("status")) {
            ("AuthorityReady", "True") => findings.push(good("authority", message)),
            ("AuthorityReady", _) => findings.push(failed("authority", message)),
            ("ConfigurationsSigned", "False") => findings.push(failed("signatures", message)),
            ("AuthorityRotating", "True") => findings.push(notice("authority", message)),
            _ => {}
        }
    }
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
