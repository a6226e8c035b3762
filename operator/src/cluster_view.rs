//! What the webhooks know of the cluster.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::LimitRange;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use smilax_compiler::Modes;
use smilax_compiler::model::Target;
use smilax_core::TrustDomain;

/// A Namespace, as far as injection asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceView {
    /// Its name.
    pub name: String,
    /// All its labels: ours, and those of Pod Security.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; ours suffice.
    pub annotations: BTreeMap<String, String>,
    /// What it lets in, by these annotations and the settings of the mesh.
    pub modes: Modes,
    /// Its LimitRanges as last watched; none while they cannot be read.
    pub limit_ranges: Vec<LimitRangeView>,
    /// Whom pods that are created now trust for their configuration; `None` while nobody signs.
    pub trust_anchors: Option<TrustAnchors>,
}

/// Whom a pod trusts for its configuration, as its spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchors {
    /// Keys of the roots, as [`smilax_core::convention::variable::TRUST_ANCHORS`] holds them.
    pub roots: String,
    /// First part of the signer's identity.
    pub trust_domain: TrustDomain,
}

/// A LimitRange, as far as injection asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRangeView {
    /// Its name.
    pub name: String,
    /// What it says about containers and pods.
    pub limits: Vec<LimitView>,
}

impl From<&LimitRange> for LimitRangeView {
    fn from(object: &LimitRange) -> Self {
        let limits = object.spec.iter().flat_map(|spec| &spec.limits);
        Self {
            name: object.name_any(),
            limits: limits
                .filter_map(|limit| {
                    Some(LimitView {
                        scope: match limit.type_.as_str() {
                            "Container" => LimitScope::Container,
                            "Pod" => LimitScope::Pod,
                            _ => return None,
                        },
                        min: texts(limit.min.as_ref()),
                        max: texts(limit.max.as_ref()),
                        max_limit_request_ratio: texts(limit.max_limit_request_ratio.as_ref()),
                    })
                })
                .collect(),
        }
    }
}

fn texts(amounts: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<String, String> {
    let amounts = amounts.into_iter().flatten();
    amounts
        .map(|(resource, amount)| (resource.clone(), amount.0.clone()))
        .collect()
}

/// What a LimitRange says about each container, or about each pod. Quantities as they are written, by resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitView {
    /// What is limited.
    pub scope: LimitScope,
    /// The least that is requested.
    pub min: BTreeMap<String, String>,
    /// The most that is the limit.
    pub max: BTreeMap<String, String>,
    /// How many times the request the limit may be.
    pub max_limit_request_ratio: BTreeMap<String, String>,
}

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// Each container.
    Container,
    /// All containers of a pod together.
    Pod,
}

/// Access to Namespaces.
pub trait ClusterView: Send + Sync {
    /// The Namespace as last watched. `None` while the watch has not delivered it.
    fn namespace(&self, name: &str) -> Option<NamespaceView>;

    /// Asks the API server, for a Namespace that [`Self::namespace`] does not know yet: one that was made a moment ago, or
    /// before the first list is complete. `None` when there is none or when the API server does not answer; it must
    /// end within about 2 seconds, since the caller has 5.
    fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>>;

    /// What the author of a TrafficTarget should know of what is there already.
    fn target_warnings(&self, target: &Target) -> Vec<String>;
}
