//! What is right and what is wrong, decided from a snapshot of the cluster.

mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use smilax_core::convention::key;

/// Group, kind and plural of every SMI kind.
pub(crate) const SMI_KINDS: [(&str, &str, &str); 6] = [
    ("split.smi-spec.io", "TrafficSplit", "trafficsplits"),
    ("specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups"),
    ("specs.smi-spec.io", "TCPRoute", "tcproutes"),
    ("specs.smi-spec.io", "UDPRoute", "udproutes"),
    ("access.smi-spec.io", "TrafficTarget", "traffictargets"),
    ("access.smi-spec.io", "IdentityBinding", "identitybindings"),
];

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
    definitions(snapshot, &mut findings);
    operator(snapshot, &mut findings);
    webhooks(snapshot, &mut findings);
    authority(snapshot, &mut findings);
    pods(snapshot, &mut findings);
    udp::check(snapshot, &mut findings);
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
    let _ = match failed {
        0 => writeln!(text, "\nAll is well."),
        1 => writeln!(text, "\n1 check failed."),
        failed => writeln!(text, "\n{failed} checks failed."),
    };
    text
}

/// Versions of the operator and the proxies.
pub(crate) fn versions(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for deployment in snapshot.deployments.iter().filter(|one| is_operator(one)) {
        let _ = writeln!(text, "operator: {}", operator_version(deployment));
    }
    let mut proxies: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &snapshot.pods {
        if let Some(version) = pod["metadata"]["labels"][key::PROXY_VERSION].as_str() {
            *proxies.entry(version).or_default() += 1;
        }
    }
    for (version, count) in proxies {
        let _ = writeln!(text, "proxies:  {version} ({count} pods)");
    }
    text
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

fn definitions(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let names: BTreeSet<&str> = snapshot
        .definitions
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    let missing: Vec<String> = SMI_KINDS
        .iter()
        .map(|(group, _, plural)| format!("{plural}.{group}"))
        .filter(|name| !names.contains(name.as_str()))
        .collect();
    findings.push(if missing.is_empty() {
        good(
            "definitions",
            format!("all {} SMI kinds are served", SMI_KINDS.len()),
        )
    } else {
        failed(
            "definitions",
            format!("missing: {}; install the chart smilax-crds", missing.join(", ")),
        )
    });
    for definition in &snapshot.definitions {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let client = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
        if client["service"]["name"] == "smilax-conversion"
            && client["caBundle"].as_str().is_none_or(str::is_empty)
        {
            findings.push(failed(
                name,
                "its conversion has no caBundle yet; the operator publishes it when it runs",
            ));
        }
        let stored = definition["status"]["storedVersions"]
            .as_array()
            .map_or(0, Vec::len);
        if client["service"]["name"] == "smilax-conversion" && stored > 1 {
            findings.push(notice(
                name,
                "objects of older versions are still stored; the operator rewrites them",
            ));
        }
    }
}

fn operator(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let Some(deployment) = snapshot.deployments.iter().find(|one| is_operator(one)) else {
        findings.push(failed(
            "operator",
            format!(
                "no Deployment in namespace {}; install the chart smilax",
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
                "the webhook configuration is missing; run helm upgrade",
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

fn pods(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let enabled: BTreeSet<&str> = snapshot
        .namespaces
        .iter()
        .filter(|one| one["metadata"]["labels"][key::INJECT] == "enabled")
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    let (mut meshed, mut missing) = (0, Vec::new());
    let operator = snapshot
        .deployments
        .iter()
        .find(|one| is_operator(one))
        .map(operator_version);
    for pod in &snapshot.pods {
        let labels = &pod["metadata"]["labels"];
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = format!(
            "{namespace}/{}",
            pod["metadata"]["name"].as_str().unwrap_or_default()
        );
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            || pod["metadata"]["deletionTimestamp"].is_string();
        if let Some(version) = labels[key::PROXY_VERSION].as_str() {
            meshed += usize::from(!ended);
            if operator.is_some_and(|operator| !is_near(operator, version)) && !ended {
                findings.push(notice(
                    &name,
                    format!("its proxy is of version {version}; restart it to bring it up to date"),
                ));
            }
            continue;
        }
        let asked = labels[key::INJECT] == "enabled"
            || (enabled.contains(namespace) && labels[key::INJECT] != "disabled");
        let on_purpose = pod["metadata"]["annotations"][key::INJECT_STATUS].is_string()
            || pod["spec"]["hostNetwork"] == Value::Bool(true);
        if asked && !ended && !on_purpose {
            missing.push(name);
        }
    }
    findings.push(good(
        "proxies",
        format!("{meshed} pods in {} namespaces are in the mesh", enabled.len()),
    ));
    for name in missing {
        findings.push(failed(
            &name,
            "the pod runs without a proxy; delete it so that it is made again",
        ));
    }
}

/// One minor version of difference is supported either way.
fn is_near(operator: &str, proxy: &str) -> bool {
    let minor = |version: &str| {
        let mut parts = version.split('.');
        Some((
            parts.next()?.parse::<u32>().ok()?,
            parts.next()?.parse::<u32>().ok()?,
        ))
    };
    match (minor(operator), minor(proxy)) {
        (Some((major, minor)), Some((proxy_major, proxy_minor))) => {
            major == proxy_major && minor.abs_diff(proxy_minor) <= 1
        }
        // A tag that is no version says nothing.
        _ => true,
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
