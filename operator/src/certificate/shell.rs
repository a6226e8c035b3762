//! The part that talks to the API server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Publication, plan};
use super::publish::{Decision, Target, decide, targets};
use super::stored::{Material, Stored};
use super::{CertificateMetrics, CertificateResolver, SECRET, service_names};
use crate::call::{CallError, MANAGER, as_manager, call};
use crate::lease::Leadership;
use crate::secret_entries::{entries, opaque};
use crate::watch_one::one;

/// How often the wall clock and the published bundles are looked at. A sleep until the expiry would be wrong after a
/// suspended machine.
const PERIOD: Duration = Duration::from_secs(10);
/// How often the Secret is tried for while there is none.
const AGAIN: Duration = Duration::from_secs(1);

/// What the certificate's task needs.
#[derive(Debug)]
pub struct CertificateTask {
    /// For the API server.
    pub resolver: Arc<CertificateResolver>,
    /// What is counted.
    pub metrics: CertificateMetrics,
    /// Who may change what exists.
    pub leadership: watch::Receiver<Leadership>,
    /// Namespace of the installation.
    pub namespace: String,
    /// Suffix of the cluster's DNS names.
    pub cluster_domain: String,
}

/// Keeps a certificate in `resolver`, and as the leader keeps it valid and published, until `shutdown`.
///
/// Any replica makes the Secret when there is none, so that conversion can be served before anybody leads; whoever comes
/// second takes what the first has made. Everything that fails is tried again.
pub async fn run(client: Client, task: CertificateTask, shutdown: CancellationToken) {
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &task.namespace),
        names: service_names(&task.namespace, &task.cluster_domain),
        client,
        resolver: task.resolver,
        metrics: task.metrics,
        namespace: task.namespace,
        current: None,
        missing: HashSet::new(),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeper.keep(task.leadership) => {}
    }
}

/// What kept the certificate from being kept up.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Issue(#[from] super::IssueError),
    #[error("making a certificate was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The Secret as it was last seen.
#[derive(Debug)]
pub(super) struct Seen {
    stored: Stored,
    /// `None` when it is gone since.
    pub(super) meta: Option<ObjectMeta>,
}

pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) secrets: Api<Secret>,
    pub(super) resolver: Arc<CertificateResolver>,
    pub(super) metrics: CertificateMetrics,
    pub(super) namespace: String,
    pub(super) names: Vec<String>,
    pub(super) current: Option<Seen>,
    /// Objects that were reported missing, so that they are reported once.
    pub(super) missing: HashSet<&'static str>,
}

