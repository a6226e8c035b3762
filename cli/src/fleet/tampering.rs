//! Whether a pod would believe the ConfigMap that it mounts, as far as its spec says whom it trusts.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::Value;
use smilax_core::convention::{
    PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY, config_map_name, variable,
};
use smilax_core::signature::{Content, Digest, SignatureError, TrustDomains, Trusted, parse_anchors, verify};
use smilax_core::{TrustDomain, Workload};

use crate::world::text;

/// Container of the proxy.
const PROXY: &str = "smilax-proxy";

/// The operator's ConfigMaps, by namespace and name, as they are signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts(BTreeMap<(String, String), Mount>);

#[derive(Clone, Debug)]
struct Mount {
    policy: Digest,
    bundle: Digest,
    signature: String,
}

impl Mounts {
    /// Of these ConfigMaps.
    pub(crate) fn of(maps: &[Value]) -> Self {
        let key = |map| {
            let (namespace, name) = (text(map, "/metadata/namespace"), text(map, "/metadata/name"));
            (namespace.to_owned(), name.to_owned())
        };
        Self(maps.iter().map(|map| (key(map), Mount::of(map))).collect())
    }

    /// What is wrong with the ConfigMap that a pod of this account mounts; `None` when nothing is, and where the pod
    /// demands no signature.
    pub(crate) fn tampering(&self, pod: &Value, workload: &Workload) -> Option<String> {
        let trusted = trusted(pod)?;
        let name = config_map_name(&workload.account);
        let mount = self.0.get(&(workload.namespace.to_string(), name.clone()))?;
        let content = Content {
            workload,
            policy: mount.policy,
            bundle: mount.bundle,
        };
        let error: SignatureError = verify(&content, mount.signature.as_bytes(), &trusted).err()?;
        Some(format!(
            "ConfigMap {}/{name} was not written by the operator: {error}",
            workload.namespace
        ))
    }
}

impl Mount {
    fn of(map: &Value) -> Self {
        let data = |key| map["data"][key].as_str().unwrap_or_default();
        let packed: Option<ByteString> =
            serde_json::from_value(map["binaryData"][PACKED_POLICY_KEY].clone()).ok();
        Self {
            policy: match (map["data"][POLICY_KEY].as_str(), packed) {
                (None, Some(packed)) => Digest::of(&packed.0),
                (plain, _) => Digest::of(plain.unwrap_or_default().as_bytes()),
            },
            bundle: Digest::of(data(TRUST_BUNDLE_KEY).as_bytes()),
            signature: data(SIGNATURE_KEY).to_owned(),
        }
    }
}

/// Whom the pod's spec names; `None` where it demands no signature.
fn trusted(pod: &Value) -> Option<Trusted> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let proxy = lists
        .into_iter()
        .flatten()
        .flatten()
        .find(|container| container["name"] == PROXY)?;
    let variable = |name: &str| {
        let all = proxy["env"].as_array();
        let found = all.into_iter().flatten().find(|one| one["name"] == name)?;
        found["value"].as_str()
    };
    let roots = parse_anchors(variable(variable::TRUST_ANCHORS)?).ok()?;
    let trust_domain = variable(variable::TRUST_DOMAIN).and_then(|domain| domain.parse::<TrustDomain>().ok());
    (!roots.is_empty()).then(|| Trusted {
        roots,
        trust_domains: trust_domain.map_or(TrustDomains::Any, |one| TrustDomains::Only([one].into())),
    })
}
