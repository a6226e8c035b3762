//! Labels and annotations without effect, as the webhook warns of them at apply.

use std::collections::BTreeMap;

use smilax_compiler::keys::{self, Fault, Membership};
use smilax_core::convention::key;

use super::{Finding, Snapshot, failed, notice};
use crate::world::text;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let memberships: BTreeMap<&str, Membership> = snapshot
        .namespaces
        .iter()
        .map(|one| {
            let label = one["metadata"]["labels"][key::INJECT].as_str();
            (text(one, "/metadata/name"), Membership::labelled(label))
        })
        .collect();
    let namespaces = snapshot.namespaces.iter().map(|object| ("Namespace", object));
    let pods = snapshot.pods.iter().map(|object| ("Pod", object));
    let others = snapshot
        .keyed
        .iter()
        .map(|object| (text(object, "/kind"), object));
    let all = namespaces.chain(pods).chain(others);
    // What a controller made says what its template says, which is told.
    for (kind, object) in all.filter(|(_, object)| object["metadata"]["ownerReferences"].is_null()) {
        let name = text(object, "/metadata/name");
        let (subject, namespace) = match text(object, "/metadata/namespace") {
            "" => (format!("{kind} {name}"), name),
            namespace => (format!("{kind} {namespace}/{name}"), namespace),
        };
        let membership = memberships.get(namespace).copied();
        for found in keys::judge(kind, object, membership.unwrap_or(Membership::Apart)) {
            findings.push(match found.fault {
                Fault::Foreign { .. } => notice(&subject, found.to_string()),
                _ => failed(&subject, found.to_string()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::Verdict;

    fn told(namespace: Value, keyed: Value) -> Vec<(Verdict, String)> {
        let mut findings = Vec::new();
        let snapshot = Snapshot {
            namespaces: vec![namespace],
            keyed: vec![keyed],
            ..Snapshot::default()
        };
        check(&snapshot, &mut findings);
        findings
            .into_iter()
            .map(|one| (one.verdict, format!("{}: {}", one.subject, one.message)))
            .collect()
    }

    fn shop() -> Value {
        json!({"metadata": {"name": "shop", "labels": {"smilax.dev/inject": "enabled"}}})
    }

    #[test]
    fn a_namespace_that_asks_in_the_wrong_words_fails() {
        let wrong = json!({"metadata": {"name": "shop", "labels": {"smilax.dev/inject": "true"}}});
        assert_eq!(
            told(wrong, json!({"kind": "Service", "metadata": {}})),
            [(
                Verdict::Failed,
                r#"Namespace shop: metadata.labels[smilax.dev/inject]: "true" has no effect: write enabled or disabled"#
                    .to_owned()
            )]
        );
    }

    #[test]
    fn a_key_of_another_mesh_is_worth_a_look_in_a_namespace_of_this_one() {
        let web = json!({
            "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"template": {"metadata": {"annotations": {"linkerd.io/inject": "enabled"}}}},
        });
        let told = told(shop(), web);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, Verdict::Notice);
        assert!(
            told[0]
                .1
                .starts_with("Deployment shop/web: spec.template.metadata"),
            "{told:?}"
        );
    }

    #[test]
    fn what_a_controller_made_is_not_told_beside_its_template() {
        let made = json!({
            "kind": "ReplicaSet",
            "metadata": {
                "name": "web-1", "namespace": "shop", "annotations": {"smilax.dev/colour": "red"},
                "ownerReferences": [{"kind": "Deployment", "name": "web"}],
            },
        });
        assert_eq!(told(shop(), made), []);
    }
}
