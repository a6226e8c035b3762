//! From a Rust type to a structural schema.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use crate::status::Status;

/// The schema of an object: `fields` beside `metadata`, and a status with conditions and the `columns` strings.
pub(super) fn object(
    description: &str,
    fields: api::JSONSchemaProps,
    columns: &[&str],
) -> api::JSONSchemaProps {
    let mut root = fields;
    root.description = Some(description.to_owned());
    root.properties
        .get_or_insert_default()
        .insert("status".to_owned(), status(columns));
    root
}

/// Fields beside `metadata`: `spec` of this type and nothing else.
pub(super) fn spec<S: JsonSchema>() -> api::JSONSchemaProps {
    api::JSONSchemaProps {
        type_: Some("object".to_owned()),
        properties: Some([("spec".to_owned(), of::<S>())].into()),
        ..api::JSONSchemaProps::default()
    }
}

/// Fields beside `metadata`: none.
pub(super) fn no_fields() -> api::JSONSchemaProps {
    api::JSONSchemaProps {
        type_: Some("object".to_owned()),
        ..api::JSONSchemaProps::default()
    }
}

/// The schema of a type.
#[expect(
    clippy::expect_used,
    reason = "depends on nothing but our types; every test run makes all schemas"
)]
pub(super) fn of<T: JsonSchema>() -> api::JSONSchemaProps {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(Strict)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.remove("title");
    serde_json::from_value(schema.to_value()).expect("a schema made of our types is one for Kubernetes")
}

fn status(columns: &[&str]) -> api::JSONSchemaProps {
    let mut schema = of::<Status>();
    schema.description =
        Some("What became of it: conditions, and strings for the columns of kubectl.".to_owned());
    if let Some(properties) = &mut schema.properties {
        properties.retain(|field, _| field == "conditions" || columns.contains(&field.as_str()));
        if let Some(conditions) = properties.get_mut("conditions") {
            // So that different writers can own different conditions.
            conditions.x_kubernetes_list_type = Some("map".to_owned());
            conditions.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
        }
    }
    schema
}

/// Takes out what `serde` and `Option` bring in and Kubernetes would act upon: defaults (a specification is never
/// touched) and `null` (absent is absent), except where a type asks for `null` itself.
#[derive(Clone)]
struct Strict;

/// What a type writes into its schema to keep `null`.
const KEEP_NULL: &str = "x-smilax-null";

impl Transform for Strict {
    fn transform(&mut self, schema: &mut schemars::Schema) {
        transform_subschemas(self, schema);
        schema.remove("default");
        match schema.remove(KEEP_NULL) {
            Some(Value::Bool(true)) => drop(schema.insert("nullable".to_owned(), json!(true))),
            _ => drop(schema.remove("nullable")),
        }
    }
}
