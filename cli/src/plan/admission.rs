//! What the API server and the webhook would refuse, without asking either: both judge by the definitions and by the rules of `smilax-crds`.

use std::fmt::Write as _;

use anyhow::bail;
use jsonschema::Validator;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value};

use crate::world::{group_of, text};

/// Refuses objects that applying would refuse.
///
/// # Errors
/// A line for each fault: the object, the field and the reason.
pub(crate) fn judge(objects: &[Value]) -> anyhow::Result<()> {
    let definitions = smilax_crds::manifests();
    let mut faults = Vec::new();
    for object in objects.iter().filter(|object| is_ours(group_of(object))) {
        let what = format!(
            "{} {}/{}",
            text(object, "/kind"),
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name")
        );
        let found = faults_of(object, &definitions)?;
        faults.extend(found.into_iter().map(|fault| format!("{what}: {fault}")));
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the API server would refuse:\n  {}", faults.join("\n  "))
}

fn is_ours(group: &str) -> bool {
    group.ends_with("smi-spec.io") || group == smilax_crds::mesh::GROUP
}

fn faults_of(object: &Value, definitions: &[CustomResourceDefinition]) -> anyhow::Result<Vec<String>> {
    let mut faults: Vec<String> = smilax_crds::validate(object)
        .errors
        .iter()
        .map(ToString::to_string)
        .collect();
    let (group, version) = text(object, "/apiVersion").split_once('/').unwrap_or_default();
    // An unknown kind or version was named already.
    let Some(schema) = schema(definitions, group, version, text(object, "/kind"))? else {
        return Ok(faults);
    };
    for error in Validator::new(&schema)?.iter_errors(object) {
        let field = field(&error.instance_path().to_string());
        // The rules of the webhook say it better where both object to a field.
        if field.is_empty() || !faults.iter().any(|fault| fault.starts_with(&field)) {
            faults.push(format!("{field}: {error}").trim_start_matches(": ").to_owned());
        }
    }
    Ok(faults)
}

/// The schema of a kind, in which unknown fields are errors, as they are to `kubectl apply`.
fn schema(
    definitions: &[CustomResourceDefinition],
    group: &str,
    version: &str,
    kind: &str,
) -> anyhow::Result<Option<Value>> {
    let schema = definitions
        .iter()
        .find(|one| one.spec.group == group && one.spec.names.kind == kind)
        .and_then(|one| one.spec.versions.iter().find(|one| one.name == version))
        .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let Some(schema) = schema else {
        return Ok(None);
    };
    let mut schema = closed(serde_json::to_value(schema)?);
    // What every object has, and definitions do not mention.
    if let Some(properties) = schema["properties"].as_object_mut() {
        for field in ["apiVersion", "kind", "metadata"] {
            properties.insert(field.to_owned(), Value::Object(Map::new()));
        }
    }
    Ok(Some(schema))
}

fn closed(schema: Value) -> Value {
    match schema {
        Value::Array(all) => Value::Array(all.into_iter().map(closed).collect()),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields
                .into_iter()
                // Formats are annotations to the API server, except for few that no field of ours has.
                .filter(|(name, _)| name != "format")
                .map(|(name, value)| (name, closed(value)))
                .collect();
            let is_open = fields.contains_key("additionalProperties")
                || fields.contains_key("x-kubernetes-preserve-unknown-fields");
            if fields.contains_key("properties") && !is_open {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(fields)
        }
        other => other,
    }
}

/// `/spec/backends/1/weight` as `spec.backends[1].weight`.
fn field(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            // Writing to a String does not fail.
            let _ = write!(field, "[{part}]");
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(part);
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(spec: &Value) -> Value {
        json!({
            "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
        })
    }

    fn said(object: Value) -> String {
        judge(&[object]).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_the_api_server_takes_is_taken() {
        let spec = json!({"service": "web", "backends": [{"service": "web-v1", "weight": 1}]});
        assert_eq!(said(split(&spec)), "");
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"anything": 1}});
        assert_eq!(said(pod), "");
    }

    #[test]
    fn a_negative_weight_is_refused_with_its_field() {
        let spec = json!({"service": "web", "backends": [{"service": "web-v1", "weight": -1}]});
        let said = said(split(&spec));
        assert!(
            said.contains("TrafficSplit shop/web: spec.backends[0].weight"),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let spec = json!({"service": "web", "backend": [], "backends": [{"service": "web-v1", "weight": 1}]});
        let said = said(split(&spec));
        assert!(said.contains("'backend'"), "{said}");
    }

    #[test]
    fn an_unknown_version_is_refused_with_the_one_to_write() {
        let mut object = split(&json!({}));
        object["apiVersion"] = json!("split.smi-spec.io/v1beta1");
        assert!(said(object).contains("v1alpha4"));
    }
}
