//! Who is at the other end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, CommonState, OtherError};
use smilax_core::identity::InvalidId;
use smilax_core::workload_connection::KeyId;
use smilax_core::{Identity, SpiffeId, TrustDomain};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{Fields, Malformed};
use super::trust::Trust;

/// How much two clocks may differ, in seconds.
const SKEW: u64 = 20;
/// Chains that are remembered at most.
const MOST_KNOWN: usize = 1024;
/// Certificates of a chain at most, the peer's own included.
const LONGEST_CHAIN: usize = 8;

/// What a peer has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// Key of the root that vouches for it.
    pub root: KeyId,
    /// From when its chain is valid, in seconds since the epoch.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
}

/// Why a peer is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It showed none.
    #[error("it has no certificate")]
    NoCertificate,
    /// Not of its form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More certificates than are looked at.
    #[error("its chain has more than {LONGEST_CHAIN} certificates")]
    TooLong,
    /// No root vouches for it.
    #[error("no trusted root vouches for it: {0}")]
    Untrusted(String),
    /// Not made for this end of a connection.
    #[error("its certificate is not for this use: {0}")]
    Usage(String),
    /// Its time is over.
    #[error("its certificate ran out {0} s ago")]
    Expired(u64),
    /// Its time has not begun.
    #[error("its certificate is valid only in {0} s; compare the clocks of both nodes")]
    NotYetValid(u64),
    /// None, or several.
    #[error("its certificate has {0} URIs instead of one")]
    Uris(usize),
    /// Not a SPIFFE ID.
    #[error("the URI of its certificate is not a SPIFFE ID: {0}")]
    Id(#[from] InvalidId),
    /// Of another mesh.
    #[error("it is of trust domain {found}, and this mesh is {expected}")]
    TrustDomain {
        /// Of the peer.
        found: TrustDomain,
        /// Of this mesh.
        expected: TrustDomain,
    },
}

/// Which end of a connection a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// Verifies one end's peers, and remembers who was verified, so that many connections of one peer cost one
/// verification of its chain. It belongs to one bundle: what it remembers is forgotten with it.
pub(super) struct Verifier {
    trust: Arc<Trust>,
    end: End,
    known: Mutex<HashMap<[u8; 32], Arc<Peer>>>,
}

impl PeerError {
    /// One word of few, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed(_) | Self::TooLong => "malformed",
            Self::Untrusted(_) => "untrusted",
            Self::Usage(_) => "usage",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Uris(_) | Self::Id(_) => "identity",
            Self::TrustDomain { .. } => "trust_domain",
        }
    }

    /// The reason in an error of a handshake, when that was it.
    pub fn of(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, end: End) -> Self {
        Self {
            trust,
            end,
            known: Mutex::default(),
        }
    }

    /// Who is at the other end of a connection whose handshake is done. A resumed one is verified like any other:
    /// against the bundle and the time of now.
    pub(super) fn peer(&self, connection: &CommonState) -> Result<Arc<Peer>, PeerError> {
        let (own, others) = connection
            .peer_certificates()
            .and_then(<[_]>::split_first)
            .ok_or(PeerError::NoCertificate)?;
        self.verify(own, others, UnixTime::now())
    }

    /// Verifies a chain.
    pub(super) fn verify(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<Peer>, PeerError> {
        if others.len() >= LONGEST_CHAIN {
            return Err(PeerError::TooLong);
        }
        let name = name(own, others);
        let known = self.known.lock().get(&name).cloned();
        let peer = if let Some(peer) = known {
            peer
        } else {
            let peer = Arc::new(self.prove(own, others, now)?);
            self.remember(name, &peer);
            peer
        };
        in_time(&peer, now.as_secs())?;
        Ok(peer)
    }

    fn remember(&self, name: [u8; 32], peer: &Arc<Peer>) {
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(name, Arc::clone(peer));
    }

    fn prove(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, PeerError> {
        let fields = Fields::read(own)?;
        let [uri] = fields.uris[..] else {
            return Err(PeerError::Uris(fields.uris.len()));
        };
        let uri = std::str::from_utf8(uri).map_err(|_| InvalidId::Path)?;
        let id: SpiffeId = uri.parse()?;
        let found = id.trust_domain();
        if found != self.trust.domain {
            return Err(PeerError::TrustDomain {
                found,
                expected: self.trust.domain.clone(),
            });
        }
        if !fields.limits_its_use {
            return Err(PeerError::Usage("it does not say what it is for".to_owned()));
        }
        let mut peer = Peer {
            identity: Identity::new(id, fields.pod_uid.map(Into::into)),
            root: KeyId::default(),
            not_before: fields.not_before,
            not_after: fields.not_after,
        };
        in_time(&peer, now.as_secs())?;
        let certificate = EndEntityCert::try_from(own).map_err(refused)?;
        let mut verified = self.path(&certificate, others, now);
        for other in [now.as_secs() + SKEW, now.as_secs().saturating_sub(SKEW)] {
            if matches!(
                verified,
                Err(webpki::Error::CertNotValidYet { .. } | webpki::Error::CertExpired { .. })
            ) {
                let other = UnixTime::since_unix_epoch(std::time::Duration::from_secs(other));
                verified = self.path(&certificate, others, other);
            }
        }
        let (root, authorities) = verified.map_err(refused)?;
        peer.root = root;
        for (not_before, not_after) in authorities {
            peer.not_before = peer.not_before.max(not_before);
            peer.not_after = peer.not_after.min(not_after);
        }
        Ok(peer)
    }

    /// The root that vouches for a certificate, and the times of the authorities between.
    fn path(
        &self,
        certificate: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(KeyId, Vec<(u64, u64)>), webpki::Error> {
        let usage = match self.end {
            End::Client => KeyUsage::client_auth(),
            End::Server => KeyUsage::server_auth(),
        };
        let path = certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.trust.anchors,
            others,
            now,
            usage,
            None,
            None,
        )?;
        let anchors = self.trust.anchors.iter().zip(&self.trust.roots);
        let root = anchors
            .filter(|(anchor, _)| *anchor == path.anchor())
            .map(|(_, root)| root.clone())
            .next()
            .ok_or(webpki::Error::UnknownIssuer)?;
        let times = path
            .intermediate_certificates()
            .map(|authority| {
                let der = authority.der();
                Fields::read(&der)
                    .map(|fields| (fields.not_before, fields.not_after))
                    .map_err(|_| webpki::Error::BadDer)
            })
            .collect::<Result<_, _>>()?;
        Ok((root, times))
    }
}

/// Names a chain.
fn name(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for certificate in std::iter::once(own).chain(others) {
        // With their lengths, no two chains make the same bytes.
        hash.update(&certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

fn in_time(peer: &Peer, now: u64) -> Result<(), PeerError> {
    if now + SKEW < peer.not_before {
        Err(PeerError::NotYetValid(peer.not_before - now))
    } else if now > peer.not_after + SKEW {
        Err(PeerError::Expired(now - peer.not_after))
    } else {
        Ok(())
    }
}

fn refused(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::CertExpired { time, not_after } => {
            PeerError::Expired(time.as_secs().saturating_sub(not_after.as_secs()))
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            PeerError::NotYetValid(not_before.as_secs().saturating_sub(time.as_secs()))
        }
        webpki::Error::RequiredEkuNotFoundContext(_)
        | webpki::Error::EmptyEkuExtension
        | webpki::Error::CaUsedAsEndEntity => PeerError::Usage(error.to_string()),
        error => PeerError::Untrusted(error.to_string()),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("end", &self.end)
            .field("bundle", &self.trust.bundle.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
