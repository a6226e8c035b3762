//! Commands that findings suggest. They stand in one place, so that one test runs over all of them.

use smilax_core::convention::key;

/// Namespace that the chart of the definitions converts in, if it is not told another.
const USUAL_INSTALLATION: &str = "smilax-system";

/// Installs the mesh, or brings back what is missing of it. Without `--set` or `--values`, Helm keeps the values of the release.
pub(crate) fn install(installation: &str) -> String {
    format!("helm upgrade --install smilax charts/smilax --namespace {installation}")
}

/// The same for the definitions, which name the operator that converts objects.
pub(crate) fn install_definitions(installation: &str) -> String {
    let command = format!("helm upgrade --install smilax-crds charts/smilax-crds --namespace {installation}");
    if installation == USUAL_INSTALLATION {
        command
    } else {
        format!("{command} --set operatorNamespace={installation}")
    }
}

/// Lets a namespace join the mesh, whatever its label says now.
pub(crate) fn join(namespace: &str) -> String {
    format!(
        "kubectl label namespace {namespace} {}=enabled --overwrite",
        key::INJECT
    )
}

/// Makes the pods of a workload anew.
pub(crate) fn restart(namespace: &str, kind: &str, name: &str) -> String {
    format!("kubectl --namespace {namespace} rollout restart {kind}/{name}")
}

/// Lets the pods of a workload join the mesh by their label. That restarts them.
pub(crate) fn join_by_label(namespace: &str, kind: &str, name: &str) -> String {
    let patch = format!(
        r#"{{"spec":{{"template":{{"metadata":{{"labels":{{"{}":"enabled"}}}}}}}}}}"#,
        key::INJECT
    );
    format!("kubectl --namespace {namespace} patch {kind} {name} --type merge --patch '{patch}'")
}

/// Deletes a pod or a Job.
pub(crate) fn delete(namespace: &str, kind: &str, name: &str) -> String {
    format!("kubectl --namespace {namespace} delete {kind} {name}")
}

/// Shows the Events of a pod or a workload: what keeps a pod from starting, or from being created.
pub(crate) fn describe(namespace: &str, kind: &str, name: &str) -> String {
    format!("kubectl --namespace {namespace} describe {kind} {name}")
}

/// Lists the SMI objects of a namespace.
pub(crate) fn list_smi(namespace: &str) -> String {
    format!("kubectl --namespace {namespace} get smi")
}

/// Lists the pods of a namespace.
pub(crate) fn list_pods(namespace: &str) -> String {
    format!("kubectl --namespace {namespace} get pods")
}

/// Explains the sidecars of a workload.
pub(crate) fn why_inject(namespace: &str, kind: &str, name: &str) -> String {
    format!("smilax why-inject {kind}/{name} -n {namespace}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn all() -> Vec<String> {
        vec![
            install("mesh"),
            install_definitions("mesh"),
            install_definitions(USUAL_INSTALLATION),
            join("shop"),
            restart("shop", "deployment", "web"),
            join_by_label("shop", "deployment", "web"),
            delete("shop", "job", "night"),
            describe("mesh", "pod", "smilax-operator-1"),
            list_smi("shop"),
            list_pods("shop"),
            why_inject("shop", "deployment", "web"),
        ]
    }

    #[test]
    fn every_suggested_command_names_its_namespace_and_is_complete() {
        for command in all() {
            let words: Vec<&str> = command.split_whitespace().collect();
            match words[..] {
                [
                    "helm",
                    "upgrade",
                    "--install",
                    release,
                    chart,
                    "--namespace",
                    _,
                    ..,
                ] => {
                    assert_eq!(chart, format!("charts/{release}"));
                    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(chart);
                    assert!(chart.join("Chart.yaml").is_file(), "{command}");
                }
                // A Namespace is of no namespace.
                ["kubectl", "label", "namespace", _, label, "--overwrite"] => {
                    assert!(label.contains('='), "{command}");
                }
                ["kubectl", "--namespace", _, _, ..] => {}
                ["smilax", ..] => {
                    let parsed = Args::try_parse_from(&words);
                    assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
                    assert!(words.contains(&"-n"), "{command}");
                }
                _ => panic!("{command}"),
            }
        }
    }

    #[test]
    fn no_other_file_writes_commands_of_kubectl_or_helm() {
        let own = ["remedies.rs", "tests.rs", "pages.rs"];
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let is_source = path.extension().is_some_and(|ending| ending == "rs");
                if own.contains(&&*name) || !is_source {
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]").next().unwrap();
                for (number, line) in source.lines().enumerate() {
                    let is_command = [
                        "helm upgrade",
                        "kubectl --",
                        "kubectl get",
                        "kubectl label",
                        "kubectl delete",
                    ]
                    .iter()
                    .any(|command| line.contains(command));
                    assert!(!is_command, "{}:{}: {line}", path.display(), number + 1);
                }
            }
        }
    }

    #[test]
    fn definitions_name_the_operator_only_where_it_is_not_where_it_usually_is() {
        assert!(!install_definitions("smilax-system").contains("--set"));
        assert!(install_definitions("mesh").ends_with("--namespace mesh --set operatorNamespace=mesh"));
    }

    #[test]
    fn a_patch_that_is_suggested_is_json_that_labels_the_template() {
        let command = join_by_label("shop", "deployment", "web");
        let patch = command.split('\'').nth(1).unwrap();
        let patch: serde_json::Value = serde_json::from_str(patch).unwrap();
        assert_eq!(
            patch["spec"]["template"]["metadata"]["labels"]["smilax.dev/inject"],
            "enabled"
        );
    }
}
