//! The SMI definitions: whether every version is served, what is stored, and whether the API server can convert.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::Value;

use super::{Finding, SMI_KINDS, Snapshot, failed, good, notice};
use crate::world::text;

/// How to bring a definition back to what the mesh needs.
const REPAIR: &str = "run helm upgrade --install smilax-crds charts/smilax-crds";

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let wanted = smilax_crds::manifests();
    let (mut missing, mut faults) = (Vec::new(), Vec::new());
    for (group, _, plural) in SMI_KINDS {
        let name = format!("{plural}.{group}");
        let definition = snapshot
            .definitions
            .iter()
            .find(|one| text(one, "/metadata/name") == name);
        let wanted = wanted
            .iter()
            .find(|one| one.metadata.name.as_deref() == Some(name.as_str()));
        match (definition, wanted) {
            (None, _) => missing.push(name),
            (Some(definition), Some(wanted)) => {
                one(definition, &wanted.spec, &snapshot.namespace, &name, &mut faults);
            }
            (Some(_), None) => {}
        }
    }
    if !missing.is_empty() {
        findings.push(failed(
            "definitions",
            format!("missing: {}; {REPAIR}", missing.join(", ")),
        ));
    } else if faults.is_empty() {
        findings.push(good(
            "definitions",
            format!("all {} SMI kinds are served in every version", SMI_KINDS.len()),
        ));
    }
    findings.append(&mut faults);
}

fn one(
    definition: &Value,
    wanted: &api::CustomResourceDefinitionSpec,
    installation: &str,
    name: &str,
    faults: &mut Vec<Finding>,
) {
    let version = |version: &str| {
        let versions = definition["spec"]["versions"].as_array();
        versions.into_iter().flatten().find(|one| one["name"] == version)
    };
    let unserved: Vec<&str> = wanted
        .versions
        .iter()
        .filter(|wanted| wanted.served)
        .map(|wanted| wanted.name.as_str())
        .filter(|name| version(name).is_none_or(|version| version["served"] != true))
        .collect();
    if !unserved.is_empty() {
        faults.push(failed(
            name,
            format!(
                "not served: {}; objects of these versions cannot be read or applied; {REPAIR}",
                unserved.join(", ")
            ),
        ));
    }
    let stored = wanted.versions.iter().find(|version| version.storage);
    if let Some(stored) = stored
        && version(&stored.name).is_some_and(|version| version["storage"] != true)
    {
        faults.push(failed(
            name,
            format!(
                "objects are not stored as {}, which the operator reads; {REPAIR}",
                stored.name
            ),
        ));
    }
    if wanted.versions.len() > 1 {
        conversion(&definition["spec"]["conversion"], installation, name, faults);
    }
    let stored = definition["status"]["storedVersions"].as_array();
    if stored.map_or(0, Vec::len) > 1 {
        faults.push(notice(
            name,
            "objects of older versions are still stored; the operator rewrites them",
        ));
    }
}

fn conversion(conversion: &Value, installation: &str, name: &str, faults: &mut Vec<Finding>) {
    let client = &conversion["webhook"]["clientConfig"];
    let service = &client["service"];
    if conversion["strategy"] != "Webhook" || service["name"] != smilax_crds::CONVERSION_SERVICE.0 {
        faults.push(failed(
            name,
            format!("its versions are not converted by the operator; {REPAIR}"),
        ));
    } else if service["namespace"] != installation {
        faults.push(failed(
            name,
            format!(
                "its versions are converted in namespace {}, and the operator is in {installation}; {REPAIR} --set operatorNamespace={installation}",
                service["namespace"].as_str().unwrap_or_default()
            ),
        ));
    } else if client["caBundle"].as_str().is_none_or(str::is_empty) {
        faults.push(failed(
            name,
            "its conversion has no caBundle yet; the operator publishes it when it runs",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::Verdict;

    fn snapshot(change: impl FnOnce(&mut Value)) -> Snapshot {
        let mut definitions: Vec<Value> = smilax_crds::manifests()
            .iter()
            .map(|definition| serde_json::to_value(definition).unwrap())
            .collect();
        for definition in &mut definitions {
            if definition["spec"]["conversion"]["strategy"] == "Webhook" {
                definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = json!("YWJj");
            }
        }
        let splits = definitions
            .iter_mut()
            .find(|one| one["metadata"]["name"] == "trafficsplits.split.smi-spec.io")
            .unwrap();
        change(splits);
        Snapshot {
            namespace: "smilax-system".to_owned(),
            definitions,
            ..Snapshot::default()
        }
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut findings = Vec::new();
        check(&snapshot(change), &mut findings);
        findings.retain(|one| one.verdict != Verdict::Good);
        findings
            .into_iter()
            .map(|one| format!("{}: {}", one.subject, one.message))
            .collect()
    }

    #[test]
    fn the_definitions_of_this_version_are_as_they_should_be() {
        assert_eq!(faults(|_| {}), [""; 0]);
    }

    #[test]
    fn an_uninstall_that_left_only_one_version_served_is_a_failure() {
        let found = faults(|splits| {
            for version in splits["spec"]["versions"].as_array_mut().unwrap() {
                version["served"] = json!(version["name"] == "v1alpha4");
            }
            splits["spec"]["conversion"] = json!({"strategy": "None"});
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("not served: v1alpha1, v1alpha2, v1alpha3"),
            "{found:?}"
        );
        assert!(found[1].contains("not converted by the operator"), "{found:?}");
    }

    #[test]
    fn a_conversion_that_is_asked_in_another_namespace_is_a_failure() {
        let found = faults(|splits| {
            splits["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["namespace"] = json!("mesh");
        });
        assert!(
            found[0].contains("--set operatorNamespace=smilax-system"),
            "{found:?}"
        );
    }

    #[test]
    fn a_definition_that_stores_another_version_is_a_failure() {
        let found = faults(|splits| {
            for version in splits["spec"]["versions"].as_array_mut().unwrap() {
                version["storage"] = json!(version["name"] == "v1alpha2");
            }
        });
        assert!(found[0].contains("not stored as v1alpha4"), "{found:?}");
    }
}
