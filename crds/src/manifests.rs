//! The CustomResourceDefinitions, made from the Rust types of every version.
//!
//! The files of `crds/manifests` are their golden copies; `UPDATE_MANIFESTS=1 cargo test -p smilax-crds` rewrites them.

mod kinds;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

/// Name and namespace of the Service that converts between versions. The installer may change the namespace; the
/// operator adds the `caBundle`.
pub const CONVERSION_SERVICE: (&str, &str) = ("smilax-conversion", "smilax-system");
/// Path at which it converts.
pub const CONVERSION_PATH: &str = "/convert";

/// All definitions, in a fixed order.
pub fn manifests() -> Vec<api::CustomResourceDefinition> {
    kinds::all().into_iter().map(Kind::definition).collect()
}

/// The file of `crds/manifests` that holds a definition: `<group>_<plural>.yaml`.
pub fn file_name(definition: &api::CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural)
}

/// A definition as the text of its file.
///
/// # Errors
/// When the definition cannot be written as YAML, which no definition of [`manifests`] causes.
pub fn to_yaml(definition: &api::CustomResourceDefinition) -> Result<String, serde_saphyr::SerializeError> {
    let yaml = serde_saphyr::to_string(definition)?;
    Ok(format!(
        "# Generated from the types of the crate smilax-crds; do not edit.\n{}\n",
        yaml.trim_end()
    ))
}

/// Where objects of a kind live.
#[derive(Clone, Copy)]
enum Scope {
    Namespaced,
    Cluster,
}

/// What a definition says of a kind.
struct Kind {
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    versions: Vec<Version>,
}

/// One version of a kind. The last of a kind is the one that is stored.
struct Version {
    name: &'static str,
    schema: api::JSONSchemaProps,
    columns: Vec<api::CustomResourceColumnDefinition>,
}

impl Kind {
    fn definition(self) -> api::CustomResourceDefinition {
        let singular = self.name.to_ascii_lowercase();
        let texts = |all: &[&str]| {
            (!all.is_empty()).then(|| all.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        let conversion = if self.versions.len() > 1 {
            by_webhook()
        } else {
            none()
        };
        let last = self.versions.len().saturating_sub(1);
        let versions = self.versions.into_iter().enumerate();
        api::CustomResourceDefinition {
            metadata: ObjectMeta {
                name: Some(format!("{}.{}", self.plural, self.group)),
                ..ObjectMeta::default()
            },
            spec: api::CustomResourceDefinitionSpec {
                conversion: Some(conversion),
                group: self.group.to_owned(),
                names: api::CustomResourceDefinitionNames {
                    categories: texts(self.categories),
                    kind: self.name.to_owned(),
                    list_kind: Some(format!("{}List", self.name)),
                    plural: self.plural.to_owned(),
                    short_names: texts(self.short_names),
                    singular: Some(singular),
                },
                preserve_unknown_fields: None,
                scope: match self.scope {
                    Scope::Namespaced => "Namespaced".to_owned(),
                    Scope::Cluster => "Cluster".to_owned(),
                },
                versions: versions
                    .map(|(at, version)| version.definition(at == last))
                    .collect(),
            },
            status: None,
        }
    }
}

impl Version {
    fn definition(self, storage: bool) -> api::CustomResourceDefinitionVersion {
        api::CustomResourceDefinitionVersion {
            additional_printer_columns: Some(self.columns),
            name: self.name.to_owned(),
            schema: Some(api::CustomResourceValidation {
                open_api_v3_schema: Some(self.schema),
            }),
            served: true,
            storage,
            subresources: Some(api::CustomResourceSubresources {
                scale: None,
                status: Some(api::CustomResourceSubresourceStatus(json!({}))),
            }),
            ..api::CustomResourceDefinitionVersion::default()
        }
    }
}

fn by_webhook() -> api::CustomResourceConversion {
    let (name, namespace) = CONVERSION_SERVICE;
    api::CustomResourceConversion {
        strategy: "Webhook".to_owned(),
        webhook: Some(api::WebhookConversion {
            client_config: Some(api::WebhookClientConfig {
                ca_bundle: None,
                service: Some(api::ServiceReference {
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                    path: Some(CONVERSION_PATH.to_owned()),
                    port: Some(443),
                }),
                url: None,
            }),
            conversion_review_versions: vec!["v1".to_owned()],
        }),
    }
}

fn none() -> api::CustomResourceConversion {
    api::CustomResourceConversion {
        strategy: "None".to_owned(),
        webhook: None,
    }
}

#[cfg(test)]
mod tests;
