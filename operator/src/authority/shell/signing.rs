//! Gives the writer of configurations somebody who signs them.

use std::sync::Arc;

use smilax_core::TrustDomain;
use smilax_core::signature::Content;
use time::OffsetDateTime;

use super::Keeper;
use crate::authority::PolicySigner;
use crate::authority::material::Authority;
use crate::controller::integrity::{Integrity, Sign, SignError};

impl Sign for PolicySigner {
    fn sign(&self, content: &Content<'_>) -> Result<String, SignError> {
        self.sign_at(content, OffsetDateTime::now_utc())
            .map_err(|error| SignError(error.to_string()))
    }

    fn would_make(&self, signature: &str) -> bool {
        Self::would_make(self, signature)
    }
}

impl Keeper {
    /// First part of the identities that are signed now.
    pub(super) fn trust_domain(&self) -> TrustDomain {
        let state = &self.task.state;
        state.read(|inner| inner.index.settings().trust_domain.clone())
    }

    /// A signer of this authority. Without one, configurations are written as versions before wrote them, and that is told.
    pub(super) fn integrity(&mut self, authority: &Authority, now: OffsetDateTime) -> Option<Integrity> {
        let domain = self.trust_domain();
        let made = PolicySigner::new(authority, &domain, now);
        let unusable = self.task.metrics.unusable.with_label_values(&["signer"]);
        unusable.set(i64::from(made.is_err()));
        match made {
            Ok(signer) => {
                self.signs_for = Some(domain);
                self.signer_fault = None;
                Some(Integrity::new(Arc::new(signer), authority.root_ids()))
            }
            Err(error) => {
                let fault = error.to_string();
                if self.signer_fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        fault,
                        "configurations cannot be signed; whoever may edit ConfigMaps can replace those of this mesh. An issuer \
                         with extended key usages must allow any, or none may be named"
                    );
                }
                self.signer_fault = Some(fault);
                None
            }
        }
    }

    /// Signs for the trust domain that the mesh has now, and tries again what could not be.
    pub(super) fn keep_signer(&mut self, now: OffsetDateTime) {
        let Some(in_use) = self.in_use() else { return };
        if self.signs_for.as_ref() == Some(&self.trust_domain()) && self.signer_fault.is_none() {
            return;
        }
        if let Some(integrity) = self.integrity(&in_use.authority, now) {
            self.task.state.update(|inner| inner.set_integrity(integrity));
        }
    }
}
