//! Watches: each kind is listed, followed, and taken into the state as plain data.
//!
//! An object is read as it arrives, and what nobody asks for is forgotten at once: ten thousand pods are listed in the
//! memory of those that come in one answer.

mod builtin;
mod limit_ranges;
mod maps;
mod settings;
mod smi;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use smilax_compiler::index::Settings;
use tokio::task::JoinSet;

use super::kinds::{SmiKind, Watched};
use super::measuring;
use super::state::{Inner, State};
use crate::metrics::Metrics;
use crate::watch_backoff::{WATCH_TIMEOUT, paced};

pub(crate) use maps::ACCOUNT;
pub use maps::stored_map;
pub use smi::stored_object;

/// Label of everything that we write, and what it says.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "smilax-operator");

/// Objects in one answer to a list: what is read at once is held at once.
const PAGE: u32 = 100;

/// Starts every watch. A task of the set that ends is a failure of the whole process.
pub fn start(
    client: &Client,
    state: &Arc<State>,
    defaults: &Settings,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
) {
    let all = watcher::Config::default().timeout(WATCH_TIMEOUT).page_size(PAGE);
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
        builtin::namespace,
        builtin::namespaces,
    );
    let go = go.watch(
        Watched::ServiceAccount,
        Api::<ServiceAccount>::all(client.clone()),
        all.clone(),
        builtin::account,
        builtin::accounts,
    );
    let go = go.watch(
        Watched::Service,
        Api::<Service>::all(client.clone()),
        all.clone(),
        builtin::service,
        builtin::services,
    );
    let go = go.watch(
        Watched::Pod,
        Api::<Pod>::all(client.clone()),
        all.clone(),
        builtin::pod,
        builtin::pods,
    );
    let go = go.watch(
        Watched::EndpointSlice,
        Api::<EndpointSlice>::all(client.clone()),
        all.clone(),
        builtin::slice,
        builtin::slices,
    );
    go.tasks.spawn(measuring::run(Arc::clone(state)));
    let mut go = go.watch(
        Watched::ConfigMap,
        Api::<ConfigMap>::all(client.clone()),
        ours,
        {
            let state = Arc::clone(state);
            move |object| maps::map(&state, object)
        },
        maps::maps,
    );
    for kind in SmiKind::ALL {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        go = go.watch(
            Watched::Smi(kind),
            api,
            all.clone(),
            move |object| smi::object(kind, object),
            move |inner, seen| smi::objects(kind, inner, seen),
        );
    }
    let mesh = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "mesh.smilax.dev",
        "v1alpha1",
        "MeshConfig",
    ));
    let (defaults, without) = (defaults.clone(), defaults.clone());
    let go = go.watch(
        Watched::MeshConfig,
        Api::<DynamicObject>::all_with(client.clone(), &mesh),
        all.clone(),
        move |object| settings::mesh_config(&defaults, object),
        move |inner, seen| settings::mesh_configs(&without, inner, &seen),
    );
    // A node says a lot every few minutes; nothing but its metadata is asked for.
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    let go = go.watch(Watched::Node, nodes, all.clone(), builtin::node, builtin::nodes);
    go.watch(
        Watched::LimitRange,
        Api::<LimitRange>::all(client.clone()),
        all,
        limit_ranges::limit_range,
        limit_ranges::limit_ranges,
    );
}

/// What a watch saw.
enum Seen<T> {
    /// An object, new or changed.
    Applied(T),
    /// An object that is gone.
    Deleted(T),
    /// Every object there is.
    All(Vec<T>),
}

struct Start<'a> {
    state: &'a Arc<State>,
    metrics: &'a Metrics,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    /// `read` makes plain data of an object, before the state is touched; `take` takes it in.
    fn watch<K, T>(
        self,
        kind: Watched,
        api: Api<K>,
        config: watcher::Config,
        read: impl Fn(&K) -> T + Send + 'static,
        take: impl Fn(&mut Inner, Seen<T>) + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Send + 'static,
    {
        let (state, metrics) = (Arc::clone(self.state), self.metrics.clone());
        self.tasks.spawn(async move {
            let mut listing = Vec::new();
            let mut stream = paced(watcher::watcher(api, config)).boxed();
            let mut failing = false;
            loop {
                match stream.try_next().await {
                    Ok(Some(event)) => {
                        // That it begins to list says nothing yet: the list may fail.
                        if failing && !matches!(event, Event::Init) {
                            tracing::info!(kind = kind.word(), "watch recovered");
                            failing = false;
                        }
                        metrics.watch_events.with_label_values(&[kind.word()]).inc();
                        match event {
                            Event::Init => listing.clear(),
                            Event::InitApply(object) => listing.push(read(&object)),
                            Event::InitDone => {
                                let all = std::mem::take(&mut listing);
                                take_in(&state, kind, |inner| {
                                    take(inner, Seen::All(all));
                                    inner.listed(kind);
                                });
                            }
                            Event::Apply(object) => {
                                let read = read(&object);
                                take_in(&state, kind, |inner| take(inner, Seen::Applied(read)));
                            }
                            Event::Delete(object) => {
                                let read = read(&object);
                                take_in(&state, kind, |inner| take(inner, Seen::Deleted(read)));
                            }
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

/// Takes in what was seen. Where nodes are is no news to the writer, and kubelets write them all the time; LimitRanges
/// concern the webhooks alone.
fn take_in(state: &State, kind: Watched, change: impl FnOnce(&mut Inner)) {
    match kind {
        Watched::Node | Watched::LimitRange => state.tell(change),
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

/// Something with a name in a namespace.
struct Named<T> {
    namespace: Arc<str>,
    name: Arc<str>,
    value: T,
}

fn named<K: Resource<DynamicType = ()>, T>(object: &K, value: T) -> Named<T> {
    Named {
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
        value,
    }
}
