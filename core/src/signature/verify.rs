//! Whether somebody trusted signed what a ConfigMap holds. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    Content, Digest, LONGEST_CHAIN, MOST_BYTES, MOST_VOUCHERS, Signature, Signatures, Trusted, Voucher,
};
use crate::identity::{SpiffeId, TrustDomain};
use crate::workload_connection::KeyId;

/// Content of the object identifier [`crate::convention::wire::POLICY_SIGNING_OID`], DER.
pub(super) const POLICY_SIGNING: &[u8] = &[0x69, 0xdc, 0x88, 0x99, 0xba, 0xb0, 0xc5, 0xe1, 0x90, 0x46];
/// Tag of a SEQUENCE, which a SubjectPublicKeyInfo is.
const SEQUENCE: u8 = 0x30;

/// What a valid signature proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Of the signer.
    pub trust_domain: TrustDomain,
    /// When it was signed, in seconds since the epoch.
    pub signed_at: u64,
    /// Keys of the roots that were trusted, and of those that these vouch for, where the signer needed a voucher.
    pub roots: BTreeSet<KeyId>,
}

/// Why a signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("it is not signed")]
    Missing,
    /// Longer than any that the operator makes.
    #[error("its signature has {0} bytes; at most {MOST_BYTES} are read")]
    TooLong(usize),
    /// Not of the form of [`Signatures`].
    #[error("its signature is malformed: {0}")]
    Malformed(String),
    /// More vouchers than any operator writes.
    #[error("its signature has {0} vouchers; at most {MOST_VOUCHERS} are read")]
    Vouchers(usize),
    /// No root of the chain is trusted.
    #[error("its signer chains to none of the roots that this pod trusts")]
    Untrusted,
    /// The chain does not hold, or was not valid at the time of signing.
    #[error("its signer's certificate is not valid for signing configurations: {0}")]
    Chain(String),
    /// Not the SPIFFE ID of a policy signer.
    #[error("its signer is not the policy signer of a mesh")]
    Signer,
    /// A signer of another mesh below the same root.
    #[error("its signer is of trust domain {0}, another mesh's")]
    TrustDomain(TrustDomain),
    /// It was made for other content, or for another workload.
    #[error("its signature does not belong to what it holds, or is of another workload's configuration")]
    Content,
}

/// Verifies the text of [`Signatures`] for this content, for somebody who trusts these roots and trust domains.
///
/// The work is bounded by [`MOST_BYTES`], [`MOST_VOUCHERS`] and [`LONGEST_CHAIN`], whatever the text is.
///
/// # Errors
/// [`SignatureError`]; nothing of the content may be used then.
pub fn verify(content: &Content<'_>, signatures: &[u8], trusted: &Trusted) -> Result<Proof, SignatureError> {
    if signatures.is_empty() {
        return Err(SignatureError::Missing);
    }
    if signatures.len() > MOST_BYTES {
        return Err(SignatureError::TooLong(signatures.len()));
    }
    let signatures: Signatures =
        serde_json::from_slice(signatures).map_err(|error| SignatureError::Malformed(shortened(&error)))?;
    if signatures.vouchers.len() > MOST_VOUCHERS {
        return Err(SignatureError::Vouchers(signatures.vouchers.len()));
    }
    let statement = |domain: &TrustDomain, at| content.statement(domain, at);
    let signed_at = signatures.content.signed_at;
    match proves(&signatures.content, trusted, statement) {
        // Vouchers cost as much each, and most signers need none.
        Err(SignatureError::Untrusted | SignatureError::Chain(_)) if !signatures.vouchers.is_empty() => {}
        proven => {
            return Ok(Proof {
                trust_domain: proven?,
                signed_at,
                roots: trusted.roots.clone(),
            });
        }
    }
    let mut trusted = trusted.clone();
    for voucher in &signatures.vouchers {
        // One that proves nothing may be of a time before this pod's roots, and is no reason to refuse the rest.
        let statement = |domain: &TrustDomain, at| Voucher::statement(domain, &voucher.roots, at);
        if proves(&voucher.signature, &trusted, statement).is_ok() {
            trusted.roots.extend(voucher.roots.iter().cloned());
        }
    }
    let trust_domain = proves(&signatures.content, &trusted, statement)?;
    Ok(Proof {
        trust_domain,
        signed_at,
        roots: trusted.roots,
    })
}

/// What is wrong with a text, without most of the text: it is somebody else's, may be long, and is told to people.
fn shortened(error: &serde_json::Error) -> String {
    const LONGEST: usize = 200;
    error.to_string().chars().take(LONGEST).collect()
}

