use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};

use super::*;
use crate::tls::testing::{Authority, Leaf, Signed};

fn verifier(authority: &Authority, end: End) -> Verifier {
    let trust = Trust::new(authority.bundle(1), TrustDomain::default()).unwrap();
    Verifier::new(Arc::new(trust), end)
}

#[allow(clippy::unwrap_in_result, reason = "a test")]
fn verified(authority: &Authority, signed: &Signed, end: End) -> Result<Arc<Peer>, PeerError> {
    let (own, others) = signed.chain.split_first().unwrap();
    verifier(authority, end).verify(own, others, UnixTime::now())
}

/// What becomes of a leaf of a good authority that was changed so.
fn with(change: impl FnOnce(&mut Leaf)) -> Result<Arc<Peer>, PeerError> {
    let authority = Authority::new("cluster.local");
    verified(&authority, &authority.leaf_with(change), End::Client)
}

fn uris(uris: &[&str]) -> Result<Arc<Peer>, PeerError> {
    with(|leaf| leaf.uris = uris.iter().map(|&uri| uri.to_owned()).collect())
}

#[test]
fn a_leaf_of_the_mesh_proves_account_and_pod() {
    let authority = Authority::new("cluster.local");
    let signed = authority.leaf_with(|leaf| leaf.pod_uid = Some("7b3c".to_owned()));
    for end in [End::Client, End::Server] {
        let peer = verified(&authority, &signed, end).unwrap();
        let workload = peer.identity.workload.as_ref().unwrap();
        assert_eq!((&*workload.namespace, &*workload.account), ("shop", "web"));
        assert_eq!(peer.identity.pod_uid.as_deref(), Some("7b3c"));
        assert_eq!(peer.root, authority.root_id());
    }
}

#[test]
fn c2_a_chain_of_another_authority_or_of_none_is_refused() {
    let (ours, other) = (Authority::new("cluster.local"), Authority::new("cluster.local"));
    let refused = verified(&ours, &other.leaf("shop/web"), End::Client).unwrap_err();
    assert_eq!(refused.reason(), "untrusted");
    let mut alone = ours.leaf("shop/web");
    alone.chain.truncate(1);
    assert_eq!(
        verified(&ours, &alone, End::Client).unwrap_err().reason(),
        "untrusted"
    );
}

#[test]
fn c3_a_certificate_that_ran_out_or_is_not_valid_yet_is_refused() {
    let times =
        |not_before, not_after| with(|leaf| (leaf.not_before, leaf.not_after) = (not_before, not_after));
    assert!(matches!(times(-7200, -600), Err(PeerError::Expired(_))));
    assert!(matches!(times(600, 7200), Err(PeerError::NotYetValid(_))));
}

#[test]
fn c3_clocks_may_differ_by_20_seconds_and_not_by_10_minutes() {
    let times =
        |not_before, not_after| with(|leaf| (leaf.not_before, leaf.not_after) = (not_before, not_after));
    assert!(times(15, 7200).is_ok());
    assert!(times(-7200, -15).is_ok());
    assert_eq!(times(600, 7200).unwrap_err().reason(), "not_yet_valid");
    assert_eq!(times(-7200, -600).unwrap_err().reason(), "expired");
}

#[test]
fn c3_a_certificate_that_was_accepted_once_is_refused_when_its_time_is_over() {
    let authority = Authority::new("cluster.local");
    let signed = authority.leaf("shop/web");
    let (own, others) = signed.chain.split_first().unwrap();
    let verifier = verifier(&authority, End::Client);
    let peer = verifier.verify(own, others, UnixTime::now()).unwrap();
    let later =
        |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(peer.not_after + seconds));
    assert!(verifier.verify(own, others, later(20)).is_ok());
    let refused = verifier.verify(own, others, later(21)).unwrap_err();
    assert_eq!(refused, PeerError::Expired(21));
}

#[test]
fn c4_another_trust_domain_is_refused_though_its_authority_is_ours() {
    let refused = uris(&["spiffe://elsewhere/ns/shop/sa/web"]).unwrap_err();
    assert_eq!(refused.reason(), "trust_domain");
}

#[test]
fn c5_no_uri_and_two_uris_are_refused() {
    let id = "spiffe://cluster.local/ns/shop/sa/web";
    assert_eq!(uris(&[]).unwrap_err(), PeerError::Uris(0));
    assert_eq!(uris(&[id, id]).unwrap_err(), PeerError::Uris(2));
    assert_eq!(
        uris(&[id, "https://example.com/"]).unwrap_err(),
        PeerError::Uris(2)
    );
}

