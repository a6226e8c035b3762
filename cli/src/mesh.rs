//! Settings of the whole mesh, as they can be seen from outside.

use std::str::FromStr;

use serde_json::Value;
use smilax_compiler::index::{HeaderRegexMode, PathRegexMode, Settings};

use crate::operator::DEPLOYMENT;

/// The settings that decide about access: those of the MeshConfig among these objects, and below them the arguments of
/// the operator's Deployment, which must be those that its pods run with.
pub(crate) fn settings(objects: &[Value]) -> Settings {
    let mesh = mesh_config(objects);
    let operator = operator(objects);
    let spec = mesh.map_or(&Value::Null, |mesh| &mesh["spec"]);
    let text = |field: &str| spec[field].as_str();
    let defaults = Settings::default();
    Settings {
        trust_domain: read(text("trustDomain"))
            .or_else(|| argument(operator?, "--trust-domain="))
            .unwrap_or(defaults.trust_domain),
        access_mode: read(text("accessMode"))
            .or_else(|| argument(operator?, "--access-mode="))
            .unwrap_or(defaults.access_mode),
        tls_mode: read(text("tlsMode"))
            .or_else(|| argument(operator?, "--tls-mode="))
            .unwrap_or(defaults.tls_mode),
        path_regex_mode: match text("pathRegexMode") {
            Some("full") => PathRegexMode::Full,
            _ => PathRegexMode::Prefix,
        },
        header_regex_mode: match text("headerRegexMode") {
            Some("search") => HeaderRegexMode::Search,
            _ => HeaderRegexMode::Full,
        },
        unauthenticated_sources: serde_json::from_value(spec["unauthenticatedSources"].clone())
            .unwrap_or_default(),
        ..Settings::default()
    }
}

/// Who sets something for the whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The MeshConfig.
    MeshConfig,
    /// An argument of the operator, which the chart's values become.
    Installation,
    /// Nobody.
    Default,
}

/// Who sets what stands in this field of the MeshConfig, or behind this flag of the operator.
pub(crate) fn origin(objects: &[Value], field: &str, flag: &str) -> Origin {
    let mesh = mesh_config(objects).and_then(|mesh| mesh["spec"][field].as_str());
    let operator = operator(objects);
    match (
        mesh,
        operator.and_then(|operator| argument::<String>(operator, flag)),
    ) {
        (Some(_), _) => Origin::MeshConfig,
        (None, Some(_)) => Origin::Installation,
        (None, None) => Origin::Default,
    }
}

/// The Secret that the authority is read from, where the installation names one.
pub(crate) fn authority_secret(objects: &[Value]) -> Option<String> {
    argument(operator(objects)?, "--authority-secret=")
}

fn mesh_config(objects: &[Value]) -> Option<&Value> {
    named(objects, "MeshConfig", "default")
}

fn operator(objects: &[Value]) -> Option<&Value> {
    named(objects, "Deployment", DEPLOYMENT)
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn read<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

fn argument<T: FromStr>(deployment: &Value, flag: &str) -> Option<T> {
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array()?;
    let given = arguments
        .iter()
        .filter_map(Value::as_str)
        .find_map(|argument| argument.strip_prefix(flag));
    read(given)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use smilax_core::config::{AccessMode, TlsMode};

    use super::*;

    #[test]
    fn a_mesh_config_comes_before_the_arguments_of_the_operator() {
        let operator = json!({
            "kind": "Deployment", "metadata": {"name": "smilax-operator"},
            "spec": {"template": {"spec": {"containers": [{"args": ["--access-mode=deny", "--tls-mode=strict"]}]}}},
        });
        let mesh =
            json!({"kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {"accessMode": "audit"}});
        let found = settings(&[operator.clone(), mesh]);
        assert_eq!(
            (found.access_mode, found.tls_mode),
            (AccessMode::Audit, TlsMode::Strict)
        );
        assert_eq!(settings(&[operator]).access_mode, AccessMode::Deny);
        assert_eq!(settings(&[]).access_mode, AccessMode::Allow);
    }
}
