//! Writes what was compiled: ConfigMaps, status, Events. Only while leading, only what differs, each with a timeout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::json;
use smilax_compiler::status::{self, DesiredStatus, Stored};
use smilax_compiler::{Diagnostic, compile, workloads};
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, TRUST_BUNDLE_KEY, config_map_name};
use smilax_core::packed::Form;
use smilax_core::{ObjectRef, ProxyConfig, Workload};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledgement::Told;
use super::change::{MapChange, Sequence, map_changes};
use super::events::Events;
use super::kinds::SmiKind;
use super::report;
use super::state::{Inner, State};
use super::statuses::{Statuses, key_of};
use super::watch::{MANAGED_BY, stored_map, stored_object};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::workload_server::{FleetStore, Seen};

/// Field manager of every server-side apply of ours.
pub const FIELD_MANAGER: &str = "smilax-operator";
/// How long a burst of changes is gathered after its last one.
const SETTLE: Duration = Duration::from_millis(5);
/// How long a burst may hold a write back in all.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How long acknowledgements are gathered.
const ACKNOWLEDGED: Duration = Duration::from_millis(200);
/// How long one API call may take.
const CALL: Duration = Duration::from_secs(5);
/// How many calls are under way at once.
const CONCURRENCY: usize = 8;
/// Wait before something that failed is tried again; doubles with each failure in a row.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_AT_MOST: Duration = Duration::from_secs(15);

/// The shell around the compiler.
pub struct Writer {
    /// What was seen.
    pub state: Arc<State>,
    /// Access to the API server.
    pub client: Client,
    /// Whether this process may write.
    pub leadership: watch::Receiver<Leadership>,
    /// Where Events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// What proxies told.
    pub fleet: Arc<FleetStore>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

/// Namespaces in which something failed, each with a time of its own: one that fails does not hold up another, and what
/// fails again before its time is no reason to wait longer.
#[derive(Debug, Default)]
struct Retry(BTreeMap<String, Pending>);

/// When a namespace is tried again.
#[derive(Debug, Default)]
struct Pending {
    /// `None` while it is tried.
    at: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// Resolves when something is to be tried again; never while nothing is.
    async fn due(&self) {
        until(self.0.values().filter_map(|pending| pending.at).min()).await;
    }

    fn take_due(&mut self, now: Instant) -> BTreeSet<String> {
        let due = self
            .0
            .iter_mut()
            .filter(|(_, pending)| pending.at.is_some_and(|at| at <= now));
        due.map(|(namespace, pending)| {
            pending.at = None;
            namespace.clone()
        })
        .collect()
    }

    fn after(&mut self, failed: BTreeSet<String>, now: Instant) {
        self.0
            .retain(|namespace, pending| pending.at.is_some() || failed.contains(namespace));
        for namespace in failed {
            let pending = self.0.entry(namespace).or_default();
            if pending.at.is_none() {
                pending.at = Some(now + backoff(pending.failures));
                pending.failures = pending.failures.saturating_add(1);
            }
        }
    }
}

/// What a leader remembers for as long as it leads.
#[derive(Debug)]
struct Term {
    sequence: Sequence,
    statuses: Statuses,
    /// What was heard of the fleet.
    seen: Seen,
}

/// What one pass has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dirty {
    /// What was seen of the cluster.
    Objects,
    /// Only what proxies told, and what waited for its time.
    Acknowledgements,
}

