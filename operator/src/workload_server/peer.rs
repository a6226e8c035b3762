//! Who is at the other end, by its certificate.

use rustls_pki_types::CertificateDer;
use smilax_core::convention::wire::POD_UID_OID;
use smilax_core::identity::{Identity, InvalidId};
use smilax_core::{SpiffeId, TrustDomain, Workload};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Tag of a UTF8String (X.690 section 8.23).
const UTF8_STRING: u8 = 0x0c;

/// A peer of this mesh whose chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) workload: Workload,
    pub(super) pod_uid: Option<Box<str>>,
    /// When its certificate runs out, in seconds since the epoch.
    pub(super) not_after: u64,
}

/// A certificate of a trusted chain that still says nothing that is of use here.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("the certificate cannot be read")]
    Malformed,
    #[error("it has {0} names instead of the one URI")]
    Names(usize),
    #[error("its URI is not a valid SPIFFE ID: {0}")]
    Id(#[from] InvalidId),
    #[error("it is of another mesh: {0}")]
    TrustDomain(TrustDomain),
    #[error("no trusted root vouches for it now")]
    Untrusted,
    #[error("it is of no account")]
    NoWorkload,
    #[error("it does not say that it is for clients and for servers, as all of a mesh do")]
    Usage,
}

/// Reads the identity: exactly one name, a SPIFFE ID of the trust domain, compared byte for byte.
pub(super) fn peer(der: &CertificateDer<'_>, trust_domain: &TrustDomain) -> Result<Peer, PeerError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PeerError::Malformed)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| PeerError::Malformed)?
        .map(|names| names.value.general_names.clone())
        .unwrap_or_default();
    let [GeneralName::URI(uri)] = names[..] else {
        return Err(PeerError::Names(names.len()));
    };
    // The chain's check lets one pass that says nothing of its use.
    let usage = certificate
        .extended_key_usage()
        .map_err(|_| PeerError::Malformed)?
        .ok_or(PeerError::Usage)?
        .value;
    if !usage.client_auth || !usage.server_auth {
        return Err(PeerError::Usage);
    }
    let id: SpiffeId = uri.parse()?;
    if id.trust_domain() != *trust_domain {
        return Err(PeerError::TrustDomain(id.trust_domain()));
    }
    let wanted = POD_UID_OID;
    let pod_uid = certificate
        .extensions()
        .iter()
        .find(|extension| {
            extension
                .oid
                .iter()
                .is_some_and(|oid| oid.eq(wanted.iter().copied()))
        })
        .and_then(|extension| match extension.value {
            [UTF8_STRING, length, text @ ..] if usize::from(*length) == text.len() => {
                std::str::from_utf8(text).ok().map(Into::into)
            }
            _ => None,
        });
    let Identity {
        workload, pod_uid, ..
    } = Identity::new(id, pod_uid);
    Ok(Peer {
        workload: workload.ok_or(PeerError::NoWorkload)?,
        pod_uid,
        not_after: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default(),
    })
}
