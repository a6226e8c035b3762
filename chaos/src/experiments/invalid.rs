//! Values that no user should write, in every field that a definition names.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Bench, LOOK, seconds};
use crate::api::{Api, Place};
use crate::objects;
use crate::scenario::Stage;
use crate::session::CONVERGES_WITHIN;
use crate::snapshot::{DEFINITIONS, Snapshot};

/// How soon something must be said of a value that is taken.
const SAID_WITHIN: Duration = Duration::from_secs(10);
/// How often a write is tried that a status overtakes.
const TRIES: usize = 20;

/// A field, by the way to it from the object.
type Path = Vec<String>;

/// Every field of a schema, of arrays the first element.
fn fields(schema: &Value, path: &Path, found: &mut Vec<(Path, String)>) {
    let kind = schema["type"].as_str().unwrap_or("any");
    found.push((path.clone(), kind.to_owned()));
    let below = |name: &str| path.iter().cloned().chain([name.to_owned()]).collect::<Path>();
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        fields(schema, &below(name), found);
    }
    if kind == "array" {
        fields(&schema["items"], &below("0"), found);
    }
}

/// What is written into a field: what it is not, nothing, and the ends of what it could be.
fn values(kind: &str) -> Vec<Value> {
    let mut all = vec![Value::Null, json!(true), json!({"unknown": 1}), json!([null])];
    match kind {
        "string" => all.extend([
            json!(""),
            json!("*"),
            json!("a/../b c"),
            json!("("),
            json!("é".repeat(3000)),
            json!(7),
        ]),
        "integer" | "number" => all.extend([json!(-1), json!(0), json!(i64::MAX), json!(1.5), json!("7")]),
        "array" => all.extend([json!([]), json!([{}]), json!(["", ""]), json!("x")]),
        _ => all.extend([json!({}), json!("x"), json!([])]),
    }
    all
}

/// Puts a value at the end of a path, making what lies on the way.
fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    if let (Value::Array(elements), Ok(index)) = (&mut *object, first.parse::<usize>()) {
        if elements.len() <= index {
            elements.push(json!({}));
        }
        if let Some(element) = elements.get_mut(index) {
            put(element, rest, value);
        }
        return;
    }
    if first.parse::<usize>().is_ok() {
        *object = json!([{}]);
        return put(object, path, value);
    }
    if !object.is_object() {
        *object = json!({});
    }
    put(&mut object[first.as_str()], rest, value);
}

/// Puts another `spec` into an object as it is now; `None` when it is refused.
async fn respecify(api: &Api, path: &str, spec: &Value) -> anyhow::Result<Option<Value>> {
    for _ in 0..TRIES {
        let mut object = api.get(path).await?.context("the object is gone")?;
        object["spec"] = spec.clone();
        match api.send("PUT", path, "application/json", &object).await {
            Ok(taken) => return Ok(Some(taken)),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("PUT {path}: {spec}")),
        }
    }
    anyhow::bail!("{path}: a status is written again and again")
}

/// Waits until something is said of this generation; whether anything in it is not well.
async fn said(api: &Api, path: &str, generation: &Value) -> anyhow::Result<Option<bool>> {
    let start = Instant::now();
    while start.elapsed() < SAID_WITHIN {
        let object = api.get(path).await?.unwrap_or_default();
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if !conditions.is_empty()
            && conditions
                .iter()
                .all(|one| one["observedGeneration"] == *generation)
        {
            return Ok(Some(conditions.iter().any(|one| one["status"] == "False")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// What is tried: one object of each kind, as the scenario has it.
fn walked() -> Vec<(&'static str, Value)> {
    vec![
        (
            "trafficsplits.split.smi-spec.io",
            objects::split("shop", "web", &[("web-v1", 90), ("web-v2", 10)]),
        ),
        (
            "httproutegroups.specs.smi-spec.io",
            objects::group("shop", "pages", "/pages"),
        ),
        ("tcproutes.specs.smi-spec.io", objects::tcp_route("shop", "plain")),
        (
            "traffictargets.access.smi-spec.io",
            objects::target("shop", "web", &["api"], &[("HTTPRouteGroup", "pages")]),
        ),
    ]
}

async fn forget_events(api: &Api) -> anyhow::Result<()> {
    let path = "/api/v1/namespaces/shop/events";
    for event in api.list(path).await? {
        let name = event["metadata"]["name"].as_str().unwrap_or_default();
        api.delete(&format!("{path}/{name}")).await?;
    }
    Ok(())
}

async fn as_before(api: &Api, wanted: &Snapshot) -> anyhow::Result<Duration> {
    let start = Instant::now();
    loop {
        let different = Snapshot::take(api)
            .await?
            .without_generations()
            .differs_from(wanted);
        if different.is_empty() {
            return Ok(start.elapsed());
        }
        ensure!(
            start.elapsed() < CONVERGES_WITHIN,
            "not as before: {}",
            different.join("\n  ")
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Each value is refused, or something is said of the object; and once all is as before, so is everything else.
pub(super) async fn r26(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    forget_events(&api).await?;
    let wanted = Snapshot::take(&api).await?.without_generations();
    let (mut tried, mut refused, mut not_well, mut slowest) = (0, 0, 0, Duration::ZERO);
    for (definition, object) in walked() {
        let path = Place::of(&object).path();
        let definition = api
            .get(&format!("{DEFINITIONS}/{definition}"))
            .await?
            .unwrap_or_default();
        let versions = definition["spec"]["versions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let stored = versions.iter().find(|one| one["storage"] == true);
        let schema = stored.and_then(|one| one.pointer("/schema/openAPIV3Schema/properties/spec"));
        let mut all = Vec::new();
        fields(
            schema.context("a definition without a schema")?,
            &Path::new(),
            &mut all,
        );
        ensure!(all.len() > 2, "{path} has no fields");
        for (field, kind) in all {
            for value in values(&kind) {
                let mut spec = object["spec"].clone();
                put(&mut spec, &field, value.clone());
                tried += 1;
                let Some(taken) = respecify(&api, &path, &spec).await? else {
                    refused += 1;
                    continue;
                };
                let told = said(&api, &path, &taken["metadata"]["generation"]).await?;
                bench.same_process()?;
                let is_not_well = told.with_context(|| {
                    format!("nothing is said of {path} with {value} at {}", field.join("."))
                })?;
                not_well += usize::from(is_not_well);
            }
        }
        respecify(&api, &path, &object["spec"]).await?;
        forget_events(&api).await?;
        slowest = slowest.max(as_before(&api, &wanted).await.context(path)?);
    }
    Ok(format!(
        "{tried} values in every field of {} kinds: {refused} refused, {not_well} told in a condition, the others taken; as before {} after they were put back",
        walked().len(),
        seconds(slowest)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_schema_is_reached() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}}}});
        let mut found = Vec::new();
        fields(&schema, &Path::new(), &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|(path, kind)| format!("{} {kind}", path.join(".")))
            .collect();
        assert_eq!(found, [" object", "a array", "a.0 object", "a.0.b string"]);
    }

    #[test]
    fn a_value_is_put_where_nothing_is_yet() {
        let mut object = json!({"a": [{"b": 1, "c": 2}]});
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Path>();
        put(&mut object, &path("a.0.b"), json!("x"));
        put(&mut object, &path("d.0.e"), json!(3));
        assert_eq!(object, json!({"a": [{"b": "x", "c": 2}], "d": [{"e": 3}]}));
    }
}