/// Everything that one pass over the dirty namespaces wants to write.
#[derive(Debug, Default)]
struct Batch {
    maps: Vec<(String, MapChange)>,
    dirty: usize,
    about_accounts: Vec<Diagnostic>,
    about_pods: Vec<report::PodFinding>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The API server took it.
    Written,
    /// What is stored says the same.
    Unchanged,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    TimedOut,
    #[error("{0}")]
    Api(#[from] kube::Error),
}

impl Writer {
    /// Writes until shutdown, whenever this process leads.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let term = tokio::select! {
                () = shutdown.cancelled() => return,
                term = self.until_leading() => term,
            };
            let Some(term) = term else { return };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.lead(term) => tracing::info!("no longer leading; writing stopped"),
            }
        }
    }

    async fn until_leading(&mut self) -> Option<u64> {
        loop {
            if let Leadership::Leader { term } = *self.leadership.borrow_and_update() {
                return Some(term);
            }
            self.leadership.changed().await.ok()?;
        }
    }

    /// One term of leadership; returns when it ends.
    async fn lead(&mut self, term: u64) {
        let mut leadership = self.leadership.clone();
        let lost = async move {
            while matches!(*leadership.borrow_and_update(), Leadership::Leader { .. }) {
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        };
        let work = async {
            while !self.state.unlisted().is_empty() {
                self.state.changed().await;
            }
            let sequence = self.state.update(|inner| {
                inner.mark_all();
                inner.mark_all_pods();
                Sequence::new(term, inner.highest_revision())
            });
            let mut term_state = Term {
                sequence,
                statuses: Statuses::new(Instant::now()),
                seen: Seen::default(),
            };
            tracing::info!(term, "leading; writing what differs");
            // What failed waits for its time without holding up what did not.
            let mut retry = Retry::default();
            let mut told = self.fleet.changes();
            told.mark_changed();
            // Acknowledgements come in bursts, and hold nothing else up.
            let mut acknowledged: Option<Instant> = None;
            loop {
                let mut dirty = tokio::select! {
                    () = self.state.changed() => {
                        self.state.settled(SETTLE, SETTLE_AT_MOST).await;
                        Dirty::Objects
                    }
                    () = retry.due() => Dirty::Objects,
                    Ok(()) = told.changed(), if acknowledged.is_none() => {
                        acknowledged = Some(Instant::now() + ACKNOWLEDGED);
                        continue;
                    }
                    () = until(acknowledged) => Dirty::Acknowledgements,
                    () = until(term_state.statuses.next()) => Dirty::Acknowledgements,
                };
                if acknowledged.is_some_and(|due| due <= Instant::now()) {
                    acknowledged = None;
                    told.mark_unchanged();
                }
                for namespace in retry.take_due(Instant::now()) {
                    self.state.read(|inner| inner.index.mark(&namespace));
                    dirty = Dirty::Objects;
                }
                let failed = self.pass(&mut term_state, dirty).await;
                retry.after(failed, Instant::now());
            }
        };
        tokio::select! {
            () = lost => {}
            () = work => {}
        }
    }

    /// Compiles what is dirty and writes what differs. Namespaces in which something failed come back.
    async fn pass(&self, term: &mut Term, dirty: Dirty) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        let mut batch = Batch::default();
        if dirty == Dirty::Objects {
            let timer = self.metrics.compile_seconds.start_timer();
            batch = self.state.read(|inner| batch_of(inner, term));
            timer.observe_duration();
            report::count(&self.state, &self.metrics);
            self.metrics.dirty_namespaces.set(as_i64(batch.dirty));
            self.show_sizes();
            let maps = std::mem::take(&mut batch.maps);
            self.write_maps(maps, &mut term.statuses, &mut failed).await;
        }
        for (uid, report) in self.fleet.news(&mut term.seen).0 {
            let rejected = report.rejected_revision();
            let told = Told {
                revision: report.revision,
                rejected: rejected.map(|(revision, reason)| (revision, reason.to_owned())),
            };
            term.statuses.known.tell(&uid, told);
        }
        self.write_statuses(&mut term.statuses, &mut failed).await;
        self.metrics.statuses_waiting.set(as_i64(term.statuses.waiting()));
        self.events.about_accounts(&batch.about_accounts).await;
        for finding in &batch.about_pods {
            self.events.about_pod(finding).await;
        }
        failed
    }

    fn show_sizes(&self) {
        let (maps, objects) = self.state.read(|inner| {
            let maps = inner.maps.values().map(BTreeMap::len).sum();
            (maps, inner.objects.len())
        });
        for (what, count) in [
            ("ConfigMaps", maps),
            ("SMI objects", objects),
            ("proxies", self.fleet.len()),
        ] {
            self.metrics.kept.with_label_values(&[what]).set(as_i64(count));
        }
    }

    async fn write_maps(
        &self,
        maps: Vec<(String, MapChange)>,
        statuses: &mut Statuses,
        failed: &mut BTreeSet<String>,
    ) {
        let maps = maps.into_iter().map(|(namespace, change)| async move {
            let result = self.write_map(&namespace, &change).await;
            if is_conflict(&result) {
                self.look_at_map(&namespace, change.name()).await;
            }
            (namespace, change, result)
        });
        let mut maps = futures::stream::iter(maps).buffer_unordered(CONCURRENCY);
        while let Some((namespace, change, result)) = maps.next().await {
            if let (
                Ok(_),
                MapChange::Apply {
                    workload,
                    revision: Some(revision),
                    ..
                },
            ) = (&result, &change)
            {
                statuses.known.is_stored(workload, *revision);
            }
            self.account("ConfigMap", &namespace, change.name(), result, failed);
        }
    }

    async fn write_statuses(&self, statuses: &mut Statuses, failed: &mut BTreeSet<String>) {
        let due = self
            .state
            .read(|inner| statuses.take_due(&inner.objects, Instant::now()));
        let writes = due.into_iter().map(|desired| async move {
            let result = self.write_status(&desired).await;
            if is_conflict(&result) {
                self.look_at_object(&desired.object).await;
            }
            (desired, result)
        });
        let mut writes = futures::stream::iter(writes).buffer_unordered(CONCURRENCY);
        while let Some((desired, result)) = writes.next().await {
            if let (Ok(Outcome::Written), Some(key)) = (&result, key_of(&desired)) {
                statuses.wrote(key, Instant::now());
            }
            let object = &desired.object;
            self.account(&object.kind, &object.namespace, &object.name, result, failed);
        }
    }

    fn account(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        result: Result<Outcome, WriteError>,
        failed: &mut BTreeSet<String>,
    ) {
        let outcome = match result {
            Ok(Outcome::Unchanged) => return,
            Ok(Outcome::Written) => "written",
            // Gone, or of a namespace that is going: there is nothing left to write to.
            Err(WriteError::Api(kube::Error::Api(status))) if is_moot(&status) => {
                tracing::debug!(kind, namespace, name, reason = status.message, "write dropped");
                "dropped"
            }
            Err(WriteError::Api(kube::Error::Api(status))) if status.is_conflict() => {
                tracing::debug!(kind, namespace, name, "somebody else wrote first; looking again");
                failed.insert(namespace.to_owned());
                "conflict"
            }
            Err(error) => {
                tracing::warn!(kind, namespace, name, %error, "write failed; it is tried again");
                failed.insert(namespace.to_owned());
                "failed"
            }
        };
        self.metrics.writes.with_label_values(&[kind, outcome]).inc();
    }

    async fn write_map(&self, namespace: &str, change: &MapChange) -> Result<Outcome, WriteError> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        match change {
            MapChange::Apply {
                name,
                workload,
                policy,
                bundle,
                form,
                resource_version,
                revision,
            } => {
                if let Some(revision) = revision {
                    self.fleet.is_written(*revision);
                }
                let object = map_object(
                    name,
                    workload,
                    (policy, form),
                    bundle,
                    resource_version.as_deref(),
                );
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let mut written = call(api.patch(name, &params, &Patch::Apply(object))).await?;
                // A key that somebody else added is not ours to apply away; take it out by name.
                if stored_map(&written).foreign {
                    let keys = foreign_keys(&written, form);
                    written = call(api.patch(name, &PatchParams::default(), &Patch::Merge(keys))).await?;
                }
                let stored = stored_map(&written);
                tracing::info!(namespace, name, workload = %workload, "configuration written");
                // Proxies need not wait until the watch tells it.
                self.state
                    .tell(|inner| inner.set_map(namespace, name, Some(stored)));
            }
            MapChange::Delete {
                name,
                resource_version,
            } => {
                let preconditions = Preconditions {
                    resource_version: Some(resource_version.clone()),
                    uid: None,
                };
                call(api.delete(name, &DeleteParams::default().preconditions(preconditions))).await?;
                tracing::info!(namespace, name, "configuration removed: no workload needs it");
                self.state.tell(|inner| inner.set_map(namespace, name, None));
            }
        }
        Ok(Outcome::Written)
    }

    /// Takes a ConfigMap as it is now. The answer to a write may be remembered after the watch has told of a later
    /// change; the watch does not tell again, so what is remembered would be out of date for ever.
    async fn look_at_map(&self, namespace: &str, name: &str) {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        if let Ok(found) = call(api.get_opt(name)).await {
            self.state
                .tell(|inner| inner.set_map(namespace, name, found.as_ref().map(stored_map)));
        }
    }

    /// Takes the status of an object as it is now, for the same reason.
    async fn look_at_object(&self, object: &ObjectRef) {
        let Some(kind) = SmiKind::from_kind(&object.kind) else {
            return;
        };
        let resource = kind.resource();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &object.namespace, &resource);
        if let Ok(found) = call(api.get_opt(&object.name)).await {
            let key = (kind, object.namespace.clone(), object.name.clone());
            self.state.read(|inner| match found {
                Some(found) => inner.objects.insert(key, stored_object(&found)),
                None => inner.objects.remove(&key),
            });
        }
    }

    /// Writes a status when it differs from what is stored; before that, tells what is new in it.
    async fn write_status(&self, desired: &DesiredStatus) -> Result<Outcome, WriteError> {
        let Some(kind) = SmiKind::from_kind(&desired.object.kind) else {
            return Ok(Outcome::Unchanged);
        };
        let key = (
            kind,
            desired.object.namespace.clone(),
            desired.object.name.clone(),
        );
        let Some(stored) = self.state.read(|inner| inner.objects.get(&key).cloned()) else {
            return Ok(Outcome::Unchanged);
        };
        let now = k8s_openapi::jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let merged = status::merge(&stored.conditions, &desired.conditions, &now);
        let same_columns = desired
            .columns
            .iter()
            .all(|(name, text)| stored.columns.get(*name).is_some_and(|one| one == text));
        if merged.is_none() && same_columns {
            return Ok(Outcome::Unchanged);
        }
        let conditions = merged.unwrap_or_else(|| stored.conditions.clone());
        let ours = conditions
            .iter()
            .filter(|one| desired.conditions.iter().any(|own| own.kind == one.kind));
        let mut content = json!({ "conditions": ours.map(condition_json).collect::<Vec<_>>() });
        for (name, text) in &desired.columns {
            content[*name] = json!(text);
        }
        let resource = kind.resource();
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": &*desired.object.name, "namespace": &*desired.object.namespace,
                "uid": stored.uid, "resourceVersion": stored.resource_version,
            },
            "status": content,
        });
        let api =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &desired.object.namespace, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let untold = status::untold(&stored.conditions, &desired.diagnostics);
        self.events
            .about_object(&desired.object, &stored.uid, &resource.api_version, &untold)
            .await;
        let written = call(api.patch_status(&desired.object.name, &params, &Patch::Apply(object))).await;
        let gone = matches!(&written, Err(WriteError::Api(kube::Error::Api(status))) if is_moot(status));
        if written.is_ok() || gone {
            self.events.remembered(&stored.uid);
        }
        let written = written?;
        self.state
            .read(|inner| inner.objects.insert(key, stored_object(&written)));
        Ok(Outcome::Written)
    }
}

