//! Making keys and certificates: ECDSA on P-256 throughout.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::plan::Plan;
use super::stored::{Handover, Material};
use crate::pki::{BACK_DATED, Pair, named};

const AUTHORITY_LIFE: Duration = Duration::days(365);
const SERVING_LIFE: Duration = Duration::days(30);

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("certificate of the webhooks: {0}")]
pub struct IssueError(#[from] rcgen::Error);

impl Material {
    /// A new authority and a serving certificate from it.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn create(names: &[String], now: OffsetDateTime) -> Result<Self, IssueError> {
        let authority = authority(now)?;
        let serving = serving(&authority, names, now)?;
        Ok(Self {
            authority,
            serving,
            handover: Handover::None,
        })
    }

    /// What the Secret holds after a step.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn carry_out(&self, plan: &Plan, names: &[String], now: OffsetDateTime) -> Result<Self, IssueError> {
        let mut next = self.clone();
        match plan {
            Plan::Keep => {}
            Plan::Recreate { .. } => next = Self::create(names, now)?,
            Plan::Renew { .. } => next.serving = serving(&self.authority, names, now)?,
            Plan::Announce => next.handover = Handover::Announced(authority(now)?),
            Plan::HandOver => {
                if let Handover::Announced(successor) = &self.handover {
                    next.serving = serving(successor, names, now)?;
                    next.authority = successor.clone();
                    next.handover = Handover::Done {
                        previous: self.authority.certificate.clone(),
                    };
                }
            }
            Plan::Forget => next.handover = Handover::None,
        }
        Ok(next)
    }
}

fn authority(now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = now - BACK_DATED;
    params.not_after = now + AUTHORITY_LIFE;
    // Two authorities are published side by side during a handover: their names tell them apart.
    params.distinguished_name = named(format!("Smilax webhook authority {}", now.unix_timestamp()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn serving(authority: &Pair, names: &[String], now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.not_before = now - BACK_DATED;
    params.not_after = now + SERVING_LIFE;
    params.distinguished_name = named("smilax-webhook".to_owned());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
