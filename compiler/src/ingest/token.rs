//! Which containers mount a token for the mesh.

use k8s_openapi::api::core::v1 as core;
use smilax_core::convention::TOKEN_AUDIENCE;

use crate::token::TokenHolder;

/// The containers of a pod that do, those for debugging among them.
pub(super) fn holders(spec: &core::PodSpec) -> Vec<TokenHolder> {
    let tokens: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| is_token(volume))
        .map(|volume| volume.name.as_str())
        .collect();
    if tokens.is_empty() {
        return Vec::new();
    }
    let mounts = |all: &Option<Vec<core::VolumeMount>>| {
        let mut all = all.iter().flatten();
        all.any(|mount| tokens.contains(&mount.name.as_str()))
    };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ordinary = containers
        .filter(|one| mounts(&one.volume_mounts))
        .map(|one| TokenHolder {
            container: one.name.clone(),
            image: one.image.clone().unwrap_or_default(),
            command: one.command.clone().unwrap_or_default(),
            arguments: one.args.clone().unwrap_or_default(),
        });
    let for_debugging = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .filter(|one| mounts(&one.volume_mounts))
        .map(|one| TokenHolder {
            container: one.name.clone(),
            image: one.image.clone().unwrap_or_default(),
            command: one.command.clone().unwrap_or_default(),
            arguments: one.args.clone().unwrap_or_default(),
        });
    ordinary.chain(for_debugging).collect()
}

fn is_token(volume: &core::Volume) -> bool {
    let sources = volume
        .projected
        .as_ref()
        .and_then(|projected| projected.sources.as_ref());
    sources.into_iter().flatten().any(|source| {
        let token = source.service_account_token.as_ref();
        token.is_some_and(|token| token.audience.as_deref() == Some(TOKEN_AUDIENCE))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn holders_of(spec: Value) -> Vec<String> {
        let found = holders(&serde_json::from_value(spec).unwrap());
        found.into_iter().map(|holder| holder.container).collect()
    }

    fn token(name: &str, audience: &str) -> Value {
        json!({"name": name, "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "token"}}]}})
    }

    #[test]
    fn s12_every_kind_of_container_that_mounts_a_token_for_the_mesh_is_found() {
        let mounts = json!([{"name": "mine", "mountPath": "/token"}]);
        let found = holders_of(json!({
            "volumes": [token("mine", TOKEN_AUDIENCE)],
            "initContainers": [{"name": "init", "volumeMounts": mounts}],
            "containers": [{"name": "application", "volumeMounts": mounts}, {"name": "other"}],
            "ephemeralContainers": [{"name": "debug", "volumeMounts": mounts}],
        }));
        assert_eq!(found, ["init", "application", "debug"]);
    }

    #[test]
    fn s12_a_token_for_somebody_else_is_none_of_ours() {
        let found = holders_of(json!({
            "volumes": [token("vault", "vault.example")],
            "containers": [{"name": "application", "volumeMounts": [{"name": "vault", "mountPath": "/token"}]}],
        }));
        assert!(found.is_empty());
    }
}
