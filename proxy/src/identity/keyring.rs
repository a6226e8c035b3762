//! The certificate and the bundle in force. Pure: it decides, others read and write.

use std::sync::Arc;

use smilax_core::TrustDomain;
use smilax_core::workload_connection::{CertificateInfo, TrustBundle};

use super::schedule::InUse;
use crate::tls::{Credentials, TlsContext, Trust};

/// The certificate and the bundle in force.
#[derive(Debug, Default)]
pub struct Keyring {
    trust: Option<Arc<Trust>>,
    own: Option<Arc<Credentials>>,
    domain: TrustDomain,
    refused: Option<RefusedBundle>,
    ever: bool,
}

/// A bundle that is not in force, since it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBundle {
    /// Its place in the order.
    pub generation: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What becomes of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleStep {
    /// It is in force from now on.
    Applied,
    /// It is in force already.
    Unchanged,
    /// One that is as new or newer is in force.
    Older,
    /// It cannot be used; the one in force stays.
    Refused(RefusedBundle),
    /// The same, and this was said already.
    RefusedAgain,
}

impl Keyring {
    /// Decides about a bundle, from wherever it came. What is in force is never replaced by what is older, so the order
    /// in which bundles come does not matter.
    pub fn offer(&mut self, bundle: TrustBundle) -> BundleStep {
        if let Some(trust) = &self.trust {
            if trust.bundle == bundle {
                return BundleStep::Unchanged;
            }
            if bundle.generation <= trust.bundle.generation {
                return BundleStep::Older;
            }
        }
        let generation = bundle.generation;
        match Trust::new(bundle, self.domain.clone()) {
            Ok(trust) => {
                self.trust = Some(Arc::new(trust));
                self.refused = None;
                BundleStep::Applied
            }
            Err(error) => {
                let refused = RefusedBundle {
                    generation,
                    reason: error.to_string(),
                };
                if self.refused.as_ref() == Some(&refused) {
                    return BundleStep::RefusedAgain;
                }
                self.refused = Some(refused.clone());
                BundleStep::Refused(refused)
            }
        }
    }

    /// Only identities of this domain are accepted from now on. Tells whether that is another one than before.
    pub fn set_domain(&mut self, domain: &TrustDomain) -> bool {
        if self.domain == *domain {
            return false;
        }
        self.domain.clone_from(domain);
        if let Some(trust) = &self.trust {
            let bundle = trust.bundle.clone();
            self.trust = Trust::new(bundle, domain.clone()).ok().map(Arc::new);
        }
        true
    }

    /// Uses a certificate from now on.
    pub fn install(&mut self, own: Credentials) {
        self.ever = true;
        self.own = Some(Arc::new(own));
    }

    /// There was a certificate before this proxy started.
    pub fn had_one(&mut self) {
        self.ever = true;
    }

    /// Whether there ever was a certificate in the life of this pod.
    pub fn ever(&self) -> bool {
        self.ever
    }

    /// The bundle in force.
    pub fn trust(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref()
    }

    /// The certificate in use.
    pub fn own(&self) -> Option<&Arc<Credentials>> {
        self.own.as_ref()
    }

    /// The newest bundle, when it could not be used.
    pub fn refused(&self) -> Option<&RefusedBundle> {
        self.refused.as_ref()
    }

    /// What others may know about the certificate in use.
    pub fn certificate(&self) -> Option<CertificateInfo> {
        Some(self.own.as_ref()?.info(self.trust.as_ref()?))
    }

    /// The certificate in use, as far as its renewal needs it.
    pub fn in_use(&self) -> Option<InUse> {
        Some(InUse {
            not_before: self.own.as_ref()?.not_before,
            info: self.certificate()?,
        })
    }

    /// What handshakes are made of; nothing while a part of it is missing.
    ///
    /// # Errors
    /// What the TLS library refuses.
    pub fn context(&self) -> Result<Option<TlsContext>, rustls::Error> {
        match (&self.own, &self.trust) {
            (Some(own), Some(trust)) => TlsContext::new(Arc::clone(own), Arc::clone(trust)).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::Authority;

    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("cluster.local"));

    fn generation(keyring: &Keyring) -> Option<u64> {
        keyring.trust().map(|trust| trust.bundle.generation)
    }

    #[test]
    fn a_bundle_that_cannot_be_used_leaves_the_one_in_force() {
        let mut keyring = Keyring::default();
        assert_eq!(keyring.offer(AUTHORITY.bundle(3)), BundleStep::Applied);
        let broken = TrustBundle {
            generation: 4,
            ..TrustBundle::default()
        };
        let step = keyring.offer(broken.clone());
        assert!(matches!(step, BundleStep::Refused(refused) if refused.generation == 4));
        assert_eq!(keyring.offer(broken), BundleStep::RefusedAgain);
        assert_eq!(generation(&keyring), Some(3));
        assert_eq!(keyring.offer(AUTHORITY.bundle(5)), BundleStep::Applied);
        assert_eq!(keyring.refused(), None);
    }

    #[test]
    fn another_content_of_the_same_generation_is_ignored() {
        let mut keyring = Keyring::default();
        keyring.offer(AUTHORITY.bundle(3));
        let other = Authority::new("cluster.local");
        assert_eq!(keyring.offer(other.bundle(3)), BundleStep::Older);
        assert_eq!(keyring.offer(AUTHORITY.bundle(3)), BundleStep::Unchanged);
    }

    #[test]
    fn another_domain_takes_hold_of_the_bundle_in_force() {
        let mut keyring = Keyring::default();
        keyring.offer(AUTHORITY.bundle(3));
        assert!(!keyring.set_domain(&TrustDomain::default()));
        assert!(keyring.set_domain(&"elsewhere".parse().unwrap()));
        assert_eq!(keyring.trust().unwrap().domain.as_str(), "elsewhere");
    }

    #[test]
    fn there_is_a_context_once_there_are_a_certificate_and_a_bundle() {
        let mut keyring = Keyring::default();
        let leaf = AUTHORITY.leaf("shop/web");
        keyring.install(Credentials::new(&leaf.key(), leaf.chain_pem().as_bytes()).unwrap());
        assert!(keyring.context().unwrap().is_none());
        keyring.offer(AUTHORITY.bundle(1));
        assert!(keyring.context().unwrap().is_some());
        assert_eq!(keyring.certificate().unwrap().issuer, AUTHORITY.issuer_id());
    }

    proptest! {
        #[test]
        fn in_whatever_order_bundles_come_the_newest_stays(generations in proptest::collection::vec(0u64..20, 1..12)) {
            let mut keyring = Keyring::default();
            let mut newest = 0;
            for one in &generations {
                keyring.offer(AUTHORITY.bundle(*one));
                prop_assert!(generation(&keyring) >= Some(newest), "it never goes back");
                newest = newest.max(*one);
            }
            prop_assert_eq!(generation(&keyring), Some(newest));
        }
    }
}
