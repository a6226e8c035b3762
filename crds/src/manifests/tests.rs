use std::path::Path;

use serde_json::Value;

use super::*;

#[test]
fn the_files_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let update = std::env::var_os("UPDATE_MANIFESTS").is_some();
    let mut expected = Vec::new();
    for definition in manifests() {
        let name = file_name(&definition);
        let (path, text) = (folder.join(&name), to_yaml(&definition).expect("writes"));
        if update {
            std::fs::write(&path, &text).expect("the folder can be written");
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == text,
            "{name} differs; UPDATE_MANIFESTS=1 cargo test -p smilax-crds rewrites it"
        );
        expected.push(name);
    }
    let found: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| {
            entry
                .expect("and its entries")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| !expected.contains(name))
        .collect();
    assert!(found.is_empty(), "files of no kind: {found:?}");
}

#[test]
fn the_files_read_back_as_the_same_definitions() {
    for definition in manifests() {
        let text = to_yaml(&definition).expect("writes");
        let read: api::CustomResourceDefinition = serde_saphyr::from_str(&text).expect("reads");
        assert_eq!(read, definition);
    }
}

#[test]
fn every_version_is_served_and_the_last_is_stored() {
    let table: Vec<_> = manifests()
        .iter()
        .map(|definition| {
            let versions = definition.spec.versions.iter();
            let names: Vec<_> = versions
                .map(|v| format!("{}{}", v.name, if v.storage { "*" } else { "" }))
                .collect();
            assert!(definition.spec.versions.iter().all(|version| version.served));
            let names = (
                names.join(" "),
                definition
                    .spec
                    .names
                    .short_names
                    .clone()
                    .unwrap_or_default()
                    .join(","),
            );
            let conversion = definition
                .spec
                .conversion
                .as_ref()
                .expect("is given")
                .strategy
                .clone();
            (definition.spec.names.kind.clone(), names.0, names.1, conversion)
        })
        .map(|(kind, versions, short, conversion)| format!("{kind}: {versions} [{short}] {conversion}"))
        .collect();
    assert_eq!(
        table,
        [
            "TrafficSplit: v1alpha1 v1alpha2 v1alpha3 v1alpha4* [ts] Webhook",
            "TrafficTarget: v1alpha1 v1alpha2 v1alpha3 v1alpha4* [tt] Webhook",
            "IdentityBinding: v1alpha4* [ib] None",
            "HTTPRouteGroup: v1alpha1 v1alpha2 v1alpha3 v1alpha4* [htr] Webhook",
            "TCPRoute: v1alpha1 v1alpha2 v1alpha3 v1alpha4* [tr] Webhook",
            "UDPRoute: v1alpha4* [ur] None",
            "MeshConfig: v1alpha1* [] None",
        ]
    );
}

/// The rules of structural schemas that our generator could break.
fn assert_structural(path: &str, schema: &Value) {
    let fields = schema
        .as_object()
        .unwrap_or_else(|| panic!("{path} is not an object: {schema}"));
    for forbidden in [
        "$ref",
        "definitions",
        "default",
        "oneOf",
        "allOf",
        "not",
        "anyOf",
        "title",
    ] {
        assert!(!fields.contains_key(forbidden), "{path} has {forbidden}");
    }
    let int_or_string = fields.contains_key("x-kubernetes-int-or-string");
    let untyped = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    assert!(
        fields.contains_key("type") != (int_or_string || untyped),
        "{path} needs one type"
    );
    assert!(
        !(fields.contains_key("properties") && fields.contains_key("additionalProperties")),
        "{path} has both properties and additionalProperties"
    );
    for (name, property) in fields
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        assert_structural(&format!("{path}.{name}"), property);
        assert!(
            int_or_string || untyped || property.get("description").is_some(),
            "{path}.{name} is not described"
        );
    }
    assert_eq!(
        fields.get("type") == Some(&json!("array")),
        fields.contains_key("items"),
        "{path}"
    );
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get(nested) {
            assert_structural(&format!("{path}[]"), schema);
        }
    }
}

