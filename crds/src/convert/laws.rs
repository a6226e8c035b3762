//! Laws of conversion, over random objects that the schemas accept, with the pruning that the API server does in
//! between: what a version's schema does not know is lost there, whatever our functions kept.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::manifests;

pub(super) const VERSIONS: [&str; 4] = ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"];
const HUB: &str = "v1alpha4";

// === schemas ===

struct Schemas {
    group: String,
    versions: Vec<(String, Value)>,
}

impl Schemas {
    fn of(kind: &str) -> Self {
        let definition = manifests()
            .into_iter()
            .find(|definition| definition.spec.names.kind == kind)
            .expect("a known kind");
        let versions = definition.spec.versions.into_iter().map(|version| {
            let schema = version
                .schema
                .and_then(|schema| schema.open_api_v3_schema)
                .expect("a schema");
            (version.name, serde_json::to_value(schema).expect("writes"))
        });
        Self {
            group: definition.spec.group,
            versions: versions.collect(),
        }
    }

    fn schema(&self, version: &str) -> &Value {
        &self
            .versions
            .iter()
            .find(|(name, _)| name == version)
            .expect("a known version")
            .1
    }

    /// What the API server makes of an object of a version, after checking that it would accept it.
    fn store(&self, version: &str, object: &Value) -> Result<Value, String> {
        let mut pruned = prune(self.schema(version), object);
        for field in ["apiVersion", "kind", "metadata"] {
            pruned[field] = object[field].clone();
        }
        conforms(self.schema(version), &pruned, "object")?;
        Ok(pruned)
    }

    fn convert(&self, object: &Value, version: &str) -> Result<Value, String> {
        let desired = format!("{}/{version}", self.group);
        let converted = super::convert(object.clone(), &desired)
            .map_err(|error| error.to_string())?
            .object;
        let (before, after) = (untouchable(object), untouchable(&converted));
        if before != after {
            return Err(format!("metadata changed: {before} to {after}"));
        }
        if converted["apiVersion"] != desired.as_str() {
            return Err(format!("is {}", converted["apiVersion"]));
        }
        self.store(version, &converted)
    }
}

/// Metadata that a conversion must not change, and the annotations that are not its own.
fn untouchable(object: &Value) -> Value {
    let mut metadata = object["metadata"].clone();
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.retain(|key, _| !key.starts_with("conversion.smilax.dev/"));
        if annotations.is_empty() {
            metadata["annotations"] = Value::Null;
        }
    }
    metadata
}

fn prune(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(map)
            if schema.get("properties").is_some() || schema.get("type") == Some(&json!("object")) =>
        {
            let kept = map.iter().filter_map(|(key, value)| {
                let property = schema["properties"]
                    .get(key)
                    .or_else(|| schema.get("additionalProperties"))?;
                Some((key.clone(), prune(property, value)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(list) if schema.get("items").is_some() => {
            list.iter().map(|item| prune(&schema["items"], item)).collect()
        }
        other => other.clone(),
    }
}

fn conforms(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{path} is {value}: {what} {schema}"));
    let typed = match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        None if schema.get("x-kubernetes-int-or-string").is_some() => value.is_i64() || value.is_string(),
        _ => true,
    };
    if !typed {
        return wrong("not of the type of");
    }
    if schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.contains(value))
    {
        return wrong("not in the enum of");
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(number) = value.as_f64()
        && (bound("minimum").is_some_and(|min| number < min)
            || bound("maximum").is_some_and(|max| number > max))
    {
        return wrong("out of the bounds of");
    }
    for required in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if value.get(required.as_str().unwrap_or_default()).is_none() {
            return wrong("lacks a field of");
        }
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(value) = value.get(name) {
            conforms(property, value, &format!("{path}.{name}"))?;
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            conforms(items, item, &format!("{path}[{index}]"))?;
        }
    }
    Ok(())
}

// === objects ===

/// A JSON object of these fields, each perhaps left out.
fn fields(all: Vec<(&'static str, bool, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let all: Vec<_> = all
        .into_iter()
        .map(|(name, required, value)| {
            let value = if required {
                value.prop_map(Some).boxed()
            } else {
                prop::option::of(value).boxed()
            };
            value
                .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
                .boxed()
        })
        .collect();
    all.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>()))
        .boxed()
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(item, 0..4).prop_map(Value::from).boxed()
}

fn word() -> BoxedStrategy<Value> {
    "[a-c]{1,2}".prop_map(Value::from).boxed()
}

fn one_of(all: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::sample::select(all).prop_map(Value::from).boxed()
}

fn quantity() -> BoxedStrategy<Value> {
    prop_oneof![
        (0_i64..2000).prop_map(Value::from),
        (0_i64..3000).prop_map(|milli| format!("{milli}m").into()),
        "[0-9]{1,3}(\\.[0-9]{1,4})?(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e2|E-2)".prop_map(Value::from),
    ]
    .boxed()
}

fn metadata() -> BoxedStrategy<Value> {
    let annotations =
        || prop::collection::btree_map("[a-c]{1,3}", "\\PC{0,5}", 1..3).prop_map(|map| json!(map));
    fields(vec![
        ("name", true, word()),
        ("namespace", true, word()),
        ("uid", true, word()),
        ("generation", false, (0_i64..9).prop_map(Value::from).boxed()),
        ("labels", false, annotations().boxed()),
        ("annotations", false, annotations().boxed()),
        (
            "managedFields",
            false,
            Just(json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }])).boxed(),
        ),
    ])
}