impl MapChange {
    fn name(&self) -> &str {
        match self {
            Self::Apply { name, .. } | Self::Delete { name, .. } => name,
        }
    }
}

/// Compiles every dirty namespace and compares with what is stored.
fn batch_of(inner: &mut Inner, term: &mut Term) -> Batch {
    let Term {
        sequence, statuses, ..
    } = term;
    let mut batch = Batch::default();
    let mut dirty = inner.index.take_dirty();
    batch.dirty = dirty.len();
    let mut concerned = BTreeSet::new();
    for namespace in &dirty {
        let before = inner.oversize.take(namespace);
        let mut desired: BTreeMap<String, ProxyConfig> = BTreeMap::new();
        for workload in workloads(&inner.index, namespace) {
            let (config, mut diagnostics) = compile(&mut inner.index, &workload);
            desired.insert(config_map_name(&workload.account), config);
            batch.about_accounts.append(&mut diagnostics);
        }
        // In a namespace that is gone there is nothing to put right.
        if inner.index.namespace(namespace).is_some() {
            let stored = inner.maps.get(&**namespace).cloned().unwrap_or_default();
            let compared = map_changes(&stored, &desired, inner.bundle(), sequence);
            for (workload, revision) in &compared.kept {
                statuses.known.is_stored(workload, *revision);
            }
            for change in compared.changes {
                if let MapChange::Apply {
                    workload,
                    revision: Some(_),
                    ..
                } = &change
                {
                    statuses.known.is_behind(workload);
                }
                batch.maps.push((namespace.to_string(), change));
            }
            for (workload, error) in compared.too_large {
                statuses.known.is_behind(&workload);
                if let Some(config) = desired.get(&config_map_name(&workload.account)) {
                    batch.about_accounts.push(inner.oversize.insert(config, &error));
                }
            }
            batch
                .about_pods
                .append(&mut report::findings(&inner.index, namespace));
        }
        concerned.extend(inner.oversize.changed(namespace, &before));
    }
    // The objects of a configuration that cannot be kept may be of other namespaces.
    dirty.append(&mut concerned);
    // Others elsewhere may hold them now.
    dirty.append(&mut inner.index.take_held_elsewhere());
    for namespace in &dirty {
        let mut all = Vec::new();
        // In one that is gone there is nothing left to be told.
        if inner.index.namespace(namespace).is_some() {
            let findings = inner.oversize.findings(namespace);
            all = status::statuses(&mut inner.index, namespace);
            for status in &mut all {
                status.add_withheld(&findings);
            }
        }
        statuses.set(namespace, all, &inner.objects);
    }
    for namespace in inner.take_moved_pods() {
        statuses
            .known
            .set_pods(&namespace, inner.counted_pods(&namespace));
    }
    batch
}

