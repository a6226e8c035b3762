//! The SMI definitions: whether every version is served, what is stored, and whether the API server can convert.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use serde_json::Value;

use super::{Finding, SMI_KINDS, Snapshot, failed, good, notice};
use crate::remedies;
use crate::world::text;

/// Where the operator is that converts objects.
#[derive(Clone, Copy, Debug)]
enum Converter<'a> {
    /// In the namespace that was asked about.
    Here(&'a str),
    /// Not there: nothing can be said about who should convert.
    NotHere,
}

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let wanted = smilax_crds::manifests();
    let converter = match snapshot.operator() {
        Some(_) => Converter::Here(&snapshot.namespace),
        None => Converter::NotHere,
    };
    // The namespace of a mistyped option would break the conversion.
    let installation = match (converter, snapshot.installations().first()) {
        (Converter::NotHere, Some(elsewhere)) => elsewhere,
        _ => snapshot.namespace.as_str(),
    };
    let repair = format!("run {}", remedies::install_definitions(installation));
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
                one(definition, &wanted.spec, converter, (&name, &repair), &mut faults);
            }
            (Some(_), None) => {}
        }
    }
    if !missing.is_empty() {
        findings.push(failed(
            "definitions",
            format!("missing: {}; {repair}", missing.join(", ")),
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
    converter: Converter<'_>,
    (name, repair): (&str, &str),
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
                "not served: {}; objects of these versions cannot be read or applied; {repair}",
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
                "objects are not stored as {}, which the operator reads; {repair}",
                stored.name
            ),
        ));
    }
    if wanted.versions.len() > 1 {
        conversion(
            &definition["spec"]["conversion"],
            converter,
            (name, repair),
            faults,
        );
    }
    let stored = definition["status"]["storedVersions"].as_array();
    if stored.map_or(0, Vec::len) > 1 {
        faults.push(notice(
            name,
            "objects of older versions are still stored; the operator rewrites them",
        ));
    }
}

fn conversion(
    conversion: &Value,
    converter: Converter<'_>,
    (name, repair): (&str, &str),
    faults: &mut Vec<Finding>,
) {
    let client = &conversion["webhook"]["clientConfig"];
    let service = &client["service"];
    if conversion["strategy"] != "Webhook" || service["name"] != smilax_crds::CONVERSION_SERVICE.0 {
        faults.push(failed(
            name,
            format!("its versions are not converted by the operator; {repair}"),
        ));
    } else if let Converter::Here(installation) = converter
        && service["namespace"] != installation
    {
        faults.push(failed(
            name,
            format!(
                "its versions are converted in namespace {}, and the operator is in {installation}; {repair}",
                text(service, "/namespace")
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

    /// An installation in this namespace, whose definitions are as this changes them.
    fn snapshot(namespace: &str, change: impl FnOnce(&mut Value)) -> Snapshot {
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
            namespace: namespace.to_owned(),
            definitions,
            deployments: vec![json!({"metadata": {"name": "smilax-operator", "namespace": namespace}})],
            ..Snapshot::default()
        }
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        found(&snapshot("smilax-system", change))
    }

    fn found(snapshot: &Snapshot) -> Vec<String> {
        let mut findings = Vec::new();
        check(snapshot, &mut findings);
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
        let found = found(&snapshot("mesh", |_| {}));
        assert!(
            found[0].contains("--namespace mesh --set operatorNamespace=mesh"),
            "{found:?}"
        );
    }

    #[test]
    fn a_namespace_without_an_operator_is_not_advised_for_the_conversion() {
        let mut mistyped = snapshot("smilax-sytem", |_| {});
        mistyped.deployments.clear();
        assert_eq!(found(&mistyped), [""; 0]);
        mistyped.definitions.clear();
        mistyped.pods = vec![crate::operator::tests::pod("a", "new", "operator:0.1.0")];
        let found = found(&mistyped);
        assert!(found[0].ends_with("--namespace smilax-system"), "{found:?}");
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