pub(super) fn object(kind: &'static str, version: &'static str) -> BoxedStrategy<Value> {
    let status = Just(json!({ "conditions": [] })).boxed();
    let root = match (kind, version) {
        ("TrafficSplit", _) => vec![("spec", false, split_spec(version))],
        ("TrafficTarget", "v1alpha1") => target_fields("specs"),
        ("TrafficTarget", _) => vec![("spec", true, fields(target_fields("rules")))],
        ("HTTPRouteGroup", "v1alpha1" | "v1alpha2") => vec![("matches", false, matches())],
        ("HTTPRouteGroup", _) => {
            vec![
                ("spec", false, fields(vec![("matches", true, matches())])),
                ("matches", false, matches()),
            ]
        }
        ("TCPRoute", "v1alpha3") => vec![("spec", false, Just(json!({})).boxed())],
        ("TCPRoute", "v1alpha4") => vec![("spec", false, ports())],
        _ => Vec::new(),
    };
    let group = Schemas::of(kind).group;
    (metadata(), fields(root), prop::option::of(status))
        .prop_map(move |(metadata, mut object, status)| {
            object["apiVersion"] = json!(format!("{group}/{version}"));
            object["kind"] = json!(kind);
            object["metadata"] = metadata;
            if let Some(status) = status {
                object["status"] = status;
            }
            object
        })
        .boxed()
}

fn split_spec(version: &str) -> BoxedStrategy<Value> {
    let old = version == "v1alpha1";
    let weight = if old {
        quantity()
    } else {
        (0_i64..2000).prop_map(Value::from).boxed()
    };
    let backend = fields(vec![("service", true, word()), ("weight", !old, weight)]);
    let mut all = vec![("service", true, word()), ("backends", true, list(backend))];
    if matches!(version, "v1alpha3" | "v1alpha4") {
        let group = one_of(&["", "specs.smi-spec.io"]);
        let reference = fields(vec![
            ("kind", true, one_of(&["HTTPRouteGroup"])),
            ("name", true, word()),
            ("apiGroup", false, group),
        ]);
        all.push(("matches", false, list(reference)));
    }
    fields(all)
}

fn target_fields(rules: &'static str) -> Vec<(&'static str, bool, BoxedStrategy<Value>)> {
    let identity = || {
        let port = prop_oneof![(1_i64..65535).prop_map(Value::from), Just(json!("9091"))].boxed();
        fields(vec![
            ("kind", true, one_of(&["ServiceAccount", "IdentityBinding"])),
            ("name", true, word()),
            ("namespace", false, word()),
            ("group", false, word()),
            ("port", false, port),
        ])
    };
    let kind = one_of(&["HTTPRouteGroup", "TCPRoute", "UDPRoute"]);
    let rule = fields(vec![
        ("kind", true, kind),
        ("name", true, word()),
        ("matches", false, list(word())),
    ]);
    vec![
        ("destination", true, identity()),
        ("sources", false, list(identity())),
        (rules, false, list(rule)),
    ]
}

fn matches() -> BoxedStrategy<Value> {
    let map = || {
        prop::collection::btree_map("[a-c]{1,2}", "[a-c.*]{0,3}", 0..3)
            .prop_map(|map| json!(map))
            .boxed()
    };
    let headers = prop_oneof![map(), list(map())].boxed();
    list(fields(vec![
        ("name", true, word()),
        ("pathRegex", false, word()),
        ("methods", false, list(one_of(&["*", "GET", "PUT"]))),
        ("headers", false, headers),
    ]))
}

fn ports() -> BoxedStrategy<Value> {
    let port = (1_i64..65535).prop_map(Value::from).boxed();
    fields(vec![(
        "matches",
        false,
        fields(vec![("name", false, word()), ("ports", false, list(port))]),
    )])
}