#[test]
fn c5_an_id_in_a_dns_name_proves_nothing() {
    let refused = with(|leaf| {
        leaf.uris.clear();
        leaf.dns_names = vec!["spiffe://cluster.local/ns/shop/sa/web".to_owned()];
    });
    assert_eq!(refused.unwrap_err(), PeerError::Uris(0));
}

#[test]
fn c5_an_id_is_taken_byte_for_byte() {
    for uri in [
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "spiffe://Cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/shop/sa/%77eb",
        "spiffe://cluster.local/ns/shop/sa/web\0",
        "spiffe://cluster.local/ns/shop/../shop/sa/web",
        "spiffe://cluster.local:80/ns/shop/sa/web",
        "spiffe://user@cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web?x",
        "spiffe://cluster.local/ns/shop/sa/web#x",
        " spiffe://cluster.local/ns/shop/sa/web",
    ] {
        assert!(uris(&[uri]).is_err(), "{uri:?}");
    }
    let other = uris(&["spiffe://cluster.local/ns/shop/sa/WEB"]).unwrap();
    assert_eq!(&*other.identity.workload.as_ref().unwrap().account, "WEB");
}

#[test]
fn c6_a_certificate_must_say_that_it_is_for_this_end() {
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::CodeSigning],
        vec![ExtendedKeyUsagePurpose::Any],
    ] {
        let refused = with(|leaf| leaf.usages.clone_from(&usages)).unwrap_err();
        assert_eq!(refused.reason(), "usage", "{usages:?}");
    }
    let authority = Authority::new("cluster.local");
    let client = authority.leaf_with(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(verified(&authority, &client, End::Client).is_ok());
    assert!(verified(&authority, &client, End::Server).is_err());
}

#[test]
fn c6_an_authority_is_no_peer_and_a_peer_is_no_authority() {
    let refused = with(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).unwrap_err();
    assert_eq!(refused.reason(), "usage");
    let authority = Authority::new("cluster.local");
    let refused = verified(&authority, &authority.leaf_of_a_leaf(), End::Client).unwrap_err();
    assert_eq!(refused.reason(), "untrusted");
}

#[test]
fn c6_an_issuer_signs_no_further_issuer() {
    let authority = Authority::new("cluster.local");
    let refused = verified(&authority, &authority.leaf_below_a_second_issuer(), End::Client).unwrap_err();
    assert_eq!(refused.reason(), "untrusted");
}

#[test]
fn a_chain_without_end_is_not_followed() {
    let authority = Authority::new("cluster.local");
    let mut signed = authority.leaf("shop/web");
    let issuer = signed.chain[1].clone();
    signed.chain.resize(LONGEST_CHAIN + 1, issuer);
    assert_eq!(
        verified(&authority, &signed, End::Client).unwrap_err(),
        PeerError::TooLong
    );
}

#[test]
fn what_was_verified_is_not_verified_twice_and_another_chain_is() {
    let authority = Authority::new("cluster.local");
    let verifier = verifier(&authority, End::Client);
    let (one, other) = (authority.leaf("shop/web"), authority.leaf("shop/web"));
    let verify = |signed: &Signed| {
        let (own, others) = signed.chain.split_first().unwrap();
        verifier.verify(own, others, UnixTime::now()).unwrap()
    };
    assert!(Arc::ptr_eq(&verify(&one), &verify(&one)));
    assert!(!Arc::ptr_eq(&verify(&one), &verify(&other)));
}

#[test]
fn a_chain_run_together_is_not_taken_for_the_one_that_was_verified() {
    let authority = Authority::new("cluster.local");
    let verifier = verifier(&authority, End::Client);
    let signed = authority.leaf("shop/web");
    let (own, others) = signed.chain.split_first().unwrap();
    verifier.verify(own, others, UnixTime::now()).unwrap();
    let together = CertificateDer::from([own.as_ref(), others[0].as_ref()].concat());
    let refused = verifier.verify(&together, &[], UnixTime::now()).unwrap_err();
    assert_eq!(refused.reason(), "malformed");
}

#[test]
fn the_reason_can_be_found_in_the_error_of_a_handshake() {
    let error = rustls::Error::from(PeerError::Uris(2));
    assert_eq!(PeerError::of(&error), Some(&PeerError::Uris(2)));
    assert_eq!(PeerError::of(&rustls::Error::HandshakeNotComplete), None);
}
