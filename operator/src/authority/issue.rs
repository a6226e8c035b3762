//! Making roots, issuers and certificates of workloads.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use smilax_core::convention::wire::{POD_UID_OID, POLICY_SIGNING_OID};
use smilax_core::signature::{self, SignatureError};
use smilax_core::{SpiffeId, TrustDomain, Workload};
use time::{Duration, OffsetDateTime};

use super::material::{Authority, Given, Material, Rotation, Signer};
use super::plan::{Next, Step, Target};
use super::request::PublicKey;
use crate::pki::{BACK_DATED, Fault, Pair, named, provider};

/// Ten years, without leap days.
const ROOT_LIFE: Duration = Duration::days(3650);
const ISSUER_LIFE: Duration = Duration::days(365);
/// Longest life of a certificate of a workload.
const LONGEST_LEAF: Duration = Duration::days(1);
/// Longest text after a length of one byte (X.690 section 8.1.3.4).
const LONGEST_SHORT_FORM: usize = 127;
const UTF8_STRING: u8 = 0x0c;

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// By the library's judgement.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The issuer's own time is over, or has not come.
    #[error("the issuer is not valid now; the operator's log says what is wrong with it")]
    Issuer,
    /// No randomness for a serial number.
    #[error("no randomness")]
    Random,
    /// What it signs would be refused: its extended key usages, for example, do not include ours.
    #[error("what the issuer signs is not accepted as a configuration's signature: {0}")]
    Unaccepted(SignatureError),
    /// What would come next is not usable itself.
    #[error("{0}")]
    Unusable(Fault),
    /// A step that asks for the key of the root where there is none.
    #[error("the root has no key here")]
    NoRootKey,
}

/// A certificate for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, then the authorities between it and the root, PEM.
    pub chain: String,
    /// When it runs out.
    pub not_after: OffsetDateTime,
}

/// A certificate with what stands above it apart.
pub(super) struct Certified {
    /// PEM.
    pub(super) certificate: String,
    /// The authorities between it and the root, PEM.
    pub(super) above: String,
    /// From when on it counts.
    pub(super) not_before: OffsetDateTime,
    /// When it runs out.
    pub(super) not_after: OffsetDateTime,
}

impl Material {
    /// A new root and an issuer below it.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn create(generation: u64, now: OffsetDateTime) -> Result<Self, IssueError> {
        Ok(Self::steady(generation, Signer::create(now)?))
    }

    /// The authority that the user gives.
    pub fn given(generation: u64, given: Given) -> Self {
        Self::steady(generation, given.signer)
    }

    fn steady(generation: u64, signer: Signer) -> Self {
        Self {
            generation,
            signer,
            rotation: Rotation::None,
            request: None,
            running: None,
            vouchers: Vec::new(),
        }
    }

    /// What the Secret holds after a step. `highest` is the highest generation that was seen anywhere.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn carry_out(&self, step: &Step, highest: u64, now: OffsetDateTime) -> Result<Self, IssueError> {
        let mut next = self.clone();
        match step {
            Step::Keep | Step::Wait(_) => return Ok(next),
            Step::Raise => {}
            Step::Announce {
                next: source,
                request,
            } => {
                next.rotation = Rotation::Announced(source.signer(now)?);
                next.start(request.as_ref());
            }
            Step::Reissue {
                next: source,
                request,
            } => {
                next.signer.issuer = match source {
                    Next::Given(given) => given.signer.issuer.clone(),
                    Next::SelfMade => self.signer.reissue(now)?,
                };
                next.rotation = Rotation::Renewing { previous: None };
                next.start(request.as_ref());
            }
            Step::HandOver { request } => {
                if request.is_some() {
                    next.start(request.as_ref());
                }
                if let Rotation::Announced(successor) = &self.rotation {
                    next.signer = successor.clone();
                    next.rotation = Rotation::Renewing {
                        previous: Some(self.signer.root.clone()),
                    };
                }
            }
            Step::Finish { request } => {
                next.start(request.as_ref());
                next.rotation = Rotation::None;
                next.running = None;
            }
        }
        let same_bundle = self.roots() == next.roots() && self.signer.issuer == next.signer.issuer;
        if !same_bundle || *step == Step::Raise {
            next.generation = self.generation.max(highest).saturating_add(1);
        }
        Ok(next)
    }

    fn start(&mut self, request: Option<&String>) {
        self.running = request.cloned();
        if request.is_some() {
            self.request = request.cloned();
        }
    }

    /// What is being changed, if anything is.
    pub(super) fn target_of(&self) -> Option<Target> {
        match &self.rotation {
            Rotation::None => None,
            Rotation::Announced(_) | Rotation::Renewing { previous: Some(_) } => Some(Target::Root),
            Rotation::Renewing { previous: None } => Some(Target::Issuer),
        }
    }
}

impl Next {
    fn signer(&self, now: OffsetDateTime) -> Result<Signer, IssueError> {
        match self {
            Self::SelfMade => Signer::create(now),
            Self::Given(given) => Ok(given.signer.clone()),
        }
    }
}

impl Signer {
    fn create(now: OffsetDateTime) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.not_before = now - BACK_DATED;
        params.not_after = now + ROOT_LIFE;
        params.serial_number = Some(serial()?);
        // Two roots are trusted side by side during a change: their names tell them apart.
        params.distinguished_name = named(format!("Smilax root {}", now.unix_timestamp()));
        // One issuer below it, and leaves (RFC 5280 section 4.2.1.9).
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key)?.pem();
        let root_key = key.serialize_pem();
        let issuer = issuer(&root, &root_key, now)?;
        Ok(Self {
            root,
            root_key: Some(root_key),
            issuer,
        })
    }

    /// A new issuer below the same root.
    fn reissue(&self, now: OffsetDateTime) -> Result<Pair, IssueError> {
        let key = self.root_key.as_ref().ok_or(IssueError::NoRootKey)?;
        issuer(&self.root, key, now)
    }
}

