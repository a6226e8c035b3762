//! The part that talks to the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use smilax_core::convention::key;
use smilax_core::workload_connection::TrustBundle;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::material::{Authority, Given, Material};
use super::plan::{PodState, Request, Situation, Source, Step, plan};
use super::status::conditions;
use super::{AuthorityMetrics, IssueError, SECRET};
use crate::call::{CallError, MANAGER, call};
use crate::controller::State;
use crate::controller::kinds::Watched;
use crate::controller::watch::stored_object;
use crate::controller::writer::condition_json;
use crate::lease::Leadership;
use crate::watch_backoff::{WATCH_TIMEOUT, paced};

/// How often the clock, and what pods acknowledged, are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How often it is looked whether ConfigMaps were listed.
const AGAIN: Duration = Duration::from_millis(250);
/// How often the status may change while a change is under way.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
/// Of the conditions, which are not the compiler's.
const STATUS_MANAGER: &str = "smilax-operator-authority";

/// What the authority's task needs.
pub struct AuthorityTask {
    /// What was seen of the cluster; the bundle goes there for the writer.
    pub state: Arc<State>,
    /// What every Ready pod with a proxy acknowledged.
    pub pods: Arc<dyn Fn() -> Vec<PodState> + Send + Sync>,
    /// What is counted.
    pub metrics: AuthorityMetrics,
    /// Who may change what exists.
    pub leadership: watch::Receiver<Leadership>,
    /// Namespace of the installation.
    pub namespace: String,
    /// The user's Secret, if the user decides.
    pub given: Option<String>,
    /// What signs and is trusted, for everybody else.
    pub in_use: watch::Sender<Option<Arc<InUse>>>,
}

impl std::fmt::Debug for AuthorityTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityTask").finish_non_exhaustive()
    }
}

/// What signs, and what is trusted.
#[derive(Debug)]
pub struct InUse {
    /// Who signs.
    pub authority: Authority,
    /// What the mesh is to trust.
    pub bundle: TrustBundle,
}

