//! Settings of the mesh.

use kube::ResourceExt;
use kube::core::DynamicObject;
use smilax_compiler::index::{HeaderRegexMode, PathRegexMode, Settings};

use super::Seen;
use crate::controller::state::Inner;

/// What a MeshConfig says; `None` for one that is not in force.
pub(super) type MeshSettings = Option<Settings>;

pub(super) fn mesh_config(defaults: &Settings, object: &DynamicObject) -> MeshSettings {
    (object.name_any() == "default").then(|| settings(defaults, object))
}

pub(super) fn mesh_configs(defaults: &Settings, inner: &mut Inner, seen: &Seen<MeshSettings>) {
    let settings = match seen {
        Seen::Applied(Some(settings)) => settings,
        Seen::Deleted(Some(_)) => defaults,
        Seen::Applied(None) | Seen::Deleted(None) => return,
        Seen::All(all) => all.iter().flatten().next().unwrap_or(defaults),
    };
    inner.index.set_settings(settings.clone());
}

/// Settings of the mesh: those of the installation where its MeshConfig says nothing, or nothing that can be read.
fn settings(defaults: &Settings, object: &DynamicObject) -> Settings {
    let spec = &object.data["spec"];
    let text = |field: &str| spec[field].as_str();
    Settings {
        cluster_domain: text("clusterDomain")
            .unwrap_or(&defaults.cluster_domain)
            .to_owned(),
        path_regex_mode: match text("pathRegexMode") {
            Some("full") => PathRegexMode::Full,
            Some("prefix") => PathRegexMode::Prefix,
            _ => defaults.path_regex_mode,
        },
        header_regex_mode: match text("headerRegexMode") {
            Some("search") => HeaderRegexMode::Search,
            Some("full") => HeaderRegexMode::Full,
            _ => defaults.header_regex_mode,
        },
        trust_domain: text("trustDomain")
            .and_then(|domain| domain.parse().ok())
            .unwrap_or_else(|| defaults.trust_domain.clone()),
        access_mode: text("accessMode")
            .and_then(|mode| mode.parse().ok())
            .unwrap_or(defaults.access_mode),
        tls_mode: text("tlsMode")
            .and_then(|mode| mode.parse().ok())
            .unwrap_or(defaults.tls_mode),
        unauthenticated_sources: serde_json::from_value(spec["unauthenticatedSources"].clone())
            .unwrap_or_else(|_| defaults.unauthenticated_sources.clone()),
        sidecar_images: defaults.sidecar_images.clone(),
        installation: defaults.installation.clone(),
    }
}
