//! What `check --pre` says of a cluster before Smilax is installed. Pure.

use serde_json::Value;

use super::{Finding, failed, good, notice};
use crate::output::{counted, named};
use crate::world::text;

/// Oldest minor version of Kubernetes 1 that Smilax runs on: its sidecars are native ones.
const OLDEST_MINOR: u32 = 29;
/// From this one on, the API server enforces the policies that the chart installs.
const POLICIES_MINOR: u32 = 30;
/// Nodes that are named; more are counted.
const NAMED: usize = 3;
/// Helm's note of the release that owns an object.
const RELEASE: &str = "meta.helm.sh/release-name";
/// Release and manager of our definitions.
const OURS: &str = "smilax-crds";
/// Webhooks of other meshes, by a part of their name.
const MESHES: [(&str, &str); 6] = [
    ("linkerd-proxy-injector", "Linkerd"),
    ("istio-sidecar-injector", "Istio"),
    ("istio-revision-tag", "Istio"),
    ("osm-webhook", "Open Service Mesh"),
    ("kuma-", "Kuma"),
    ("consul-", "Consul"),
];

/// What was read of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    /// Version of the API server, as `v1.34.1`.
    pub(crate) version: String,
    /// What the charts create and the user may not, as `resource.group`.
    pub(crate) denied: Vec<String>,
    /// How many resources the user was asked about.
    pub(crate) asked: usize,
    /// API groups with their versions, as `group/version`.
    pub(crate) served: Vec<String>,
    /// `None` where they may not be listed, as with those below.
    pub(crate) definitions: Option<Vec<Value>>,
    pub(crate) mutating: Option<Vec<Value>>,
    pub(crate) nodes: Option<Vec<Value>>,
}

/// Looks at everything.
pub(crate) fn before(cluster: &Before) -> Vec<Finding> {
    vec![version(&cluster.version), rights(cluster), admission(cluster)]
        .into_iter()
        .chain(definitions(cluster.definitions.as_deref()))
        .chain(meshes(cluster.mutating.as_deref()))
        .chain([nodes(cluster.nodes.as_deref())])
        .collect()
}

/// The minor version of Kubernetes 1, also of `v1.30+` and `v1.30.4-eks`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.trim_start_matches('v').strip_prefix("1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn version(version: &str) -> Finding {
    let subject = "version";
    match minor(version) {
        None => notice(
            subject,
            format!("the API server says {version:?}; Kubernetes 1.{OLDEST_MINOR} or later is needed"),
        ),
        Some(minor) if minor < OLDEST_MINOR => failed(
            subject,
            format!(
                "Kubernetes {version}: upgrade it to 1.{OLDEST_MINOR} or later, which has native sidecars"
            ),
        ),
        Some(minor) if minor < POLICIES_MINOR => notice(
            subject,
            format!(
                "Kubernetes {version}: from 1.{POLICIES_MINOR} on, policies of the API server also hold the operator's account to its own objects"
            ),
        ),
        Some(_) => good(subject, format!("Kubernetes {version}")),
    }
}

fn rights(cluster: &Before) -> Finding {
    if cluster.denied.is_empty() {
        return good(
            "rights",
            format!(
                "you may create all {} kinds that the charts install",
                cluster.asked
            ),
        );
    }
    failed(
        "rights",
        format!(
            "you may not create {}: ask for the ClusterRole cluster-admin, or have its owner install Smilax",
            cluster.denied.join(", ")
        ),
    )
}

fn admission(cluster: &Before) -> Finding {
    let is_served = |version: &str| cluster.served.iter().any(|one| one == version);
    let missing: Vec<&str> = ["admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1"]
        .into_iter()
        .filter(|version| !is_served(version))
        .collect();
    if missing.is_empty() {
        good("admission", "webhooks and definitions are served in version v1")
    } else {
        failed(
            "admission",
            format!(
                "the API server does not serve {}, which webhooks and definitions need",
                missing.join(", ")
            ),
        )
    }
}

