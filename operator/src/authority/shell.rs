//! The part that talks to the API server.

mod mesh_config;
mod secret;
mod signing;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::{Api, Client};
use smilax_core::TrustDomain;
use smilax_core::workload_connection::TrustBundle;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::mesh_config::Mesh;
use super::material::{Authority, Given, Material};
use super::plan::{PodState, Situation, Source, Step, plan};
use super::{AuthorityMetrics, IssueError, SECRET};
use crate::call::{CallError, as_manager, call};
use crate::controller::State;
use crate::controller::kinds::Watched;
use crate::controller::state::Inner;
use crate::lease::Leadership;
use crate::secret_entries::{entries, opaque};
use crate::watch_one::one;

/// How often the clock, and what pods acknowledged, are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How often it is looked whether ConfigMaps were listed.
const AGAIN: Duration = Duration::from_millis(250);

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

impl KeepError {
    /// Whether somebody has to change something before there can be an authority. Until then the mesh does without.
    fn is_final(&self) -> bool {
        match self {
            Self::Call(error) => error.is(404),
            Self::Unusable { .. } => true,
            Self::Issue(_) | Self::Interrupted(_) => false,
        }
    }
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
    /// Trust domain that configurations are signed for.
    pub(super) signs_for: Option<TrustDomain>,
    /// Why they cannot be.
    pub(super) signer_fault: Option<String>,
    /// How often in a row.
    pub(super) signer_attempts: u32,
    /// When it is tried again.
    pub(super) signer_due: OffsetDateTime,
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
            signs_for: None,
            signer_fault: None,
            signer_attempts: 0,
            signer_due: OffsetDateTime::UNIX_EPOCH,
        }
    }

    async fn keep(mut self) {
        // What lies in ConfigMaps says which generations there were, and whom pods trust that live already. The MeshConfig
        // may name another trust domain.
        let first = [Watched::ConfigMap, Watched::MeshConfig];
        while self.task.state.unlisted().iter().any(|kind| first.contains(kind)) {
            tokio::time::sleep(AGAIN).await;
        }
        let mut secret = one(self.secrets.clone(), SECRET);
        let mut given = match self.task.given.clone() {
            Some(name) => one(self.secrets.clone(), &name),
            None => stream::pending().boxed(),
        };
        let meshes = Api::<DynamicObject>::all_with(self.client.clone(), &mesh_config::resource());
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
                    None => self.lost(),
                },
                Some(seen) = given.next() => self.take_given(seen, now),
                Some(seen) = mesh.next() => self.take_mesh(seen),
                _ = ticks.tick() => {}
                changed = leadership.changed() => if changed.is_err() {
                    return;
                },
            }
            self.keep_signer(now);
            let leads = *leadership.borrow_and_update() != Leadership::Follower;
            let kept = match self.in_use() {
                // Any replica may make it, so that none waits for a leader.
                None => self.ensure(now).await,
                // Any replica, until it is there: this may be the last one that knows what was in it.
                Some(in_use) if self.meta.is_none() => self.put_back(&in_use, now).await,
                Some(_) if leads => self.lead(now).await,
                Some(_) => Ok(()),
            };
            if leads && self.in_use().is_none() {
                self.write_status(&Step::Keep).await;
            }
            if !leads {
                self.show_nothing();
            }
            match kept {
                Ok(()) => failing = false,
                Err(error) => {
                    if error.is_final() {
                        self.task.state.update(Inner::cannot_sign);
                    }
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

    pub(super) fn take_given(&mut self, seen: Option<Secret>, now: OffsetDateTime) {
        let Some(name) = self.task.given.clone() else {
            return;
        };
        let given = seen.map_or_else(
            || Err("it does not exist".to_owned()),
            |secret| Given::examine(&entries(secret), now).map_err(|fault| fault.to_string()),
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
        let next = self.vouched(next, &in_use, now);
        let (parameters, next) = (as_manager(), opaque(SECRET, next.to_data(), meta));
        let replace = self.secrets.replace(SECRET, &parameters, &next);
        let replaced = call("update Secret", SECRET, replace).await;
        self.count(&replaced);
        match replaced {
            Ok(secret) => self.adopt(secret, now),
            // Somebody else wrote it, or it is gone: the next round starts from what is there then.
            Err(error) if error.is(409) => self.take_theirs(now).await?,
            Err(error) if error.is(404) => {
                self.lost();
                self.put_back(&in_use, now).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What is written next, with what lets pods follow it that trust only the roots in use.
    fn vouched(&self, next: Material, in_use: &InUse, now: OffsetDateTime) -> Material {
        match next.clone().vouched(&in_use.authority, &self.trust_domain(), now) {
            Ok(vouched) => vouched,
            Err(error) => {
                tracing::error!(
                    %error,
                    "nobody can vouch for the next root: pods that exist take no mounted configuration of it until they are \
                     created anew"
                );
                next
            }
        }
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