/// Whether a policy signer below a trusted root made this statement; its trust domain.
fn proves(
    signature: &Signature,
    trusted: &Trusted,
    statement: impl Fn(&TrustDomain, u64) -> Vec<u8>,
) -> Result<TrustDomain, SignatureError> {
    let chain = CertificateDer::pem_slice_iter(signature.chain.as_bytes())
        .take(LONGEST_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SignatureError::Malformed(error.to_string()))?;
    if chain.len() > LONGEST_CHAIN {
        return Err(SignatureError::Chain(format!(
            "there are more than {LONGEST_CHAIN} certificates"
        )));
    }
    let (own, [issuer, others @ ..]) = chain
        .split_first()
        .ok_or_else(|| SignatureError::Chain("there is no certificate".to_owned()))?
    else {
        return Err(SignatureError::Untrusted);
    };
    let refused = |error: webpki::Error| SignatureError::Chain(error.to_string());
    let certificate = EndEntityCert::try_from(own).map_err(refused)?;
    let trust_domain = signer(&certificate)?;
    if !trusted.trust_domains.contains(&trust_domain) {
        return Err(SignatureError::TrustDomain(trust_domain));
    }
    // First what is cheap: of what was altered, nothing else needs to be looked at.
    let value = STANDARD
        .decode(&signature.value)
        .map_err(|error| SignatureError::Malformed(error.to_string()))?;
    let statement = statement(&trust_domain, signature.signed_at);
    certificate
        .verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, &statement, &value)
        .map_err(|_| SignatureError::Content)?;
    let anchors: Vec<TrustAnchor<'_>> = std::iter::once(issuer)
        .chain(others)
        .filter_map(|one| webpki::anchor_from_trusted_cert(one).ok())
        .filter(|anchor| trusted.roots.contains(&key_id(anchor)))
        .collect();
    if anchors.is_empty() {
        return Err(SignatureError::Untrusted);
    }
    let at = UnixTime::since_unix_epoch(Duration::from_secs(signature.signed_at));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    // Authorities need not name a usage. That the certificate itself does is seen from its issuer alone.
    let usage = KeyUsage::required_if_present(POLICY_SIGNING);
    certificate
        .verify_for_usage(algorithms, &anchors, &chain[1..], at, usage, None, None)
        .map_err(refused)?;
    let above = [webpki::anchor_from_trusted_cert(issuer).map_err(refused)?];
    let usage = KeyUsage::required(POLICY_SIGNING);
    certificate
        .verify_for_usage(algorithms, &above, &[], at, usage, None, None)
        .map_err(refused)?;
    Ok(trust_domain)
}

/// The trust domain of a policy signer, which has one name and no other.
fn signer(certificate: &EndEntityCert<'_>) -> Result<TrustDomain, SignatureError> {
    let mut uris = certificate.valid_uri_names();
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(SignatureError::Signer);
    };
    let id: SpiffeId = uri.parse().map_err(|_| SignatureError::Signer)?;
    if super::is_signer(&id) {
        Ok(id.trust_domain())
    } else {
        Err(SignatureError::Signer)
    }
}

/// Keys of every authority that a text of [`Signatures`] names, trusted or not: what whoever checks the verification itself
/// may trust, so that all of it is reached.
pub fn authorities(signatures: &[u8]) -> BTreeSet<KeyId> {
    let Ok(signatures) = serde_json::from_slice::<Signatures>(signatures) else {
        return BTreeSet::new();
    };
    let chain = CertificateDer::pem_slice_iter(signatures.content.chain.as_bytes());
    chain
        .take(LONGEST_CHAIN)
        .skip(1)
        .filter_map(Result::ok)
        .filter_map(|one| Some(key_id(&webpki::anchor_from_trusted_cert(&one).ok()?)))
        .collect()
}

/// Names the key of a root.
pub fn key_id(anchor: &TrustAnchor<'_>) -> KeyId {
    // An anchor holds the content of its SubjectPublicKeyInfo, without tag and length.
    let content = anchor.subject_public_key_info.as_ref();
    let mut whole = vec![SEQUENCE];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|&byte| byte == 0).collect();
    match (content.len(), u8::try_from(significant.len())) {
        (0..=127, _) => whole.extend(length.last()),
        (_, Ok(count)) => {
            whole.push(0x80 | count);
            whole.extend(significant);
        }
        (_, Err(_)) => {}
    }
    whole.extend_from_slice(content);
    KeyId(Digest::of(&whole).to_string())
}