/// SMI definitions that are there already: ours are brought up to date, those of others have to be taken over.
fn definitions(all: Option<&[Value]>) -> Vec<Finding> {
    let Some(all) = all else {
        return vec![unseen(
            "definitions",
            "customresourcedefinitions",
            "whether SMI definitions are there already",
        )];
    };
    let smi: Vec<&Value> = all
        .iter()
        .filter(|one| text(one, "/spec/group").ends_with(".smi-spec.io"))
        .collect();
    let foreign: Vec<&&Value> = smi.iter().filter(|one| owner(one) != OURS).collect();
    if foreign.is_empty() {
        let message = match smi.len() {
            0 => "there are no SMI definitions yet".to_owned(),
            count => format!("{} are ours", counted(count, "SMI definition")),
        };
        return vec![good("definitions", message)];
    }
    let findings = foreign.into_iter().map(|one| {
        let versions = one["spec"]["versions"].as_array();
        let versions: Vec<&str> = versions
            .into_iter()
            .flatten()
            .filter(|version| version["served"] == true)
            .map(|version| text(version, "/name"))
            .collect();
        notice(
            text(one, "/metadata/name"),
            format!(
                "it belongs to {}, with {}; Helm takes it over with --take-ownership (docs/migrate.md), and its objects stay",
                owner(one),
                versions.join(", ")
            ),
        )
    });
    findings.collect()
}

/// Who made a definition, as far as it says.
fn owner(definition: &Value) -> &str {
    let annotations = &definition["metadata"]["annotations"];
    let labels = &definition["metadata"]["labels"];
    let manager = definition["metadata"]["managedFields"][0]["manager"].as_str();
    annotations[RELEASE]
        .as_str()
        .or_else(|| labels["app.kubernetes.io/name"].as_str())
        .or(manager)
        .unwrap_or("nobody that it names")
}

/// Other meshes that put sidecars into pods: two in one pod redirect each other's traffic.
fn meshes(webhooks: Option<&[Value]>) -> Vec<Finding> {
    let Some(webhooks) = webhooks else {
        return vec![unseen(
            "meshes",
            "mutatingwebhookconfigurations",
            "whether another mesh injects sidecars",
        )];
    };
    let findings = webhooks.iter().filter_map(|one| {
        let name = text(one, "/metadata/name");
        let (_, mesh) = MESHES.iter().find(|(part, _)| name.contains(part))?;
        Some(notice(
            name,
            format!(
                "{mesh} injects sidecars too: no namespace may have both; remove its label from a namespace before you add smilax.dev/inject (docs/migrate.md)"
            ),
        ))
    });
    let found: Vec<Finding> = findings.collect();
    if found.is_empty() {
        vec![good("meshes", "no other mesh injects sidecars")]
    } else {
        found
    }
}

/// What may not be looked at.
fn unseen(subject: &str, resource: &str, question: &str) -> Finding {
    notice(
        subject,
        format!("unknown: you may not list {resource}, which tell {question}"),
    )
}

