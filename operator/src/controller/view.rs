//! The cluster as the webhooks see it.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use smilax_compiler::Modes;
use smilax_compiler::model::Target;
use std::sync::Arc;
use tokio::time::timeout;

use super::state::{Inner, State};
use super::{kinds, watch};
use crate::cluster_view::{ClusterView, LimitRangeView, NamespaceView};

/// The API server waits 5 seconds for a webhook; two of them may go here.
const CALL: Duration = Duration::from_secs(2);

/// Answers from the watch, and asks the API server for what the watch has not delivered yet.
pub struct Watched {
    state: Arc<State>,
    /// Access to the API server that sees of a Namespace what the watch sees, and only in lists.
    excerpts: Client,
}

impl Watched {
    /// With what was seen, and access to the API server.
    pub fn new(state: Arc<State>, client: &Client) -> Self {
        Self {
            state,
            excerpts: watch::excerpts_of(client, kinds::Watched::Namespace),
        }
    }
}

/// LimitRanges of a namespace. What has not been listed yet, or may not be, refuses nothing.
fn limit_ranges(inner: &Inner, namespace: &str) -> Vec<LimitRangeView> {
    let known = inner.limit_ranges.get(namespace);
    known
        .into_iter()
        .flat_map(|known| known.values().cloned())
        .collect()
}

impl ClusterView for Watched {
    fn namespace(&self, name: &str) -> Option<NamespaceView> {
        self.state.read(|inner| {
            inner.index.namespace(name).map(|one| NamespaceView {
                name: one.name.to_string(),
                labels: one.labels.clone(),
                annotations: one.annotations.clone(),
                modes: Modes::of(inner.index.settings(), &one.annotations).0,
                limit_ranges: limit_ranges(inner, name),
                trust_anchors: inner.anchors(),
            })
        })
    }

    fn target_warnings(&self, target: &Target) -> Vec<String> {
        self.state.read(|inner| {
            // What was not listed yet would be said not to exist.
            if inner.is_listed() {
                smilax_compiler::target_warnings(&inner.index, target)
            } else {
                Vec::new()
            }
        })
    }

    fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>> {
        async move {
            let api = Api::<Namespace>::all(self.excerpts.clone());
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            match timeout(CALL, api.list(&only)).await {
                Ok(Ok(found)) => found.items.first().map(|one| NamespaceView {
                    name: one.name_any(),
                    labels: one.labels().clone(),
                    annotations: one.annotations().clone(),
                    modes: self
                        .state
                        .read(|inner| Modes::of(inner.index.settings(), one.annotations()).0),
                    limit_ranges: self.state.read(|inner| limit_ranges(inner, name)),
                    trust_anchors: self.state.read(|inner| inner.anchors()),
                }),
                Ok(Err(error)) => {
                    tracing::warn!(namespace = name, %error, "namespace cannot be read");
                    None
                }
                Err(_) => {
                    tracing::warn!(
                        namespace = name,
                        "namespace cannot be read: the API server did not answer"
                    );
                    None
                }
            }
        }
        .boxed()
    }
}
