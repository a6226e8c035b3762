use super::*;

fn namespace(name: &str, labels: &Value, annotations: &Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": annotations}})
}

fn joined(annotations: &Value) -> Value {
    namespace("shop", &json!({"smilax.dev/inject": "enabled"}), annotations)
}

fn operator(arguments: &[&str]) -> Value {
    json!({
        "kind": "Deployment", "metadata": {"name": "smilax-operator"},
        "spec": {"template": {"spec": {"containers": [{"args": arguments}]}}},
    })
}

fn mesh(spec: &Value) -> Value {
    json!({"kind": "MeshConfig", "metadata": {"name": "default"}, "spec": spec})
}

fn only(objects: &[Value]) -> InForce {
    resolve::resolve(objects).remove(0)
}

#[test]
fn what_nobody_set_is_the_default() {
    let found = only(&[namespace("shop", &json!({}), &json!({}))]);
    assert_eq!(found.injection.to_string(), "disabled (default)");
    assert_eq!(found.tls.to_string(), "permissive (default)");
    assert_eq!(found.access.to_string(), "allow (default)");
    assert!(found.destinations.is_empty());
}

#[test]
fn the_namespace_comes_before_the_meshconfig_and_that_before_the_installation() {
    let installed = operator(&["--access-mode=deny", "--tls-mode=strict"]);
    let audited = mesh(&json!({"accessMode": "audit"}));
    let found = only(&[joined(&json!({})), installed.clone()]);
    assert_eq!(found.access.to_string(), "deny (installation)");
    let found = only(&[joined(&json!({})), installed.clone(), audited.clone()]);
    assert_eq!(found.access.to_string(), "audit (MeshConfig)");
    assert_eq!(found.tls.to_string(), "strict (installation)");
    let own = joined(&json!({"smilax.dev/access-mode": "allow"}));
    assert_eq!(
        only(&[own, installed, audited]).access.to_string(),
        "allow (annotation)"
    );
}

#[test]
fn an_annotation_that_cannot_be_read_leaves_what_the_mesh_says_and_is_named() {
    let wrong = joined(&json!({"smilax.dev/access-mode": "Deny", "smilax.dev/tls-mod": "strict"}));
    let found = only(&[wrong]);
    assert_eq!(found.access.to_string(), "allow (default)");
    assert_eq!(found.faults.len(), 2);
    let text = table(&[found]);
    assert!(text.contains("did you mean smilax.dev/tls-mode?"), "{text}");
}

#[test]
fn destinations_say_who_asked_for_them() {
    let account = json!({
        "kind": "ServiceAccount",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"smilax.dev/destinations": "stock/db"}},
    });
    let found = only(&[joined(&json!({"smilax.dev/destinations": "billing/*"})), account]);
    let destinations: Vec<String> = found.destinations.iter().map(ToString::to_string).collect();
    assert_eq!(
        destinations,
        ["billing/* (annotation)", "stock/db (ServiceAccount web)"]
    );
}

#[test]
fn namespaces_are_a_line_each_and_json_says_the_same() {
    let objects = [
        namespace("web", &json!({}), &json!({})),
        joined(&json!({"smilax.dev/tls-mode": "strict"})),
    ];
    let found = resolve::resolve(&objects);
    insta::assert_snapshot!(table(&found), @r"
    NAME   INJECTION            TLS                    ACCESS            DESTINATIONS
    shop   enabled (label)      strict (annotation)    allow (default)   none
    web    disabled (default)   permissive (default)   allow (default)   none
    ");
    assert_eq!(
        json(&found)["namespaces"][0]["tlsMode"],
        json!({"value": "strict", "from": "annotation"})
    );
}
