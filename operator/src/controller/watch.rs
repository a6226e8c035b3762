//! Watches: each kind is listed, followed, and taken into the state as plain data.

mod builtin;
mod maps;
mod settings;
mod smi;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use smilax_compiler::index::Settings;
use tokio::task::JoinSet;

use super::kinds::{SmiKind, Watched};
use super::state::{Inner, State};
use crate::metrics::Metrics;
use crate::watch_backoff::{WATCH_TIMEOUT, paced};

pub use maps::stored_map;
pub use smi::stored_object;

/// Label of everything that we write, and what it says.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "smilax-operator");

/// Starts every watch. A task of the set that ends is a failure of the whole process.
pub fn start(
    client: &Client,
    state: &Arc<State>,
    defaults: &Settings,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
) {
    let all = watcher::Config::default().timeout(WATCH_TIMEOUT);
    let ours = all.clone().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let go = Start {
        state,
        metrics,
        tasks,
    };
    let go = go.watch(
        Watched::Namespace,
        Api::<Namespace>::all(client.clone()),
        all.clone(),
        builtin::namespaces,
    );
    let go = go.watch(
        Watched::ServiceAccount,
        Api::<ServiceAccount>::all(client.clone()),
        all.clone(),
        builtin::accounts,
    );
    let go = go.watch(
        Watched::Service,
        Api::<Service>::all(client.clone()),
        all.clone(),
        builtin::services,
    );
    let go = go.watch(
        Watched::Pod,
        Api::<Pod>::all(client.clone()),
        all.clone(),
        builtin::pods_and_readiness,
    );
    let go = go.watch(
        Watched::EndpointSlice,
        Api::<EndpointSlice>::all(client.clone()),
        all.clone(),
        builtin::slices,
    );
    let mut go = go.watch(
        Watched::ConfigMap,
        Api::<ConfigMap>::all(client.clone()),
        ours,
        maps::maps,
    );
    for kind in SmiKind::ALL {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        go = go.watch(Watched::Smi(kind), api, all.clone(), move |inner, seen| {
            smi::smi(kind, inner, seen);
        });
    }
    let mesh = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "mesh.smilax.dev",
        "v1alpha1",
        "MeshConfig",
    ));
    let defaults = defaults.clone();
    let go = go.watch(
        Watched::MeshConfig,
        Api::<DynamicObject>::all_with(client.clone(), &mesh),
        all.clone(),
        move |inner, seen| {
            settings::mesh_config(&defaults, inner, seen);
        },
    );
    // A node says a lot every few minutes; nothing but its metadata is asked for.
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    go.watch(Watched::Node, nodes, all, builtin::nodes);
}

/// What a watch saw.
enum Seen<K> {
    /// An object, new or changed.
    Applied(K),
    /// An object that is gone.
    Deleted(K),
    /// Every object there is.
    All(Vec<K>),
}

struct Start<'a> {
    state: &'a Arc<State>,
    metrics: &'a Metrics,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    fn watch<K>(
        self,
        kind: Watched,
        api: Api<K>,
        config: watcher::Config,
        take: impl Fn(&mut Inner, Seen<K>) + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (state, metrics) = (Arc::clone(self.state), self.metrics.clone());
        self.tasks.spawn(async move {
            let mut listing = Vec::new();
            let mut stream = paced(watcher::watcher(api, config)).boxed();
            let mut failing = false;
            loop {
                match stream.try_next().await {
                    Ok(Some(event)) => {
                        if failing {
                            tracing::info!(kind = kind.word(), "watch recovered");
                            failing = false;
                        }
                        metrics.watch_events.with_label_values(&[kind.word()]).inc();
                        match event {
                            Event::Init => listing.clear(),
                            Event::InitApply(object) => listing.push(object),
                            Event::InitDone => {
                                let all = std::mem::take(&mut listing);
                                take_in(&state, kind, |inner| {
                                    take(inner, Seen::All(all));
                                    inner.listed(kind);
                                });
                            }
                            Event::Apply(object) => take_in(&state, kind, |inner| take(inner, Seen::Applied(object))),
                            Event::Delete(object) => take_in(&state, kind, |inner| take(inner, Seen::Deleted(object))),
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        metrics.watch_errors.with_label_values(&[kind.word()]).inc();
                        if is_missing(&error) {
                            // Nothing of a kind that the cluster does not know can exist.
                            if !failing {
                                tracing::warn!(
                                    kind = kind.word(),
                                    "the cluster does not serve this kind; install it: helm install smilax-crds, or kubectl apply --server-side -f crds/manifests"
                                );
                            }
                            state.update(|inner| {
                                take(inner, Seen::All(Vec::new()));
                                inner.listed(kind);
                            });
                        } else if is_passing(&error) {
                            tracing::debug!(kind = kind.word(), %error, "watch opened again");
                        } else if !failing {
                            tracing::warn!(kind = kind.word(), %error, "watch failed; what was seen stays, and it is tried again");
                        }
                        failing = !is_passing(&error);
                        // The stream backs off by itself; this only keeps a stream that does not from spinning.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        });
        self
    }
}

/// Takes in what was seen. Where nodes are is no news to the writer, and kubelets write them all the time.
fn take_in(state: &State, kind: Watched, change: impl FnOnce(&mut Inner)) {
    match kind {
        Watched::Node => state.tell(change),
        _ => state.update(change),
    }
}

fn is_missing(error: &watcher::Error) -> bool {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => return status.code == 404,
        watcher::Error::NoResourceVersion => return false,
    };
    matches!(source, kube::Error::Api(status) if status.code == 404)
}

/// What is part of a watch's life: its place was forgotten (410), or the storage of a definition that changed is being
/// made anew (429).
fn is_passing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => matches!(status.code, 410 | 429),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 410 | 429),
        _ => false,
    }
}

fn names<K: Resource<DynamicType = ()>>(object: &K) -> (String, Arc<str>) {
    (object.namespace().unwrap_or_default(), object.name_any().into())
}