/// JSON of any shape, with field names that our functions look at.
fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        one_of(&[
            "v1",
            "TrafficSplit",
            "split.smi-spec.io/v1alpha1",
            "only",
            "[]",
            "900m",
            "HTTPRouteGroup"
        ]),
    ];
    let names = prop::sample::select(
        &[
            "spec",
            "matches",
            "backends",
            "weight",
            "service",
            "metadata",
            "annotations",
            "destination",
            "sources",
            "specs",
            "rules",
            "headers",
            "ports",
            "name",
            "namespace",
            "kind",
            "schemes",
            "pathRegex",
            "methods",
            "port",
            WEIGHTS,
            MATCHES,
            ROOT_MATCHES,
            SPEC,
            EMPTY_RULES,
            INCOMPLETE,
        ][..],
    );
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|entries| {
                Value::Object(
                    entries
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
    .boxed()
}

// === laws ===

fn check(kind: &'static str, test: impl Fn(&Schemas, &'static str) -> Result<(), TestCaseError>) {
    let schemas = Schemas::of(kind);
    for version in VERSIONS {
        test(&schemas, version).unwrap_or_else(|error| panic!("{kind} {version}: {error}"));
    }
}

pub(super) fn for_all(
    objects: &BoxedStrategy<Value>,
    law: impl Fn(Value) -> Result<(), String>,
) -> Result<(), TestCaseError> {
    let config = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(objects, |object| law(object).map_err(TestCaseError::fail))
        .map_err(|error| TestCaseError::fail(error.to_string()))
}

fn equal(left: &Value, right: &Value, what: &str) -> Result<(), String> {
    if left == right {
        Ok(())
    } else {
        Err(format!("{what}: {left} is not {right}"))
    }
}

/// What is written in any version reads back identically in that version, the storage version accepts it, and it
/// matters not through which version it was read and written meanwhile.
fn written_in_any_version(kind: &'static str) {
    check(kind, |schemas, version| {
        for_all(&object(kind, version), |written| {
            let written = schemas.store(version, &written)?;
            let stored = schemas.convert(&written, HUB)?;
            equal(&schemas.convert(&stored, version)?, &written, "read back")?;
            for between in VERSIONS {
                let passed = schemas.convert(&schemas.convert(&stored, between)?, HUB)?;
                equal(&passed, &stored, between)?;
            }
            Ok(())
        })
    });
}

/// What is stored survives being read and written in any version.
fn stored(kind: &'static str) {
    check(kind, |schemas, version| {
        for_all(&object(kind, HUB), |stored| {
            let stored = schemas.store(HUB, &stored)?;
            let read = schemas.convert(&stored, version)?;
            equal(&schemas.convert(&read, HUB)?, &stored, "written back")
        })
    });
}

#[test]
fn a_traffic_split_survives_every_version() {
    written_in_any_version("TrafficSplit");
    stored("TrafficSplit");
}

#[test]
fn a_traffic_target_survives_every_version() {
    written_in_any_version("TrafficTarget");
    stored("TrafficTarget");
}

#[test]
fn an_http_route_group_survives_every_version() {
    written_in_any_version("HTTPRouteGroup");
    stored("HTTPRouteGroup");
}

#[test]
fn a_tcp_route_survives_every_version() {
    written_in_any_version("TCPRoute");
    stored("TCPRoute");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn converting_anything_never_panics(
        mut object in anything(),
        kind in 0_usize..4,
        from in 0_usize..4,
        to in 0_usize..4,
    ) {
        let (group, kind) = [
            ("split.smi-spec.io", "TrafficSplit"),
            ("access.smi-spec.io", "TrafficTarget"),
            ("specs.smi-spec.io", "HTTPRouteGroup"),
            ("specs.smi-spec.io", "TCPRoute"),
        ][kind];
        if let Some(object) = object.as_object_mut() {
            object.insert("apiVersion".to_owned(), format!("{group}/{}", VERSIONS[from]).into());
            object.insert("kind".to_owned(), kind.into());
        }
        let _ = convert(object.clone(), &format!("{group}/{}", VERSIONS[to]));
        let _ = crate::validate(&object);
        // And the hub types read it, whatever it is, as long as it is an object with readable metadata.
        let _ = serde_json::from_value::<crate::split::TrafficSplit>(object.clone());
        let _ = serde_json::from_value::<crate::specs::HTTPRouteGroup>(object);
    }

    #[test]
    fn answering_anything_never_panics(request in anything()) {
        let review = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request,
        });
        let answer = conversion_review(review.to_string().as_bytes()).expect("is JSON");
        let answer: Value = serde_json::from_slice(&answer.body).expect("is JSON");
        prop_assert!(answer["response"]["result"]["status"].is_string());
    }
}
