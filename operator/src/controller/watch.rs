//! Watches: each kind is listed, followed, and taken into the state as plain data.

use std::collections::BTreeMap;
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
use smilax_compiler::index::{HeaderRegexMode, PathRegexMode, Settings};
use smilax_compiler::ingest;
use smilax_compiler::status::Stored;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, TRUST_BUNDLE_KEY};
use smilax_core::packed;
use tokio::task::JoinSet;

use super::change::StoredMap;
use super::kinds::{SmiKind, Watched};
use super::state::{Inner, ObjectKey, Readiness, State, StoredObject};
use crate::metrics::Metrics;
use crate::watch_backoff::{WATCH_TIMEOUT, paced};

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
        namespaces,
    );
    let go = go.watch(
        Watched::ServiceAccount,
        Api::<ServiceAccount>::all(client.clone()),
        all.clone(),
        accounts,
    );
    let go = go.watch(
        Watched::Service,
        Api::<Service>::all(client.clone()),
        all.clone(),
        services,
    );
    let go = go.watch(
        Watched::Pod,
        Api::<Pod>::all(client.clone()),
        all.clone(),
        pods_and_readiness,
    );
    let go = go.watch(
        Watched::EndpointSlice,
        Api::<EndpointSlice>::all(client.clone()),
        all.clone(),
        slices,
    );
    let mut go = go.watch(
        Watched::ConfigMap,
        Api::<ConfigMap>::all(client.clone()),
        ours,
        maps,
    );
    for kind in SmiKind::ALL {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        go = go.watch(Watched::Smi(kind), api, all.clone(), move |inner, seen| {
            smi(kind, inner, seen);
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
            mesh_config(&defaults, inner, seen);
        },
    );
    // A node says a lot every few minutes; nothing but its metadata is asked for.
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    go.watch(Watched::Node, nodes, all, self::nodes);
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

fn namespaces(inner: &mut Inner, seen: Seen<Namespace>) {
    match seen {
        Seen::Applied(object) => inner
            .index
            .set_namespace(&object.name_any(), Some(ingest::namespace(&object))),
        Seen::Deleted(object) => inner.index.set_namespace(&object.name_any(), None),
        Seen::All(all) => inner.index.reset_namespaces(all.iter().map(ingest::namespace)),
    }
}

fn nodes(inner: &mut Inner, seen: Seen<PartialObjectMeta<Node>>) {
    match seen {
        Seen::Applied(node) => inner
            .index
            .set_zone(&node.name_any(), ingest::zone(&node.metadata)),
        Seen::Deleted(node) => inner.index.set_zone(&node.name_any(), None),
        Seen::All(all) => inner.index.reset_zones(all.iter().filter_map(|node| {
            let zone = ingest::zone(&node.metadata)?;
            Some((node.name_any().into(), zone))
        })),
    }
}

/// The three cases of a namespaced kind that goes into the index by its name.
macro_rules! by_name {
    ($function:ident, $type:ty, $ingest:path, $set:ident, $reset:ident) => {
        fn $function(inner: &mut Inner, seen: Seen<$type>) {
            match seen {
                Seen::Applied(object) => {
                    let (namespace, name) = names(&object);
                    inner.index.$set(&namespace, name, Some($ingest(&object)));
                }
                Seen::Deleted(object) => {
                    let (namespace, name) = names(&object);
                    inner.index.$set(&namespace, name, None);
                }
                Seen::All(all) => inner.index.$reset(all.iter().map(|object| {
                    let (namespace, name) = names(object);
                    (namespace.into(), name, $ingest(object))
                })),
            }
        }
    };
}

by_name!(
    accounts,
    ServiceAccount,
    ingest::account,
    set_account,
    reset_accounts
);
by_name!(services, Service, ingest::service, set_service, reset_services);
by_name!(pods, Pod, ingest::pod, set_pod, reset_pods);

/// Readiness is no policy: it is kept beside the index, so that a pod that becomes Ready compiles nothing.
fn pods_and_readiness(inner: &mut Inner, seen: Seen<Pod>) {
    let uid = |pod: &Pod| pod.uid().unwrap_or_default();
    match &seen {
        Seen::Applied(pod) => {
            inner.set_ready(&uid(pod), readiness(pod));
            inner.mark_pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        }
        Seen::Deleted(pod) => {
            inner.set_ready(&uid(pod), Readiness::NotReady);
            inner.mark_pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        }
        Seen::All(all) => {
            let ready = all.iter().filter(|pod| readiness(pod) == Readiness::Ready);
            inner.reset_ready(ready.map(uid).collect());
            inner.mark_all_pods();
        }
    }
    pods(inner, seen);
}

fn readiness(pod: &Pod) -> Readiness {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
    match (ready.next(), &pod.metadata.deletion_timestamp) {
        (Some(_), None) => Readiness::Ready,
        _ => Readiness::NotReady,
    }
}

fn slices(inner: &mut Inner, seen: Seen<EndpointSlice>) {
    match seen {
        Seen::Applied(object) => {
            let (namespace, name) = names(&object);
            inner.index.set_slice(&namespace, &name, ingest::slice(&object));
        }
        Seen::Deleted(object) => {
            let (namespace, name) = names(&object);
            inner.index.set_slice(&namespace, &name, None);
        }
        Seen::All(all) => inner.index.reset_slices(all.iter().filter_map(|object| {
            let (namespace, name) = names(object);
            Some((namespace.into(), name, ingest::slice(object)?))
        })),
    }
}

fn maps(inner: &mut Inner, seen: Seen<ConfigMap>) {
    match seen {
        Seen::Applied(object) => {
            let (namespace, name) = names(&object);
            let stored = stored_map(&object);
            let before = inner.set_map(&namespace, &name, Some(stored.clone()));
            // Our own writes come back here too; only what somebody else changed is worth a look.
            if before.is_none_or(|before| !before.same_content(&stored)) {
                inner.index.mark(&namespace);
            }
        }
        Seen::Deleted(object) => {
            let (namespace, name) = names(&object);
            inner.set_map(&namespace, &name, None);
            inner.index.mark(&namespace);
        }
        Seen::All(all) => {
            inner.reset_maps(all.iter().map(|object| {
                let (namespace, name) = names(object);
                (namespace, name.to_string(), stored_map(object))
            }));
            inner.mark_all();
        }
    }
}

/// What we compare of a ConfigMap.
pub fn stored_map(object: &ConfigMap) -> StoredMap {
    let (data, binary) = (object.data.as_ref(), object.binary_data.as_ref());
    let bundle = data.and_then(|data| data.get(TRUST_BUNDLE_KEY));
    let keys =
        data.map_or(0, BTreeMap::len) + binary.map_or(0, BTreeMap::len) - usize::from(bundle.is_some());
    let plain = data.and_then(|data| data.get(POLICY_KEY));
    let packed = binary.and_then(|binary| binary.get(PACKED_POLICY_KEY));
    let policy = match (plain, packed) {
        (Some(plain), _) => plain.clone(),
        (None, Some(packed)) => unpacked(&packed.0),
        (None, None) => String::new(),
    };
    let wrong_form = packed.is_some() != packed::is_long(&policy);
    StoredMap {
        foreign: keys > 1 || keys == 1 && (wrong_form || plain.is_none() && packed.is_none()),
        policy,
        bundle: bundle.cloned().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
    }
}

/// What cannot be read is no policy, and so it is written again.
fn unpacked(packed: &[u8]) -> String {
    packed::unpack(packed)
        .ok()
        .and_then(|text| String::from_utf8(text).ok())
        .unwrap_or_default()
}

fn smi(kind: SmiKind, inner: &mut Inner, seen: Seen<DynamicObject>) {
    match seen {
        Seen::Applied(object) => {
            let (key, stored, raw) = smi_object(kind, &object);
            let status = (stored.conditions.clone(), stored.columns.clone());
            let before = inner.objects.insert(key.clone(), stored);
            set_smi(kind, inner, &key, Some(&raw));
            // Our own writes come back here too; only a status that somebody else changed is worth a look.
            if before.is_none_or(|before| (before.conditions, before.columns) != status) {
                inner.index.mark(&key.1);
            }
        }
        Seen::Deleted(object) => {
            let (key, _, _) = smi_object(kind, &object);
            inner.objects.remove(&key);
            set_smi(kind, inner, &key, None);
        }
        Seen::All(all) => {
            inner.objects.retain(|key, _| key.0 != kind);
            let all: Vec<(ObjectKey, serde_json::Value)> = all
                .iter()
                .map(|object| {
                    let (key, stored, raw) = smi_object(kind, object);
                    inner.objects.insert(key.clone(), stored);
                    (key, raw)
                })
                .collect();
            reset_smi(kind, inner, all);
        }
    }
}

/// Takes an SMI object into the index, or takes it out.
macro_rules! set {
    ($index:expr, $key:expr, $raw:expr, $set:ident, $ingest:path) => {
        $index.$set(&$key.1, $key.2.clone(), $raw.map($ingest))
    };
}

fn set_smi(kind: SmiKind, inner: &mut Inner, key: &ObjectKey, raw: Option<&serde_json::Value>) {
    let index = &mut inner.index;
    match kind {
        SmiKind::TrafficSplit => set!(index, key, raw, set_split, ingest::split),
        SmiKind::HttpRouteGroup => set!(index, key, raw, set_group, ingest::route_group),
        SmiKind::TrafficTarget => set!(index, key, raw, set_target, ingest::traffic_target),
        SmiKind::IdentityBinding => set!(index, key, raw, set_binding, ingest::identity_binding),
        SmiKind::TcpRoute => set!(index, key, raw, set_tcp_route, ingest::port_route),
        SmiKind::UdpRoute => set!(index, key, raw, set_udp_route, ingest::port_route),
    }
}

fn reset_smi(kind: SmiKind, inner: &mut Inner, all: Vec<(ObjectKey, serde_json::Value)>) {
    /// Reads each object and says where it belongs.
    fn read<T>(
        all: Vec<(ObjectKey, serde_json::Value)>,
        ingest: fn(&serde_json::Value) -> T,
    ) -> impl Iterator<Item = (Arc<str>, Arc<str>, T)> {
        all.into_iter()
            .map(move |((_, namespace, name), raw)| (namespace, name, ingest(&raw)))
    }
    let index = &mut inner.index;
    match kind {
        SmiKind::TrafficSplit => index.reset_splits(read(all, ingest::split)),
        SmiKind::HttpRouteGroup => index.reset_groups(read(all, ingest::route_group)),
        SmiKind::TrafficTarget => index.reset_targets(read(all, ingest::traffic_target)),
        SmiKind::IdentityBinding => index.reset_bindings(read(all, ingest::identity_binding)),
        SmiKind::TcpRoute => index.reset_tcp_routes(read(all, ingest::port_route)),
        SmiKind::UdpRoute => index.reset_udp_routes(read(all, ingest::port_route)),
    }
}

fn smi_object(kind: SmiKind, object: &DynamicObject) -> (ObjectKey, StoredObject, serde_json::Value) {
    let key = (
        kind,
        object.namespace().unwrap_or_default().into(),
        object.name_any().into(),
    );
    // What was read as JSON is written as JSON.
    let raw = serde_json::to_value(object).unwrap_or_default();
    (key, stored_object(object), raw)
}

/// What we compare of an SMI object.
pub fn stored_object(object: &DynamicObject) -> StoredObject {
    let status = &object.data["status"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| Stored {
            kind: text(&one["type"]),
            status: text(&one["status"]),
            reason: text(&one["reason"]),
            message: text(&one["message"]),
            observed_generation: one["observedGeneration"].as_i64(),
            last_transition: text(&one["lastTransitionTime"]),
        });
    let columns = status.as_object().into_iter().flatten();
    StoredObject {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        conditions: conditions.collect(),
        columns: columns
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    }
}

fn mesh_config(defaults: &Settings, inner: &mut Inner, seen: Seen<DynamicObject>) {
    let settings = match seen {
        Seen::Applied(object) if object.name_any() == "default" => Some(settings(defaults, &object)),
        Seen::Deleted(object) if object.name_any() == "default" => Some(defaults.clone()),
        Seen::Applied(_) | Seen::Deleted(_) => None,
        Seen::All(all) => Some(
            all.iter()
                .find(|one| one.name_any() == "default")
                .map_or_else(|| defaults.clone(), |one| settings(defaults, one)),
        ),
    };
    if let Some(settings) = settings {
        inner.index.set_settings(settings);
    }
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
        installation: defaults.installation.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use smilax_core::packed::Form;

    use super::*;

    fn map(data: &[(&str, &str)], binary: &[(&str, &[u8])]) -> StoredMap {
        stored_map(&ConfigMap {
            data: (!data.is_empty()).then(|| {
                data.iter()
                    .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                    .collect()
            }),
            binary_data: (!binary.is_empty()).then(|| {
                binary
                    .iter()
                    .map(|&(key, value)| (key.to_owned(), ByteString(value.to_vec())))
                    .collect()
            }),
            ..ConfigMap::default()
        })
    }

    #[test]
    fn a_packed_policy_is_read_and_is_not_foreign() {
        let policy = "x".repeat(packed::MOST_STORED + 1);
        let Ok(Form::Packed(bytes)) = packed::form(&policy) else {
            panic!("it is kept as text")
        };
        let stored = map(&[], &[(PACKED_POLICY_KEY, &bytes)]);
        assert!(stored.policy == policy && !stored.foreign);
        assert!(map(&[(POLICY_KEY, "{}")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
        assert!(map(&[("other", "mine")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
    }

    #[test]
    fn what_was_packed_by_hand_or_damaged_is_put_right() {
        for bytes in [&b"garbage"[..], &[0x1f, 0x8b], &[]] {
            let stored = map(&[], &[(PACKED_POLICY_KEY, bytes)]);
            assert!(stored.policy.is_empty() && stored.foreign);
        }
    }

    #[test]
    fn a_trust_bundle_is_read_beside_the_policy_in_either_form_and_is_not_foreign() {
        let policy = "x".repeat(packed::MOST_STORED + 1);
        let Ok(Form::Packed(bytes)) = packed::form(&policy) else {
            panic!("it is kept as text")
        };
        let stored = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[(PACKED_POLICY_KEY, &bytes)]);
        assert!(stored.bundle == "{1}" && stored.policy == policy && !stored.foreign);
        let beside = map(&[(POLICY_KEY, "{}"), (TRUST_BUNDLE_KEY, "{1}")], &[]);
        assert!(beside.bundle == "{1}" && beside.policy == "{}" && !beside.foreign);
        let alone = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[]);
        assert!(alone.bundle == "{1}" && alone.policy.is_empty() && !alone.foreign);
    }

    #[test]
    fn text_alone_is_not_foreign_and_any_other_key_is() {
        assert!(!map(&[(POLICY_KEY, "{}")], &[]).foreign);
        assert!(!map(&[], &[]).foreign);
        assert!(map(&[("other", "mine")], &[]).foreign);
        assert!(map(&[(POLICY_KEY, "{}"), ("other", "mine")], &[]).foreign);
        assert!(map(&[(POLICY_KEY, "{}")], &[("other", b"mine")]).foreign);
    }
}