/// Resolves at this time; never without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match timeout(CALL, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(WriteError::TimedOut),
    }
}

fn is_conflict<T>(result: &Result<T, WriteError>) -> bool {
    matches!(result, Err(WriteError::Api(kube::Error::Api(status))) if status.is_conflict())
}

fn is_moot(status: &kube::core::Status) -> bool {
    let terminating = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating");
    status.code == 404 || terminating
}

fn backoff(failures: u32) -> Duration {
    (RETRY * 2u32.saturating_pow(failures.min(5))).min(RETRY_AT_MOST)
}

fn map_object(
    name: &str,
    workload: &Workload,
    (policy, form): (&str, &Form),
    bundle: &str,
    resource_version: Option<&str>,
) -> serde_json::Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": &*workload.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/part-of": "smilax" },
            "annotations": { "smilax.dev/account": &*workload.account },
        },
    });
    match form {
        Form::Plain => object["data"] = json!({ POLICY_KEY: policy }),
        Form::Packed(bytes) => {
            object["binaryData"] = json!({ PACKED_POLICY_KEY: ByteString(bytes.clone()) });
        }
    }
    if !bundle.is_empty() {
        object["data"][TRUST_BUNDLE_KEY] = json!(bundle);
    }
    if let Some(version) = resource_version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

