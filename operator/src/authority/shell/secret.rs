//! The Secret of the authority: made, put back, and taken into use.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use time::OffsetDateTime;

use super::{InUse, KeepError, Keeper};
use crate::authority::SECRET;
use crate::authority::material::{Authority, Given, Material};
use crate::call::{CallError, as_manager, call};
use crate::secret_entries::{entries, opaque};

impl Keeper {
    /// Takes the Secret into use, or makes it when there is none. Any replica may; whoever comes second takes what the
    /// first has made.
    pub(in crate::authority) async fn ensure(&mut self, now: OffsetDateTime) -> Result<(), KeepError> {
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
                let given = Given::examine(&entries(secret), now).map_err(|fault| KeepError::Unusable {
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
        let created = opaque(SECRET, material.to_data(), ObjectMeta::default());
        let created = call(
            "create Secret",
            SECRET,
            self.secrets.create(&as_manager(), &created),
        )
        .await;
        self.count(&created);
        match created {
            Ok(secret) => self.adopt(secret, now),
            Err(error) if error.is(409) => self.take_theirs(now).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Takes what somebody else wrote first.
    pub(super) async fn take_theirs(&mut self, now: OffsetDateTime) -> Result<(), CallError> {
        let theirs = call("get Secret", SECRET, self.secrets.get(SECRET)).await?;
        self.adopt(theirs, now);
        Ok(())
    }

    /// The Secret is gone. What it held is in use still, and is put back.
    pub(in crate::authority) fn lost(&mut self) {
        if self.in_use().is_some() {
            tracing::warn!(
                secret = SECRET,
                "the Secret of the authority was deleted; it is put back"
            );
        }
        self.meta = None;
        self.fault = None;
    }

    /// Makes the deleted Secret again with what is in use, so that nothing else has to change.
    pub(in crate::authority) async fn put_back(
        &mut self,
        in_use: &InUse,
        now: OffsetDateTime,
    ) -> Result<(), KeepError> {
        self.create(in_use.authority.material(), now).await
    }

    /// Takes the Secret's content into use. What cannot be used is reported, and what was used before stays.
    pub(in crate::authority) fn adopt(&mut self, secret: Secret, now: OffsetDateTime) {
        self.meta = Some(secret.metadata.clone());
        let examined = Material::from_data(&entries(secret))
            .and_then(|material| Authority::examine(material, now))
            .map_err(|fault| fault.to_string())
            .and_then(|authority| self.not_older(authority));
        let unusable = self.task.metrics.unusable.with_label_values(&[SECRET]);
        match examined {
            Ok(authority) => {
                self.fault = None;
                unusable.set(0);
                self.publish(authority, now);
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

    fn publish(&mut self, authority: Authority, now: OffsetDateTime) {
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
        let integrity = self.integrity(&authority, now);
        // Bundle and signer change together, so that nothing is written with one of them alone.
        let state = &self.task.state;
        match integrity {
            Some(integrity) => state.take_authority(&bundle, integrity),
            None => state.update(|inner| inner.set_bundle(&bundle)),
        }
        tracing::info!(
            generation,
            issuer = bundle.issuer.0,
            "authority of the mesh loaded"
        );
        self.task
            .in_use
            .send_replace(Some(Arc::new(InUse { authority, bundle })));
    }

    pub(super) fn count<T>(&self, result: &Result<T, CallError>) {
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.task.metrics.writes.with_label_values(&[outcome]).inc();
    }
}