/// Keeps an authority in use, and as the leader keeps it valid and carries out changes, until `shutdown`. Everything
/// that fails is tried again.
pub async fn run(client: Client, task: AuthorityTask, shutdown: CancellationToken) {
    let keeper = Keeper::new(client, task);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeper.keep() => {}
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("making a certificate was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error("Secret {name} cannot be used: {fault}")]
    Unusable { name: String, fault: String },
}

/// The MeshConfig, as far as it matters here.
#[derive(Debug)]
struct Mesh {
    object: DynamicObject,
    request: Option<Request>,
}

pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) secrets: Api<Secret>,
    pub(super) task: AuthorityTask,
    /// Of the Secret as it was last seen; `None` when it is gone.
    pub(super) meta: Option<ObjectMeta>,
    /// What is wrong with the Secret.
    pub(super) fault: Option<String>,
    /// The user's authority, or what is wrong with it; `None` when it is not asked for.
    pub(super) given: Option<Result<Given, String>>,
    mesh: Option<Mesh>,
    /// The highest generation that lay in ConfigMaps when this process began to lead.
    behind: Option<u64>,
    status_written: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(client: Client, task: AuthorityTask) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &task.namespace),
            client,
            given: task.given.as_ref().map(|_| Err("it was not read yet".to_owned())),
            task,
            meta: None,
            fault: None,
            mesh: None,
            behind: None,
            status_written: None,
        }
    }

    async fn keep(mut self) {
        // What lies in ConfigMaps says which generations there were, and whom pods trust that live already.
        while self.task.state.unlisted().contains(&Watched::ConfigMap) {
            tokio::time::sleep(AGAIN).await;
        }
        let mut secret = one(self.secrets.clone(), SECRET);
        let mut given = match self.task.given.clone() {
            Some(name) => one(self.secrets.clone(), &name),
            None => stream::pending().boxed(),
        };
        let meshes = ApiResource::from_gvk(&GroupVersionKind::gvk(
            smilax_crds::mesh::GROUP,
            "v1alpha1",
            "MeshConfig",
        ));
        let meshes = Api::<DynamicObject>::all_with(self.client.clone(), &meshes);
        let mut mesh = one(meshes, smilax_crds::mesh::NAME);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leadership = self.task.leadership.clone();
        let mut failing = false;
        loop {
            let now = OffsetDateTime::now_utc();
            tokio::select! {
                Some(seen) = secret.next() => match seen {
                    Some(secret) => self.adopt(secret, now),
                    None => self.put_back().await,
                },
                Some(seen) = given.next() => self.take_given(seen, now),
                Some(seen) = mesh.next() => self.take_mesh(seen),
                _ = ticks.tick() => {}
                changed = leadership.changed() => if changed.is_err() {
                    return;
                },
            }
            let leads = *leadership.borrow_and_update() != Leadership::Follower;
            let kept = match self.in_use() {
                // Any replica may make it, so that none waits for a leader.
                None => self.ensure(now).await,
                Some(_) if leads => self.lead(now).await,
                Some(_) => Ok(()),
            };
            if leads && self.in_use().is_none() {
                self.write_status(&Step::Keep).await;
            }
            match kept {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "the authority of the mesh is not kept up; it is tried again");
                    }
                    failing = true;
                }
            }
        }
    }

    /// What is in use.
    pub(super) fn in_use(&self) -> Option<Arc<InUse>> {
        self.task.in_use.borrow().clone()
    }

    /// Takes the Secret into use, or makes it when there is none. Any replica may; whoever comes second takes what the
    /// first has made.
    pub(super) async fn ensure(&mut self, now: OffsetDateTime) -> Result<(), KeepError> {
        match call("get Secret", SECRET, self.secrets.get(SECRET)).await {
            Ok(secret) => {
                self.adopt(secret, now);
                // What is there and cannot be used is never replaced: it may be all that old certificates lead to.
                return match &self.in_use() {
                    Some(_) => Ok(()),
                    None => Err(KeepError::Unusable {
                        name: SECRET.to_owned(),
                        fault: self.fault.clone().unwrap_or_default(),
                    }),
                };
            }
            Err(error) if error.is(404) => {}
            Err(error) => return Err(error.into()),
        }
        let highest = self.highest(now);
        if highest > 0 {
            // The roots that lie in ConfigMaps are not taken up again: others may write there.
            tracing::error!(
                secret = SECRET,
                "the authority of a mesh that lives is gone, and a new one is made: pods trust each other again once each \
                 has a new certificate"
            );
        }
        // The first generation is the time, so that it lies behind those of an installation before.
        let generation = u64::try_from(now.unix_timestamp())
            .unwrap_or_default()
            .max(highest.saturating_add(1));
        let material = match self.task.given.clone() {
            Some(name) => {
                let secret = call("get Secret", &name, self.secrets.get(&name)).await?;
                let given = Given::examine(&data(secret), now).map_err(|fault| KeepError::Unusable {
                    name,
                    fault: fault.to_string(),
                })?;
                Material::given(generation, given)
            }
            None => tokio::task::spawn_blocking(move || Material::create(generation, now)).await??,
        };
        self.create(&material, now).await
    }

    /// Creates the Secret; when somebody else was first, theirs counts.
    async fn create(&mut self, material: &Material, now: OffsetDateTime) -> Result<(), KeepError> {
        let created = secret(material, ObjectMeta::default());
        let created = call(
            "create Secret",
            SECRET,
            self.secrets.create(&parameters(), &created),
        )
        .await;
        self.count(&created);
        match created {
            Ok(secret) => self.adopt(secret, now),
            Err(error) if error.is(409) => {
                let theirs = call("get Secret", SECRET, self.secrets.get(SECRET)).await?;
                self.adopt(theirs, now);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Makes the deleted Secret again with what is in use, so that nothing else has to change.
    pub(super) async fn put_back(&mut self) {
        let now = OffsetDateTime::now_utc();
        self.meta = None;
        self.fault = None;
        let again = match self.in_use() {
            Some(in_use) => {
                tracing::warn!(
                    secret = SECRET,
                    "the Secret of the authority was deleted; it is put back"
                );
                let material = in_use.authority.material().clone();
                self.create(&material, now).await
            }
            None => self.ensure(now).await,
        };
        if let Err(error) = again {
            tracing::warn!(%error, "the Secret of the authority could not be made again");
        }
    }

    /// Takes the Secret's content into use. What cannot be used is reported, and what was used before stays.
    pub(super) fn adopt(&mut self, secret: Secret, now: OffsetDateTime) {
        self.meta = Some(secret.metadata.clone());
        let examined = Material::from_data(&data(secret))
            .and_then(|material| Authority::examine(material, now))
            .map_err(|fault| fault.to_string())
            .and_then(|authority| self.not_older(authority));
        let unusable = self.task.metrics.unusable.with_label_values(&[SECRET]);
        match examined {
            Ok(authority) => {
                self.fault = None;
                unusable.set(0);
                self.publish(authority);
            }
            Err(fault) => {
                unusable.set(1);
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        secret = SECRET,
                        fault,
                        "the Secret of the authority cannot be used; what was used before stays. Delete the Secret, and it is \
                         made again from that"
                    );
                }
                self.fault = Some(fault);
            }
        }
    }

    /// A Secret from before a change would sign with what proxies no longer trust.
    fn not_older(&self, authority: Authority) -> Result<Authority, String> {
        let used = self
            .in_use()
            .map_or(0, |in_use| in_use.authority.material().generation);
        let found = authority.material().generation;
        if found < used {
            return Err(format!(
                "it is of generation {found}, and generation {used} is in use"
            ));
        }
        Ok(authority)
    }

    fn publish(&self, authority: Authority) {
        let seconds = |at: OffsetDateTime| at.unix_timestamp();
        let expiry = &self.task.metrics.not_after;
        expiry
            .with_label_values(&["root"])
            .set(seconds(authority.root.not_after));
        expiry
            .with_label_values(&["issuer"])
            .set(seconds(authority.issuer.not_after));
        let generation = authority.material().generation;
        self.task
            .metrics
            .generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        let bundle = authority.bundle();
        let same = self
            .in_use()
            .is_some_and(|in_use| in_use.authority.material() == authority.material());
        if same {
            return;
        }
        self.task.state.update(|inner| inner.set_bundle(&bundle));
        tracing::info!(
            generation,
            issuer = bundle.issuer.0,
            "authority of the mesh loaded"
        );
        self.task
            .in_use
            .send_replace(Some(Arc::new(InUse { authority, bundle })));
    }

    pub(super) fn take_given(&mut self, seen: Option<Secret>, now: OffsetDateTime) {
        let Some(name) = self.task.given.clone() else {
            return;
        };
        let given = seen.map_or_else(
            || Err("it does not exist".to_owned()),
            |secret| Given::examine(&data(secret), now).map_err(|fault| fault.to_string()),
        );
        let unusable = self.task.metrics.unusable.with_label_values(&["given"]);
        unusable.set(i64::from(given.is_err()));
        if let Err(fault) = &given
            && self.given.as_ref() != Some(&given)
        {
            tracing::error!(
                secret = name,
                fault,
                "the Secret that gives the authority cannot be used; what was used before stays"
            );
        }
        self.given = Some(given);
    }

    fn take_mesh(&mut self, seen: Option<DynamicObject>) {
        self.mesh = seen.map(|object| {
            let asked = object.annotations().get(key::ROTATE);
            let request = asked.and_then(|asked| match asked.parse::<Request>() {
                Ok(request) => Some(request),
                Err(error) => {
                    tracing::warn!(%error, annotation = key::ROTATE, "no change of the authority is made");
                    None
                }
            });
            Mesh { object, request }
        });
    }

    /// What only the leader does: the next step of the plan, and telling about it.
    pub(super) async fn lead(&mut self, now: OffsetDateTime) -> Result<(), KeepError> {
        let Some(in_use) = self.in_use() else {
            return Ok(());
        };
        // Once: whoever may write a ConfigMap could otherwise make us write all of them, again and again.
        let highest = self.highest(now);
        self.behind.get_or_insert(highest);
        let step = plan(&in_use.authority, &self.situation(&in_use), now);
        self.show(&in_use, &step);
        self.write_status(&step).await;
        if matches!(step, Step::Keep | Step::Wait(_)) {
            return Ok(());
        }
        // Nothing is built on a Secret that is not what is in use.
        let (Some(meta), None) = (self.meta.clone(), &self.fault) else {
            return Ok(());
        };
        tracing::info!(step = word(&step), "authority of the mesh");
        let highest = self.behind.unwrap_or_default();
        let material = in_use.authority.material().clone();
        let next = tokio::task::spawn_blocking(move || material.carry_out(&step, highest, now)).await??;
        let (parameters, next) = (parameters(), secret(&next, meta));
        let replace = self.secrets.replace(SECRET, &parameters, &next);
        let replaced = call("update Secret", SECRET, replace).await;
        self.count(&replaced);
        match replaced {
            Ok(secret) => self.adopt(secret, now),
            // Somebody else wrote it, or it is gone: the next round starts from what is there then.
            Err(error) if error.is(409) => {
                let theirs = call("get Secret", SECRET, self.secrets.get(SECRET)).await?;
                self.adopt(theirs, now);
            }
            Err(error) if error.is(404) => self.put_back().await,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The highest generation in any ConfigMap. Generations begin with the time and rise by one, so that one from the
    /// future was written by somebody else.
    fn highest(&self, now: OffsetDateTime) -> u64 {
        let now = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let generations = self.task.state.read(|inner| inner.bundle_generations());
        let believable = generations.into_iter().filter(|&one| one <= now);
        believable.max().unwrap_or_default()
    }

    fn situation(&self, in_use: &InUse) -> Situation {
        Situation {
            source: match &self.given {
                None => Source::SelfMade,
                Some(given) => Source::Given(given.clone().ok()),
            },
            request: self.mesh.as_ref().and_then(|mesh| mesh.request.clone()),
            pods: (self.task.pods)(),
            unpublished: self.task.state.read(|inner| inner.without_bundle(&in_use.bundle)),
            highest: self.behind.unwrap_or_default(),
        }
    }

    fn show(&self, in_use: &InUse, step: &Step) {
        let now = in_use.authority.material().phase();
        for phase in ["steady", "announced", "renewing"] {
            let gauge = self.task.metrics.rotation.with_label_values(&[phase]);
            gauge.set(i64::from(phase == now));
        }
        let blockers = match step {
            Step::Wait(blockers) => blockers.len(),
            _ => 0,
        };
        self.task
            .metrics
            .blockers
            .set(i64::try_from(blockers).unwrap_or(i64::MAX));
    }

    /// Writes what differs of our conditions, if there is a MeshConfig to write them on.
    async fn write_status(&mut self, step: &Step) {
        let Some(mesh) = &self.mesh else { return };
        if self.status_written.is_some_and(|at| at.elapsed() < STATUS_PERIOD) {
            return;
        }
        let given = self.given.as_ref().and_then(|given| given.as_ref().err());
        let given = given.map(|fault| {
            format!(
                "Secret {}: {fault}",
                self.task.given.as_deref().unwrap_or_default()
            )
        });
        let faults: Vec<String> = self
            .fault
            .as_ref()
            .map(|fault| format!("Secret {SECRET}: {fault}"))
            .into_iter()
            .chain(given)
            .collect();
        let in_use = self.in_use();
        let authority = in_use.as_ref().map(|in_use| &in_use.authority);
        let generation = mesh.object.metadata.generation.unwrap_or_default();
        let desired = conditions(authority, &faults, self.task.given.as_deref(), step, generation);
        let now = k8s_openapi::jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let stored = stored_object(&mesh.object).conditions;
        let Some(merged) = smilax_compiler::status::merge(&stored, &desired, &now) else {
            return;
        };
        let ours = merged
            .iter()
            .filter(|one| desired.iter().any(|own| own.kind == one.kind))
            .map(condition_json);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
            smilax_crds::mesh::GROUP,
            "v1alpha1",
            "MeshConfig",
        ));
        let name = smilax_crds::mesh::NAME;
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": { "name": name },
            "status": { "conditions": ours.collect::<Vec<_>>() },
        });
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        self.status_written = Some(Instant::now());
        let patch = Patch::Apply(object);
        let written = call(
            "status of MeshConfig",
            name,
            api.patch_status(name, &parameters, &patch),
        )
        .await;
        match written {
            Ok(object) => {
                if let Some(mesh) = &mut self.mesh {
                    mesh.object = object;
                }
            }
            Err(error) => tracing::debug!(%error, "the status of the authority was not written"),
        }
    }

    fn count<T>(&self, result: &Result<T, CallError>) {
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.task.metrics.writes.with_label_values(&[outcome]).inc();
    }
}