/// Every key but those that hold the policy and the bundle, each set to nothing.
fn foreign_keys(map: &ConfigMap, form: &Form) -> serde_json::Value {
    let (plain, packed) = match form {
        Form::Plain => (POLICY_KEY, ""),
        Form::Packed(_) => ("", PACKED_POLICY_KEY),
    };
    let data = map.data.iter().flatten().map(|(key, _)| key);
    let binary = map.binary_data.iter().flatten().map(|(key, _)| key);
    json!({
        "data": nothing_for(data.filter(|key| *key != plain && *key != TRUST_BUNDLE_KEY)),
        "binaryData": nothing_for(binary.filter(|key| *key != packed)),
    })
}

fn nothing_for<'a>(keys: impl Iterator<Item = &'a String>) -> serde_json::Map<String, serde_json::Value> {
    keys.map(|key| (key.clone(), serde_json::Value::Null)).collect()
}

/// A condition as the API writes it.
pub(crate) fn condition_json(condition: &Stored) -> serde_json::Value {
    json!({
        "type": condition.kind, "status": condition.status, "reason": condition.reason, "message": condition.message,
        "observedGeneration": condition.observed_generation, "lastTransitionTime": condition.last_transition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_namespace_that_fails_again_and_again_does_not_hold_up_another() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            retry.after(these(&["bad"]), now);
            now += RETRY_AT_MOST;
            assert_eq!(retry.take_due(now), these(&["bad"]));
        }
        retry.after(these(&["bad", "other"]), now);
        assert_eq!(retry.take_due(now + RETRY), these(&["other"]));
    }

    #[test]
    fn what_fails_before_its_time_is_no_reason_to_wait_longer() {
        let mut retry = Retry::default();
        let now = Instant::now();
        for _ in 0..5 {
            retry.after(these(&["shop"]), now);
        }
        assert_eq!(retry.take_due(now + RETRY), these(&["shop"]));
    }

    #[test]
    fn what_went_well_waits_shortly_when_it_fails_later() {
        let mut retry = Retry::default();
        let now = Instant::now();
        retry.after(these(&["shop"]), now);
        retry.take_due(now + RETRY);
        retry.after(these(&["shop"]), now);
        assert!(
            retry.take_due(now + RETRY).is_empty(),
            "the second wait is longer"
        );
        retry.take_due(now + RETRY * 2);
        retry.after(BTreeSet::new(), now);
        retry.after(these(&["shop"]), now);
        assert_eq!(retry.take_due(now + RETRY), these(&["shop"]));
    }
}
