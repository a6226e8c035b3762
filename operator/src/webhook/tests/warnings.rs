//! What `kubectl apply` warns of.

use serde_json::{Value, json};
use smilax_core::convention::key;

use super::{answer, review};

/// The warnings about an object with this metadata, which is never refused.
async fn warned(kind: (&str, &str), metadata: Value) -> Value {
    let response = answer("/keys", &review(kind, "CREATE", &json!({"metadata": metadata}))).await;
    assert_eq!(response["allowed"], true);
    response["warnings"].clone()
}

#[tokio::test]
async fn a_mistyped_key_is_answered_at_apply_on_every_kind_that_has_keys() {
    for kind in [
        ("", "Namespace"),
        ("", "ServiceAccount"),
        ("", "Service"),
        ("", "Pod"),
        ("apps", "Deployment"),
        ("batch", "CronJob"),
    ] {
        let warnings = warned(kind, json!({"annotations": {"smilax.dev/acces-mode": "deny"}})).await;
        let warning = warnings[0].as_str().unwrap();
        assert!(
            warning.ends_with("did you mean smilax.dev/access-mode?"),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_namespace_that_says_true_instead_of_enabled_is_answered() {
    let warnings = warned(("", "Namespace"), json!({"labels": {key::INJECT: "true"}})).await;
    assert_eq!(
        warnings,
        json!([
            r#"smilax: metadata.labels[smilax.dev/inject]: "true" has no effect: write enabled or disabled"#
        ])
    );
}

#[tokio::test]
async fn a_key_of_another_mesh_is_answered_in_a_namespace_of_this_one() {
    let linkerd = json!({"annotations": {"linkerd.io/inject": "enabled"}});
    assert_ne!(warned(("", "Pod"), linkerd.clone()).await, Value::Null);
    let joining =
        json!({"annotations": {"linkerd.io/inject": "enabled"}, "labels": {key::INJECT: "enabled"}});
    assert_ne!(warned(("", "Namespace"), joining).await, Value::Null);
    assert_eq!(warned(("", "Namespace"), linkerd).await, Value::Null);
}

#[tokio::test]
async fn an_object_with_the_right_keys_is_answered_without_a_word() {
    let right = json!({"labels": {key::INJECT: "enabled"}, "annotations": {key::ACCESS_MODE: "deny"}});
    assert_eq!(warned(("", "Namespace"), right).await, Value::Null);
}

#[tokio::test]
async fn who_is_closed_by_a_target_is_told_in_every_version() {
    let fields = json!({
        "destination": {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
        "sources": [{"kind": "ServiceAccount", "name": "frontend", "namespace": "shop"}],
    });
    let newest = json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": fields,
    });
    let mut oldest = fields.clone();
    oldest["apiVersion"] = json!("access.smi-spec.io/v1alpha1");
    oldest["kind"] = json!("TrafficTarget");
    oldest["metadata"] = json!({"name": "web", "namespace": "shop"});
    for mut target in [newest, oldest] {
        let group = json!([{"kind": "HTTPRouteGroup", "name": "routes"}]);
        match target.get_mut("spec") {
            Some(spec) => spec["rules"] = group,
            None => target["specs"] = group,
        }
        let response = answer(
            "/validate",
            &review(("access.smi-spec.io", "TrafficTarget"), "CREATE", &target),
        )
        .await;
        let warnings = response["warnings"].as_array().unwrap();
        assert!(
            warnings.contains(&json!("smilax: web is closed by shop/web")),
            "{response}"
        );
    }
}