/// One object by its name: as it is, whenever it changes, and `None` when it is gone.
fn one<K>(api: Api<K>, name: &str) -> BoxStream<'static, Option<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let only = watcher::Config::default()
        .timeout(WATCH_TIMEOUT)
        .fields(&format!("metadata.name={name}"));
    let mut listed = None;
    paced(watcher::watcher(api, only))
        .filter_map(move |event| {
            let seen = match event {
                Ok(Event::Apply(object)) => Some(Some(object)),
                Ok(Event::Delete(_)) => Some(None),
                Ok(Event::Init) => {
                    listed = None;
                    None
                }
                Ok(Event::InitApply(object)) => {
                    listed = Some(object);
                    None
                }
                Ok(Event::InitDone) => Some(listed.take()),
                Err(error) => {
                    tracing::debug!(%error, "watch of one object");
                    None
                }
            };
            std::future::ready(seen)
        })
        .boxed()
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn data(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.unwrap_or_default();
    data.into_iter()
        .map(|(entry, ByteString(bytes))| (entry, bytes))
        .collect()
}

fn secret(material: &Material, meta: ObjectMeta) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            managed_fields: None,
            ..meta
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            material
                .to_data()
                .into_iter()
                .map(|(entry, bytes)| (entry, ByteString(bytes)))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// A step as a word: it holds keys.
fn word(step: &Step) -> &'static str {
    match step {
        Step::Keep => "keep",
        Step::Wait(_) => "wait",
        Step::Raise => "raise the generation",
        Step::Announce { .. } => "trust the next root too",
        Step::Reissue { .. } => "sign with a new issuer",
        Step::HandOver { .. } => "sign with the issuer of the next root",
        Step::Finish { .. } => "forget what was before",
    }
}
