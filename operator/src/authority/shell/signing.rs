//! Gives the writer of configurations somebody who signs them.

use std::sync::Arc;

use smilax_core::TrustDomain;
use smilax_core::signature::Content;
use time::{Duration, OffsetDateTime};

use super::Keeper;
use crate::authority::PolicySigner;
use crate::authority::material::Authority;
use crate::controller::integrity::{Integrity, Sign, SignError};
use crate::controller::state::Inner;

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
                self.signs_for = Some(domain.clone());
                self.signer_fault = None;
                self.signer_attempts = 0;
                Some(Integrity::new(Arc::new(signer), authority.root_ids(), domain))
            }
            Err(error) => {
                let fault = error.to_string();
                self.signer_attempts = self.signer_attempts.saturating_add(1);
                self.signer_due = now + pause(self.signer_attempts);
                self.task.state.update(Inner::cannot_sign);
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
    pub(in crate::authority) fn keep_signer(&mut self, now: OffsetDateTime) {
        let Some(in_use) = self.in_use() else { return };
        let is_kept = self.signs_for.as_ref() == Some(&self.trust_domain()) && self.signer_fault.is_none();
        if is_kept || self.signer_fault.is_some() && now < self.signer_due {
            return;
        }
        if let Some(integrity) = self.integrity(&in_use.authority, now) {
            self.task.state.take_integrity(integrity);
        }
    }
}

/// How long after so many failures in a row a signer is made again: from 2 s, doubled each time, to about 4 minutes.
fn pause(attempts: u32) -> Duration {
    Duration::seconds(1 << attempts.clamp(1, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_that_fails_is_made_again_ever_later_and_within_minutes() {
        assert_eq!(pause(1), Duration::seconds(2));
        assert_eq!(pause(2), Duration::seconds(4));
        assert_eq!(pause(u32::MAX), Duration::seconds(256));
    }
}