fn nodes(nodes: Option<&[Value]>) -> Finding {
    let subject = "nodes";
    let Some(nodes) = nodes else {
        return unseen(subject, "nodes", "whether they run Linux, which sidecars need");
    };
    let system = |node: &&Value| text(node, "/status/nodeInfo/operatingSystem") == "linux";
    let (linux, others): (Vec<&Value>, Vec<&Value>) = nodes.iter().partition(system);
    if linux.is_empty() {
        return failed(subject, "none runs Linux, which sidecars need");
    }
    let mut kernels: Vec<&str> = linux
        .iter()
        .map(|node| text(node, "/status/nodeInfo/kernelVersion"))
        .collect();
    kernels.sort_unstable();
    kernels.dedup();
    let told = format!(
        "{} with Linux {}",
        counted(linux.len(), "node"),
        named(&kernels, NAMED)
    );
    if others.is_empty() {
        return good(subject, told);
    }
    let names: Vec<&str> = others.iter().map(|node| text(node, "/metadata/name")).collect();
    notice(
        subject,
        format!("{told}; pods on others get no sidecar: {}", named(&names, NAMED)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Verdict, table};
    use super::*;

    fn node(name: &str, system: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"nodeInfo": {"operatingSystem": system, "kernelVersion": "6.12.9"}}})
    }

    fn fresh() -> Before {
        Before {
            version: "v1.34.1".to_owned(),
            asked: 20,
            served: vec![
                "admissionregistration.k8s.io/v1".to_owned(),
                "apiextensions.k8s.io/v1".to_owned(),
            ],
            definitions: Some(Vec::new()),
            mutating: Some(Vec::new()),
            nodes: Some(vec![node("a", "linux"), node("b", "linux")]),
            ..Before::default()
        }
    }

    fn complaints(cluster: &Before) -> Vec<(Verdict, String)> {
        let findings = before(cluster).into_iter();
        findings
            .filter(|one| one.verdict != Verdict::Good)
            .map(|one| (one.verdict, format!("{}: {}", one.subject, one.message)))
            .collect()
    }

    #[track_caller]
    fn complains(cluster: &Before, verdict: Verdict, about: &str) {
        let all = complaints(cluster);
        assert!(
            matches!(all.as_slice(), [(one, text)] if *one == verdict && text.contains(about)),
            "{all:?}"
        );
    }

    #[test]
    fn a_new_cluster_is_ready() {
        insta::assert_snapshot!(table(&before(&fresh())), @r#"
        ok      version      Kubernetes v1.34.1
        ok      rights       you may create all 20 kinds that the charts install
        ok      admission    webhooks and definitions are served in version v1
        ok      definitions  there are no SMI definitions yet
        ok      meshes       no other mesh injects sidecars
        ok      nodes        2 nodes with Linux 6.12.9

        All is well.
        "#);
    }

    #[test]
    fn an_old_version_cannot_run_it_and_one_lacks_policies() {
        let of = |version: &str| Before {
            version: version.to_owned(),
            ..fresh()
        };
        complains(&of("v1.28.9+k3s1"), Verdict::Failed, "upgrade it to 1.29");
        complains(&of("v1.29.0-eks-1"), Verdict::Notice, "from 1.30 on");
        assert_eq!(complaints(&of("v1.30+")), []);
        complains(&of("weird"), Verdict::Notice, "says \"weird\"");
    }

    #[test]
    fn rights_that_are_missing_are_named() {
        let cluster = Before {
            denied: vec!["clusterroles.rbac.authorization.k8s.io".to_owned()],
            ..fresh()
        };
        complains(&cluster, Verdict::Failed, "you may not create clusterroles.rbac");
    }

    #[test]
    fn an_api_server_without_admission_v1_cannot_run_it() {
        let cluster = Before {
            served: vec!["apiextensions.k8s.io/v1".to_owned()],
            ..fresh()
        };
        complains(
            &cluster,
            Verdict::Failed,
            "does not serve admissionregistration.k8s.io/v1",
        );
    }

    #[test]
    fn definitions_of_another_mesh_are_named_with_their_owner_and_versions() {
        let of = |release: &str| {
            json!({
                "metadata": {"name": "trafficsplits.split.smi-spec.io", "annotations": {"meta.helm.sh/release-name": release}},
                "spec": {"group": "split.smi-spec.io", "versions": [
                    {"name": "v1alpha1", "served": false}, {"name": "v1alpha2", "served": true},
                ]},
            })
        };
        let cluster = |release| Before {
            definitions: Some(vec![of(release), json!({"spec": {"group": "other.example"}})]),
            ..fresh()
        };
        complains(
            &cluster("linkerd-smi"),
            Verdict::Notice,
            "it belongs to linkerd-smi, with v1alpha2;",
        );
        assert_eq!(complaints(&cluster("smilax-crds")), []);
    }

    #[test]
    fn another_mesh_that_injects_is_named() {
        let cluster = Before {
            mutating: Some(vec![
                json!({"metadata": {"name": "linkerd-proxy-injector-webhook-config"}}),
            ]),
            ..fresh()
        };
        complains(&cluster, Verdict::Notice, "Linkerd injects sidecars too");
    }

    #[test]
    fn what_may_not_be_listed_is_unknown_and_not_absent() {
        let cluster = Before {
            definitions: None,
            ..fresh()
        };
        complains(
            &cluster,
            Verdict::Notice,
            "definitions: unknown: you may not list",
        );
        let cluster = Before {
            mutating: None,
            ..fresh()
        };
        complains(&cluster, Verdict::Notice, "meshes: unknown: you may not list");
    }

    #[test]
    fn nodes_must_run_linux() {
        let of = |nodes| Before { nodes, ..fresh() };
        complains(
            &of(Some(vec![node("w", "windows")])),
            Verdict::Failed,
            "none runs Linux",
        );
        let mixed = Some(vec![node("a", "linux"), node("w", "windows")]);
        complains(&of(mixed), Verdict::Notice, "get no sidecar: w");
        complains(&of(None), Verdict::Notice, "you may not list nodes");
    }
}
