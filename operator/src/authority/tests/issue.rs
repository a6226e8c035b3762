use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use smilax_core::{SpiffeId, TrustDomain, Workload};
use time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{examine, fresh, start};
use crate::authority::{CsrError, IssueError, Issued, PublicKey, Subject};

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

fn plain_csr(key: &KeyPair) -> Vec<u8> {
    let params = CertificateParams::default();
    params.serialize_request(key).unwrap().der().to_vec()
}

fn sign(csr: &[u8], lifetime: std::time::Duration) -> Issued {
    sign_for(&Workload::new("shop", "web"), csr, lifetime)
}

fn sign_for(workload: &Workload, csr: &[u8], lifetime: std::time::Duration) -> Issued {
    let domain = TrustDomain::default();
    let subject = Subject {
        trust_domain: &domain,
        workload,
        pod_uid: Some("0f3c7f1e-8a52-4a1b-9a73-1f3b2a6f0c11"),
    };
    let key = PublicKey::of_request(csr).unwrap();
    examine(fresh()).sign(&key, &subject, lifetime, start()).unwrap()
}

fn ders(chain: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn the_longest_names_of_kubernetes_stand_whole_in_a_certificate() {
    let (namespace, account) = ("n".repeat(63), "a".repeat(253));
    let key = KeyPair::generate().unwrap();
    let issued = sign_for(
        &Workload::new(namespace.as_str(), account.as_str()),
        &plain_csr(&key),
        DAY,
    );
    let chain = ders(&issued.chain);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let uri = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    assert_eq!(names.value.general_names, [GeneralName::URI(&uri)]);
    assert_eq!(
        uri.parse::<SpiffeId>().unwrap().workload(),
        Some(Workload::new(namespace.as_str(), account.as_str()))
    );
}

#[test]
fn a_certificate_says_who_and_which_pod_and_nothing_else() {
    let key = KeyPair::generate().unwrap();
    let issued = sign(&plain_csr(&key), DAY);
    let chain = ders(&issued.chain);
    assert_eq!(chain.len(), 2, "the certificate and the issuer, without the root");
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let uri = GeneralName::URI("spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(names.value.general_names, [uri]);
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any && usage.other.is_empty());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    assert_eq!(
        leaf.validity().not_before.timestamp(),
        start().unix_timestamp() - 60
    );
    assert_eq!(
        leaf.validity().not_after.timestamp(),
        start().unix_timestamp() + 86_400
    );
    assert_eq!(
        leaf.public_key().subject_public_key.data.as_ref(),
        key.public_key_raw()
    );
    let mut uids = leaf
        .extensions()
        .iter()
        .filter(|one| one.oid.to_id_string() == "2.25.6172839450172839451")
        .map(|one| one.value);
    let uid = uids.next().unwrap();
    assert_eq!(uid[..2], [0x0c, 36]);
    assert_eq!(&uid[2..], b"0f3c7f1e-8a52-4a1b-9a73-1f3b2a6f0c11");
    let (_, above) = X509Certificate::from_der(&chain[1]).unwrap();
    assert_eq!(
        above
            .basic_constraints()
            .unwrap()
            .unwrap()
            .value
            .path_len_constraint,
        Some(0)
    );
    assert!(above.name_constraints().unwrap().is_none());
}

#[test]
fn c14_what_a_request_asks_for_beside_its_key_is_not_given() {
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
    let uri = "spiffe://cluster.local/ns/kube-system/sa/admin";
    greedy
        .subject_alt_names
        .push(SanType::URI(uri.try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let greedy = greedy.serialize_request(&key).unwrap().der().to_vec();
    let hundred_days = DAY * 100;
    let issued = sign(&greedy, hundred_days);
    assert_eq!(issued.not_after, start() + Duration::days(1), "a day at most");
    let chain = ders(&issued.chain);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let uri = GeneralName::URI("spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(names.value.general_names, [uri]);
    assert!(!leaf.is_ca() && !leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(leaf.subject().iter_common_name().next().is_none());
}

#[test]
fn a_request_proves_that_its_key_is_there() {
    let key = KeyPair::generate().unwrap();
    let mut forged = plain_csr(&key);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(matches!(
        PublicKey::of_request(&forged),
        Err(CsrError::Signature | CsrError::Malformed(_))
    ));
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(matches!(
        PublicKey::of_request(&plain_csr(&other)),
        Err(CsrError::Key)
    ));
    let mut longer = plain_csr(&key);
    longer.push(0);
    for bad in [&longer[..], b"", b"garbage", &[0x30; 4096]] {
        assert!(matches!(PublicKey::of_request(bad), Err(CsrError::Malformed(_))));
    }
}

#[test]
fn nothing_outlives_the_issuer_and_one_that_ran_out_signs_nothing() {
    let authority = examine(fresh());
    let (domain, workload) = (TrustDomain::default(), Workload::new("shop", "web"));
    let subject = Subject {
        trust_domain: &domain,
        workload: &workload,
        pod_uid: None,
    };
    let end = authority.issuer.not_after;
    let (issued, _) = authority
        .sign_own(&subject, DAY, end - Duration::hours(1))
        .unwrap();
    assert_eq!(issued.not_after, end);
    assert!(matches!(
        authority.sign_own(&subject, DAY, end),
        Err(IssueError::Issuer)
    ));
}