fn issuer(root: &str, root_key: &str, now: OffsetDateTime) -> Result<Pair, IssueError> {
    let root = Issuer::from_ca_cert_pem(root, KeyPair::from_pem(root_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = now - BACK_DATED;
    params.not_after = now + ISSUER_LIFE;
    params.serial_number = Some(serial()?);
    params.distinguished_name = named(format!("Smilax issuer {}", now.unix_timestamp()));
    // Leaves only, and no name constraints: webpki refuses chains that constrain URIs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &root)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

impl Authority {
    /// A certificate for the pod with this UID. Everything in it comes from here, but for the key: one URI, both
    /// usages of TLS, no authority; not longer than the issuer's own life.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn sign(
        &self,
        key: &PublicKey,
        subject: &Subject<'_>,
        lifetime: std::time::Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, IssueError> {
        self.sign_key(&key.0, subject, lifetime, now)
    }

    /// A certificate for this process, with a new key. PEM.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn sign_own(
        &self,
        subject: &Subject<'_>,
        lifetime: std::time::Duration,
        now: OffsetDateTime,
    ) -> Result<(Issued, KeyPair), IssueError> {
        let key = KeyPair::generate()?;
        let issued = self.sign_key(&key, subject, lifetime, now)?;
        Ok((issued, key))
    }

    fn sign_key(
        &self,
        key: &impl PublicKeyData,
        subject: &Subject<'_>,
        lifetime: std::time::Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, IssueError> {
        let lifetime = Duration::try_from(lifetime)
            .unwrap_or(LONGEST_LEAF)
            .min(LONGEST_LEAF);
        let certified = self.certify(key, leaf(subject)?, lifetime, now)?;
        Ok(Issued {
            chain: certified.certificate + &certified.above,
            not_after: certified.not_after,
        })
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        mut params: CertificateParams,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Certified, IssueError> {
        let valid = self.root.within(self.issuer);
        let not_before = (now - BACK_DATED).max(valid.not_before);
        let not_after = (now + lifetime).min(valid.not_after);
        if now >= valid.not_after || now < valid.not_before {
            return Err(IssueError::Issuer);
        }
        let issuer = &self.material.signer.issuer;
        let signer = Issuer::from_ca_cert_pem(&issuer.certificate, KeyPair::from_pem(&issuer.key)?)?;
        params.not_before = not_before;
        params.not_after = not_after;
        params.serial_number = Some(serial()?);
        let certificate = params.signed_by(key, &signer)?;
        Ok(Certified {
            certificate: certificate.pem(),
            above: self.chain_below_root(),
            not_before,
            not_after,
        })
    }

    /// A certificate that signs configurations and nothing else, valid for as long as its issuer, with a new key. It never
    /// leaves this process.
    pub(super) fn certify_policy_signer(
        &self,
        trust_domain: &TrustDomain,
        now: OffsetDateTime,
    ) -> Result<(Certified, KeyPair), IssueError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let id = signature::signer_id(trust_domain);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(POLICY_SIGNING_OID.to_vec())];
        params.use_authority_key_identifier_extension = true;
        let certified = self.certify(&key, params, ROOT_LIFE, now)?;
        Ok((certified, key))
    }

    /// The issuer and what leads to the root, without the root: that is known to whoever trusts it.
    fn chain_below_root(&self) -> String {
        let issuers = crate::pki::chain(
            super::material::entry::ISSUER,
            &self.material.signer.issuer.certificate,
        )
        .unwrap_or_default();
        issuers
            .iter()
            .filter(|der| !self.roots.contains(der))
            .map(crate::pki::to_pem)
            .collect()
    }
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// First part of the identity.
    pub trust_domain: &'a TrustDomain,
    /// The account.
    pub workload: &'a Workload,
    /// The pod; `None` for a process that is none of the mesh's pods.
    pub pod_uid: Option<&'a str>,
}

fn leaf(subject: &Subject<'_>) -> Result<CertificateParams, IssueError> {
    let id = SpiffeId::of(subject.trust_domain, subject.workload);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id.as_str())?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    if let Some(uid) = subject.pod_uid {
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&POD_UID_OID, utf8_string(uid)?));
    }
    Ok(params)
}

/// A leaf that is only looked at: whether what `issuer` signs leads to a root.
pub(super) fn trial(
    issuer: &CertificateDer<'_>,
    key: KeyPair,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let signer = Issuer::from_ca_cert_der(issuer, key)?;
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params.signed_by(&KeyPair::generate()?, &signer)?.into())
}

fn utf8_string(text: &str) -> Result<Vec<u8>, IssueError> {
    let length = u8::try_from(text.len())
        .ok()
        .filter(|&length| usize::from(length) <= LONGEST_SHORT_FORM)
        .ok_or(rcgen::Error::CouldNotParseCertificate)?;
    let mut bytes = vec![UTF8_STRING, length];
    bytes.extend_from_slice(text.as_bytes());
    Ok(bytes)
}

/// Sixteen random bytes, positive (RFC 5280 section 4.1.2.2).
fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0u8; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| IssueError::Random)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}
