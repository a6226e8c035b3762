//! Certificates that the user's own authority may have signed, whoever asked it to.

use std::collections::BTreeMap;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};

use super::support::context;
use crate::authority::{Authority, Given, Material};
use crate::workload_server::peer::{Peer, PeerError};

/// An authority of the user's, and a certificate that it signed, changed in one way.
fn signed(change: impl FnOnce(&mut CertificateParams)) -> (Authority, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem();
    let data = [
        ("tls.crt", &root),
        ("tls.key", &key.serialize_pem()),
        ("ca.crt", &root),
    ]
    .map(|(entry, text)| (entry.to_owned(), text.as_bytes().to_vec()));
    let now = OffsetDateTime::now_utc();
    let given = Given::examine(&BTreeMap::from(data), now).unwrap();
    let authority = Authority::examine(Material::given(1, given), now).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/web")];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    change(&mut leaf);
    let signer = Issuer::from_ca_cert_pem(&root, key).unwrap();
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &signer).unwrap();
    (authority, leaf.der().clone())
}

/// What such a certificate proves.
fn judge(change: impl FnOnce(&mut CertificateParams)) -> Result<Peer, PeerError> {
    let (authority, leaf) = signed(change);
    context(&authority).peer(&[leaf], UnixTime::now())
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

#[test]
fn a_certificate_of_the_right_form_proves_its_account() {
    let peer = judge(|_| {}).unwrap();
    assert_eq!(peer.workload.to_string(), "shop/web");
}

#[test]
fn f5_a_certificate_with_more_than_one_name_proves_nothing() {
    let two = judge(|leaf| {
        leaf.subject_alt_names
            .push(uri("spiffe://cluster.local/ns/shop/sa/admin"));
    });
    assert!(matches!(two, Err(PeerError::Names(2))), "{two:?}");
    let none = judge(|leaf| leaf.subject_alt_names.clear());
    assert!(matches!(none, Err(PeerError::Names(0))), "{none:?}");
}

#[test]
fn f5_a_certificate_of_another_trust_domain_proves_nothing() {
    for other in [
        "spiffe://other.mesh/ns/shop/sa/web",
        "spiffe://cluster.local.evil/ns/shop/sa/web",
    ] {
        let judged = judge(|leaf| leaf.subject_alt_names = vec![uri(other)]);
        assert!(matches!(judged, Err(PeerError::TrustDomain(_))), "{judged:?}");
    }
}

#[test]
fn f5_a_certificate_of_another_form_of_identity_proves_nothing() {
    let judged = judge(|leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/web/x")]);
    assert!(matches!(judged, Err(PeerError::NoWorkload)), "{judged:?}");
    let judged = judge(|leaf| leaf.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/%77eb")]);
    assert!(matches!(judged, Err(PeerError::Id(_))), "{judged:?}");
}

#[test]
fn f5_a_certificate_for_another_use_or_for_whatever_use_proves_nothing() {
    let judged = judge(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(matches!(judged, Err(PeerError::Untrusted)), "{judged:?}");
    let judged = judge(|leaf| leaf.extended_key_usages.clear());
    assert!(matches!(judged, Err(PeerError::Usage)), "{judged:?}");
}

#[test]
fn f5_a_certificate_out_of_its_time_proves_nothing() {
    let now = OffsetDateTime::now_utc();
    let judged = judge(|leaf| leaf.not_after = now - Duration::minutes(10));
    assert!(matches!(judged, Err(PeerError::Untrusted)), "{judged:?}");
    let judged = judge(|leaf| leaf.not_before = now + Duration::minutes(10));
    assert!(matches!(judged, Err(PeerError::Untrusted)), "{judged:?}");
}
