//! What the control thread works with: the configuration, the certificate and the bundle in force.

pub mod reload;
mod signed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use smilax_core::workload_connection::{KeyId, TrustBundle};
use smilax_core::{Members, Resource};
use tokio::time::Instant;

use crate::config_source::{self, Source, Status};
use crate::identity::{BundleStep, Keyring};
use crate::log::Level;
use crate::operator_connection::conversation::{Facts, Refusal};
use crate::operator_connection::interest::Interest;
use crate::settings::IdentitySource;
use crate::tls::Credentials;
use crate::worker::Shared;

/// What the control thread works with.
#[derive(Debug)]
pub struct Control {
    /// What the threads share.
    pub shared: Arc<Shared>,
    /// Which configuration is in force.
    pub source: Mutex<Source>,
    /// Which certificate and bundle are.
    pub keyring: Mutex<Keyring>,
    /// What the operator is asked to tell of.
    pub interest: Mutex<Interest>,
    /// What is logged.
    pub level: Level,
    /// When the proxy started.
    pub started: Instant,
    complaints: Mutex<BTreeMap<&'static str, String>>,
}

/// What the operator is asked to tell of, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    resource: Resource,
    /// Seconds since it was last known to be used.
    unused_for: u64,
}

/// Which configuration is in force, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    #[serde(flatten)]
    status: Status,
    signature: SignatureNeed,
}

/// Whether a mounted configuration counts without a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum SignatureNeed {
    /// It does not: the pod's spec says which roots may sign.
    Required,
    /// It does: the pod was injected by a version that did not sign, or by hand.
    NotRequired,
}