#[test]
fn every_schema_is_structural_described_and_without_defaults() {
    for definition in manifests() {
        for version in definition.spec.versions {
            let schema = version
                .schema
                .and_then(|schema| schema.open_api_v3_schema)
                .expect("has a schema");
            let path = format!("{}/{}", definition.spec.names.kind, version.name);
            assert_structural(&path, &serde_json::to_value(schema).expect("writes"));
        }
    }
}

/// Paths of the required fields of a version.
fn required(kind: &str, version: &str) -> Vec<String> {
    fn collect(path: &str, schema: &Value, found: &mut Vec<String>) {
        for name in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            found.push(format!("{path}{}", name.as_str().unwrap_or_default()));
        }
        for (name, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            collect(
                &format!("{path}{name}."),
                property.get("items").unwrap_or(property),
                found,
            );
        }
    }
    let definitions = manifests();
    let definition = definitions
        .iter()
        .find(|it| it.spec.names.kind == kind)
        .expect("a known kind");
    let version = definition
        .spec
        .versions
        .iter()
        .find(|it| it.name == version)
        .expect("a known version");
    let mut found = Vec::new();
    collect(
        "",
        &serde_json::to_value(&version.schema).expect("writes")["openAPIV3Schema"],
        &mut found,
    );
    found.retain(|path| !path.starts_with("status."));
    found.sort();
    found
}

#[test]
fn the_fields_that_smi_requires_are_required() {
    assert_eq!(
        required("TrafficSplit", "v1alpha1"),
        ["spec.backends", "spec.backends.service", "spec.service"],
        "the weight may be left out"
    );
    for version in ["v1alpha2", "v1alpha3", "v1alpha4"] {
        let all = required("TrafficSplit", version);
        assert!(all.starts_with(
            &["spec.backends", "spec.backends.service", "spec.backends.weight"].map(str::to_owned)
        ));
    }
    assert_eq!(
        required("TrafficTarget", "v1alpha4"),
        [
            "spec.destination",
            "spec.destination.kind",
            "spec.destination.name",
            "spec.rules.kind",
            "spec.rules.name",
            "spec.sources.kind",
            "spec.sources.name"
        ]
    );
    assert_eq!(
        required("HTTPRouteGroup", "v1alpha3"),
        ["matches.name", "spec.matches", "spec.matches.name"]
    );
    assert_eq!(required("HTTPRouteGroup", "v1alpha1"), ["matches.name"]);
    assert_eq!(
        required("IdentityBinding", "v1alpha4"),
        ["spec.schemes", "spec.schemes.podLabelSelector.matchLabels"]
    );
    assert!(required("TCPRoute", "v1alpha4").is_empty());
}

/// Names and formats of every field below a schema.
fn fields<'a>(schema: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, field) in properties {
            found.push((name, field["format"].as_str().unwrap_or_default()));
            fields(field, found);
        }
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            fields(&schema[below], found);
        }
    }
}

#[test]
fn f12_no_field_of_our_apis_leads_the_operator_anywhere() {
    let definitions = serde_json::to_value(manifests()).expect("serialises");
    for definition in definitions.as_array().expect("a list") {
        for version in definition["spec"]["versions"].as_array().expect("versions") {
            let mut found = Vec::new();
            fields(&version["schema"]["openAPIV3Schema"], &mut found);
            assert!(
                found.len() > 5,
                "{} {}",
                definition["metadata"]["name"],
                version["name"]
            );
            for (name, format) in found {
                let name = name.to_lowercase();
                for way in ["url", "uri", "endpoint", "webhook", "address", "proxyto"] {
                    assert!(
                        !name.contains(way) && format != way,
                        "{name} of {}",
                        definition["metadata"]["name"]
                    );
                }
            }
        }
    }
}