impl Keeper {
    async fn keep(mut self, mut leadership: watch::Receiver<Leadership>) {
        while let Err(error) = self.ensure().await {
            tracing::warn!(%error, "the webhooks have no certificate yet");
            tokio::time::sleep(AGAIN).await;
        }
        let mut secret = one(self.secrets.clone(), SECRET);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(seen) = secret.next() => match seen {
                    Some(secret) => self.adopt(secret),
                    None => self.lost(),
                },
                _ = ticks.tick() => {}
                changed = leadership.changed() => if changed.is_err() {
                    return;
                },
            }
            let leads = *leadership.borrow_and_update() != Leadership::Follower;
            let kept = match &self.current {
                // Any replica, until it is there.
                None | Some(Seen { meta: None, .. }) => self.put_back().await,
                Some(_) if leads => self.lead(OffsetDateTime::now_utc()).await,
                Some(_) => Ok(()),
            };
            if let Err(error) = kept {
                tracing::warn!(%error, "the certificate of the webhooks is not kept up");
            }
            if !leads {
                self.show_nothing();
            }
        }
    }

    /// Loads the Secret, or makes it when there is none.
    pub(super) async fn ensure(&mut self) -> Result<(), KeepError> {
        match call("get Secret", SECRET, self.secrets.get(SECRET)).await {
            Ok(secret) => {
                self.adopt(secret);
                return Ok(());
            }
            Err(error) if error.is(404) => {}
            Err(error) => return Err(error.into()),
        }
        let names = self.names.clone();
        let material =
            tokio::task::spawn_blocking(move || Material::create(&names, OffsetDateTime::now_utc()))
                .await??;
        self.create(&material).await
    }

    /// Creates the Secret; when somebody else was first, theirs counts.
    async fn create(&mut self, material: &Material) -> Result<(), KeepError> {
        let secret = opaque(SECRET, material.to_data(), ObjectMeta::default());
        let created = call(
            "create Secret",
            SECRET,
            self.secrets.create(&as_manager(), &secret),
        )
        .await;
        self.count(SECRET, &created);
        match created {
            Ok(secret) => self.adopt(secret),
            Err(error) if error.is(409) => self.take_theirs().await?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Takes what somebody else wrote first.
    async fn take_theirs(&mut self) -> Result<(), CallError> {
        let theirs = call("get Secret", SECRET, self.secrets.get(SECRET)).await?;
        self.adopt(theirs);
        Ok(())
    }

    /// The Secret is gone. What it held is served still, and is put back.
    pub(super) fn lost(&mut self) {
        tracing::warn!(
            secret = SECRET,
            "the Secret of the webhooks was deleted, it is made again"
        );
        if let Some(seen) = &mut self.current {
            seen.meta = None;
        }
    }

    /// Makes the deleted Secret again with what it held, so that nothing else has to change.
    pub(super) async fn put_back(&mut self) -> Result<(), KeepError> {
        match &self.current {
            Some(seen) if seen.stored.authority.is_ok() => {
                let material = seen.stored.material().clone();
                self.create(&material).await
            }
            _ => self.ensure().await,
        }
    }

    /// What only a leader shows is nothing for another, so that nobody is woken by what a former leader saw.
    fn show_nothing(&mut self) {
        self.metrics.missing.reset();
        self.missing.clear();
    }

    /// Takes the Secret's content into use. What cannot be used is reported, and what was served before stays.
    pub(super) fn adopt(&mut self, secret: Secret) {
        let meta = Some(secret.metadata.clone());
        let data = entries(secret);
        let stored = Stored::examine(Material::from_data(&data));
        let is_new = self
            .current
            .as_ref()
            .is_none_or(|seen| seen.stored.material() != stored.material());
        if is_new {
            match stored.material().certified_key() {
                Ok(certificate) => {
                    self.resolver.load(certificate);
                    tracing::info!(secret = SECRET, "certificate of the webhooks loaded");
                }
                Err(error) => {
                    tracing::warn!(secret = SECRET, %error, "the webhooks' certificate cannot be used");
                }
            }
        }
        let expiry = |name: &str, at: Option<OffsetDateTime>| {
            let seconds = at.map_or(0, OffsetDateTime::unix_timestamp);
            self.metrics.not_after.with_label_values(&[name]).set(seconds);
        };
        expiry(
            "authority",
            stored.authority.as_ref().ok().map(|validity| validity.not_after),
        );
        expiry(
            "serving",
            stored
                .serving
                .as_ref()
                .ok()
                .map(|(validity, _)| validity.not_after),
        );
        self.current = Some(Seen { stored, meta });
    }

    /// What only the leader does: publish, and take the next step of the plan.
    pub(super) async fn lead(&mut self, now: OffsetDateTime) -> Result<(), KeepError> {
        let publication = self.publish().await;
        let Some(Seen {
            stored,
            meta: Some(meta),
        }) = &self.current
        else {
            return Ok(());
        };
        let step = plan(stored, &self.names, publication, now);
        if step == Plan::Keep {
            return Ok(());
        }
        tracing::info!(?step, "certificate of the webhooks");
        let (material, names, meta) = (stored.material().clone(), self.names.clone(), meta.clone());
        let next = tokio::task::spawn_blocking(move || material.carry_out(&step, &names, now)).await??;
        let replaced = self.replace(&next, meta).await;
        self.count(SECRET, &replaced);
        match replaced {
            Ok(secret) => self.adopt(secret),
            // Somebody else wrote it, or it is gone: the next round starts from what is there then.
            Err(error) if error.is(409) => return Ok(self.take_theirs().await?),
            Err(error) if error.is(404) => {
                self.lost();
                return self.put_back().await;
            }
            Err(error) => return Err(error.into()),
        }
        self.publish().await;
        Ok(())
    }

    async fn replace(&self, material: &Material, meta: ObjectMeta) -> Result<Secret, CallError> {
        let secret = opaque(SECRET, material.to_data(), meta);
        let parameters = as_manager();
        let replace = self.secrets.replace(SECRET, &parameters, &secret);
        call("update Secret", SECRET, replace).await
    }

    /// Brings the bundle into every object that should carry it. Nothing is written where it is there already.
    async fn publish(&mut self) -> Publication {
        let Some(seen) = &self.current else {
            return Publication::Pending;
        };
        let bundle = seen.stored.material().bundle();
        let mut publication = Publication::Complete;
        for target in targets() {
            if let Err(error) = self.publish_to(target, &bundle).await {
                tracing::warn!(%error, "caBundle not published");
                publication = Publication::Pending;
            }
        }
        publication
    }

    async fn publish_to(&mut self, target: Target, bundle: &str) -> Result<(), CallError> {
        let name = target.name();
        let (group, version, kind, plural) = target.resource();
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let object = match call("get", name, api.get(name)).await {
            Ok(object) => object,
            Err(error) if error.is(404) => {
                self.metrics.missing.with_label_values(&[name]).set(1);
                if self.missing.insert(name) {
                    tracing::warn!(
                        kind,
                        name,
                        "not in the cluster: install the charts smilax and smilax-crds again"
                    );
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.metrics.missing.with_label_values(&[name]).set(0);
        self.missing.remove(name);
        let Decision::Write(patch) = decide(target, &object.data, &self.namespace, bundle) else {
            return Ok(());
        };
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Json::<()>(patch);
        let patched = call("patch", name, api.patch(name, &parameters, &patch)).await;
        self.count(name, &patched);
        patched.map(|_| tracing::info!(kind, name, "caBundle published"))
    }

    fn count<T>(&self, name: &str, result: &Result<T, CallError>) {
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.metrics.writes.with_label_values(&[name, outcome]).inc();
    }
}