/// Certificates and trust, for people. No secret is in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificatesStatus {
    /// The certificate in use; absent when there is none.
    certificate: Option<CertificateStatus>,
    /// The bundle in force; absent when there is none.
    bundle: Option<BundleStatus>,
    /// Whether the proxy is connected to the operator.
    operator_connected: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateStatus {
    identity: String,
    pod_uid: Option<Box<str>>,
    not_before: u64,
    not_after: u64,
    issuer: KeyId,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleStatus {
    generation: u64,
    trust_domain: String,
    roots: Vec<KeyId>,
    issuer: KeyId,
    refused: Option<String>,
}

impl Control {
    /// With nothing in force.
    pub fn new(shared: Arc<Shared>, level: Level) -> Self {
        let source = Source::new(shared.settings.pod_view.clone());
        Self {
            shared,
            source: Mutex::new(source),
            keyring: Mutex::default(),
            interest: Mutex::default(),
            level,
            started: Instant::now(),
            complaints: Mutex::default(),
        }
    }

    /// Decides about a bundle, and puts it in force.
    pub fn offer_bundle(&self, bundle: TrustBundle, from: &str) {
        let generation = bundle.generation;
        let step = self.keyring.lock().offer(bundle);
        match step {
            BundleStep::Applied => {
                tracing::info!(generation, from, "a trust bundle is in force");
                self.keep_bundle();
                self.publish();
            }
            BundleStep::Refused(refused) => {
                tracing::warn!(
                    generation,
                    from,
                    reason = refused.reason,
                    "a trust bundle was refused"
                );
                self.shared.changes.tell();
            }
            BundleStep::Unchanged | BundleStep::Older | BundleStep::RefusedAgain => {}
        }
    }

    /// Keeps the bundle in force for a restart. One that follows from a file of roots is read again there.
    fn keep_bundle(&self) {
        let settings = &self.shared.settings;
        let (Some(directory), None) = (&settings.state_directory, &settings.trust_roots) else {
            return;
        };
        let Some(trust) = self.keyring.lock().trust().cloned() else {
            return;
        };
        if let Err(error) = config_source::save_bundle(directory, &trust.bundle) {
            tracing::warn!(directory = %directory.display(), %error, "cannot keep the trust bundle for a restart");
        }
    }

    /// Uses a certificate from now on.
    pub fn install(&self, credentials: Credentials) {
        tracing::info!(
            identity = %credentials.identity.id,
            not_after = credentials.not_after,
            "a certificate is in use"
        );
        self.keyring.lock().install(credentials);
        self.publish();
    }

    /// Logs that a file cannot be used, once for each reason; it is looked at again and again.
    pub fn complain(&self, of: &'static str, file: &Path, reason: &str) {
        let known = self.complaints.lock().insert(of, reason.to_owned());
        if known.as_deref() != Some(reason) {
            tracing::warn!(file = %file.display(), reason, "{of} cannot be used");
        }
    }

    /// The pods that bindings select.
    pub fn take_members(&self, members: Members) {
        if **self.shared.members.load() != members {
            self.shared.members.store(Arc::new(members));
            self.shared.changes.tell();
        }
    }

    /// What the operator is told.
    pub fn facts(&self) -> Facts {
        let source = self.source.lock();
        let keyring = self.keyring.lock();
        Facts {
            bundle: keyring.trust().map(|trust| trust.bundle.generation),
            refused_bundle: keyring.refused().map(|refused| {
                let refusal = Refusal {
                    path: "roots".to_owned(),
                    reason: refused.reason.clone(),
                };
                (refused.generation, refusal)
            }),
            revision: source.applied().map(|applied| applied.revision),
            refused_revision: source.refusal(),
            certificate: keyring.certificate(),
            learned: self.shared.addresses.learned(),
        }
    }

    /// What the operator is asked to tell of, for people.
    pub fn subscriptions(&self) -> Vec<SubscriptionStatus> {
        let interest = self.interest.lock();
        let mut status: Vec<_> = interest
            .all(self.started.elapsed())
            .map(|(resource, unused)| SubscriptionStatus {
                resource: resource.clone(),
                unused_for: unused.as_secs(),
            })
            .collect();
        status.sort_by(|a, b| a.resource.cmp(&b.resource));
        status
    }

    /// Whether this proxy is to have a certificate.
    pub fn needs_certificate(&self) -> bool {
        match &self.shared.settings.identity {
            IdentitySource::Files { .. } => true,
            IdentitySource::Operator { .. } => {
                let source = self.source.lock();
                source.applied().is_some_and(|applied| applied.operator.is_some())
            }
        }
    }

    /// Which configuration is in force, for people.
    pub fn config_status(&self) -> ConfigStatus {
        ConfigStatus {
            status: self.source.lock().status(),
            signature: if self.shared.settings.anchors.is_empty() {
                SignatureNeed::NotRequired
            } else {
                SignatureNeed::Required
            },
        }
    }

    /// Certificates and trust, for people.
    pub fn certificates(&self) -> CertificatesStatus {
        let keyring = self.keyring.lock();
        CertificatesStatus {
            certificate: keyring.own().map(|own| CertificateStatus {
                identity: own.identity.id.to_string(),
                pod_uid: own.identity.pod_uid.clone(),
                not_before: own.not_before,
                not_after: own.not_after,
                issuer: keyring.certificate().map(|info| info.issuer).unwrap_or_default(),
            }),
            bundle: keyring.trust().map(|trust| BundleStatus {
                generation: trust.bundle.generation,
                trust_domain: trust.domain.to_string(),
                roots: trust.roots().to_vec(),
                issuer: trust.bundle.issuer.clone(),
                refused: keyring.refused().map(|refused| refused.reason.clone()),
            }),
            operator_connected: self.shared.metrics.identity.connected.get() == 1,
        }
    }

    /// Gives the workers what handshakes are made of now.
    pub fn publish(&self) {
        let keyring = self.keyring.lock();
        match keyring.context() {
            Ok(Some(context)) => self.shared.tls.store(Some(Arc::new(context))),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "TLS cannot be set up"),
        }
        let metrics = &self.shared.metrics.identity;
        let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics
            .not_after
            .set(keyring.own().map_or(0, |own| seconds(own.not_after)));
        metrics.bundle.set(
            keyring
                .trust()
                .map_or(0, |trust| seconds(trust.bundle.generation)),
        );
        drop(keyring);
        self.shared.changes.tell();
    }
}
