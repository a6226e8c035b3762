//! Watches: each kind is listed, followed, and taken into the state as plain data.
//!
//! Only an excerpt of each object is decoded ([`crate::excerpt`]), it is read as it arrives, and what nobody asks for is
//! forgotten at once: ten thousand pods are listed in the memory of the excerpts that come in one answer.

mod builtin;
pub(crate) mod excerpts;
mod health;
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

use health::{Break, Health, Recovered};

use super::kinds::{SmiKind, Watched};
use super::measuring;
use super::state::{Inner, State};
use crate::excerpt;
use crate::metrics::Metrics;
use crate::watch_backoff::{WATCH_TIMEOUT, paced};

pub(crate) use maps::ACCOUNT;
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
    let go = Start {
        client,
        state,
        metrics,
        tasks,
    };
    let go = go.watch::<Namespace, _>(
        Watched::Namespace,
        Api::all,
        builtin::namespace,
        builtin::namespaces,
    );
    let go = go.watch::<ServiceAccount, _>(
        Watched::ServiceAccount,
        Api::all,
        builtin::account,
        builtin::accounts,
    );
    let go = go.watch::<Service, _>(Watched::Service, Api::all, builtin::service, builtin::services);
    let go = go.watch::<Pod, _>(Watched::Pod, Api::all, builtin::pod, builtin::pods);
    let go = go.watch::<EndpointSlice, _>(Watched::EndpointSlice, Api::all, builtin::slice, builtin::slices);
    go.tasks.spawn(measuring::run(Arc::clone(state)));
    let mut go = go.watch::<ConfigMap, _>(
        Watched::ConfigMap,
        Api::all,
        {
            let state = Arc::clone(state);
            move |object| maps::map(&state, object)
        },
        maps::maps,
    );
    for kind in SmiKind::ALL {
        go = go.watch::<DynamicObject, _>(
            Watched::Smi(kind),
            |client| Api::all_with(client, &kind.resource()),
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
    let go = go.watch::<DynamicObject, _>(
        Watched::MeshConfig,
        |client| Api::all_with(client, &mesh),
        move |object| settings::mesh_config(&defaults, object),
        move |inner, seen| settings::mesh_configs(&without, inner, &seen),
    );
    // A node says a lot every few minutes; nothing but its metadata is asked for.
    let go = go.watch::<PartialObjectMeta<Node>, _>(Watched::Node, Api::all, builtin::node, builtin::nodes);
    go.watch::<LimitRange, _>(
        Watched::LimitRange,
        Api::all,
        limit_ranges::limit_range,
        limit_ranges::limit_ranges,
    );
}

/// Access to the API server that sees of each object what a watch of this kind sees. For lists.
pub(crate) fn excerpts_of(client: &Client, kind: Watched) -> Client {
    excerpt::client(client, Arc::new(excerpts::excerpt(kind)))
}

/// Which objects of a kind are asked for.
fn config(kind: Watched) -> watcher::Config {
    let all = watcher::Config::default()
        .timeout(WATCH_TIMEOUT)
        .page_size(excerpts::page(kind));
    match kind {
        Watched::ConfigMap => all.labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)),
        _ => all,
    }
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
    client: &'a Client,
    state: &'a Arc<State>,
    metrics: &'a Metrics,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    /// `read` makes plain data of an object, before the state is touched; `take` takes it in.
    fn watch<K, T>(
        self,
        kind: Watched,
        api: impl FnOnce(Client) -> Api<K>,
        read: impl Fn(&K) -> T + Send + 'static,
        take: impl Fn(&mut Inner, Seen<T>) + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Send + 'static,
    {
        let (state, metrics) = (Arc::clone(self.state), self.metrics.clone());
        let api = api(excerpt::client(self.client, excerpts::excerpt(kind).into()));
        self.tasks.spawn(async move {
            let mut listing = Vec::new();
            let open = || paced(watcher::watcher(api.clone(), config(kind))).boxed();
            let mut stream = open();
            let mut health = Health::default();
            loop {
                let event = tokio::select! {
                    event = stream.try_next() => event,
                    () = asked_again(&state, kind) => {
                        stream = open();
                        continue;
                    }
                };
                match event {
                    Ok(Some(event)) => {
                        if let Some(Recovered) = health.brought(&event) {
                            tracing::info!(kind = kind.word(), "watch recovered");
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
                        let how = Break::of(&error);
                        if let Some(how) = health.broke(how) {
                            log(kind, how, &error);
                        }
                        if how == Break::Missing {
                            // Nothing of a kind that the cluster does not know can exist.
                            state.update(|inner| {
                                take(inner, Seen::All(Vec::new()));
                                inner.listed(kind);
                            });
                        }
                        // The stream backs off by itself; this only keeps a stream that does not from spinning.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        });
        self
    }
}

/// Waits until objects of a kind are to be listed again, though nothing of them changed.
async fn asked_again(state: &State, kind: Watched) {
    match kind {
        Watched::ConfigMap => state.maps_asked_for().await,
        _ => std::future::pending().await,
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

fn log(kind: Watched, how: Break, error: &watcher::Error) {
    let kind = kind.word();
    match how {
        Break::Missing => tracing::warn!(
            kind,
            "the cluster does not serve this kind; install it: helm install smilax-crds, or kubectl apply --server-side -f crds/manifests"
        ),
        Break::Passing => tracing::debug!(kind, %error, "watch opened again"),
        Break::Failed => {
            tracing::warn!(kind, %error, "watch failed; what was seen stays, and it is tried again");
        }
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
