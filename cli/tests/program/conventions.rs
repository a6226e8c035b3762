//! What every verb has in common: outputs, unknown namespaces, missing rights.

use serde_json::{Value, json};

use crate::support::{Cluster, forbidden, list, version};

/// A cluster with nothing but the namespace shop.
fn empty(_: &str, path: &str, _: &Value) -> Option<Value> {
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    Some(match path {
        "/version" => version(),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1/namespaces" => list(&[shop]),
        "/api/v1/namespaces/shop" => shop,
        // One object by its name, of a namespace or of none.
        path if path.starts_with("/api/v1/namespaces/") && path.split('/').count() != 6 => return None,
        _ => list(&[]),
    })
}

/// A cluster of which the user may see nothing.
fn closed(path: &str) -> Value {
    match path {
        "/version" => version(),
        _ => forbidden(),
    }
}

#[test]
fn every_verb_that_prints_a_table_prints_json_and_yaml() {
    let cluster = Cluster::that(empty);
    for verb in ["check", "version", "ca status", "why-inject"] {
        let json = cluster.run(&format!("{verb} -o json"));
        let of_json = serde_json::from_str::<Value>(&json.out);
        assert!(of_json.is_ok(), "{verb}: {}{}", json.out, json.error);
        let yaml = cluster.run(&format!("{verb} -o yaml"));
        let of_yaml = serde_saphyr::from_str::<Value>(&yaml.out);
        assert!(of_yaml.is_ok(), "{verb}: {}{}", yaml.out, yaml.error);
        assert_eq!(json.code, yaml.code, "{verb}");
    }
}

#[test]
fn a_namespace_that_does_not_exist_is_an_error_of_every_verb_and_the_nearest_is_proposed() {
    let cluster = Cluster::that(empty);
    for line in [
        "explain trafficsplit/web -n shpo",
        "log-level -n shpo",
        "proxy-config web-1 -n shpo",
        "proxy-status -n shpo",
        "why-inject -n shpo",
        "why-inject ns/shpo",
    ] {
        let run = cluster.run(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.out);
        assert!(
            run.error.contains("there is no namespace shpo"),
            "{line}: {}",
            run.error
        );
        assert!(run.error.contains("did you mean shop?"), "{line}: {}", run.error);
    }
}

#[test]
fn a_missing_right_is_one_line_with_the_role_that_is_needed() {
    let cluster = Cluster::that(|_, path, _| Some(closed(path)));
    for line in [
        "authz --from shop/a --to shop/b",
        "ca status",
        "check",
        "explain trafficsplit/web",
        "log-level -n shop",
        "namespaces",
        "proxy-config web-1",
        "version",
        "why-inject",
    ] {
        let run = cluster.run(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.out);
        assert_eq!(run.error.lines().count(), 1, "{line}: {}", run.error);
        assert!(run.error.contains("ClusterRole"), "{line}: {}", run.error);
    }
}
