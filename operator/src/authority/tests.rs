mod issue;
mod plan;
mod policy_signer;
mod shell;

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::material::{Authority, Given, Material, Rotation, entry};
use super::plan::{Next, Step};
use crate::pki::Fault;

pub(crate) fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn fresh() -> Material {
    Material::create(7, start()).unwrap()
}

fn examine(material: Material) -> Authority {
    Authority::examine(material, start()).unwrap()
}

fn announce() -> Step {
    Step::Announce {
        next: Next::SelfMade,
        request: None,
    }
}

const HAND_OVER: Step = Step::HandOver { request: None };
const FINISH: Step = Step::Finish { request: None };

/// What cert-manager would write for an issuer below a root of its own.
fn given_data(material: &Material) -> BTreeMap<String, Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    BTreeMap::from([
        ("tls.crt".to_owned(), text(&material.signer.issuer.certificate)),
        ("tls.key".to_owned(), text(&material.signer.issuer.key)),
        ("ca.crt".to_owned(), text(&material.signer.root)),
    ])
}

/// The same root, with an issuer of the user's that may sign nothing but certificates for TLS.
fn for_tls_alone(material: &Material) -> Material {
    let root_key = KeyPair::from_pem(material.signer.root_key.as_deref().unwrap()).unwrap();
    let root = Issuer::from_ca_cert_pem(&material.signer.root, root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = start() - time::Duration::minutes(1);
    params.not_after = start() + time::Duration::days(365);
    params.distinguished_name = crate::pki::named("issuer for TLS".to_owned());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let mut next = material.clone();
    next.generation += 1;
    next.signer.issuer = crate::pki::Pair {
        certificate: params.signed_by(&key, &root).unwrap().pem(),
        key: key.serialize_pem(),
    };
    next
}

fn given(material: &Material) -> Given {
    Given::examine(&given_data(material), start()).unwrap()
}

#[test]
fn the_secret_holds_every_phase_and_gives_it_back() {
    let steady = fresh();
    let announced = steady.carry_out(&announce(), 0, start()).unwrap();
    let renewing = announced.carry_out(&HAND_OVER, 0, start()).unwrap();
    let done = renewing.carry_out(&FINISH, 0, start()).unwrap();
    for material in [steady, announced, renewing, done] {
        let read = Material::from_data(&material.to_data()).unwrap();
        assert_eq!(read, material);
        examine(read);
    }
}

#[test]
fn generations_rise_with_the_bundle_and_only_with_it() {
    let reissue = Step::Reissue {
        next: Next::SelfMade,
        request: None,
    };
    let steady = fresh();
    let renewing = steady.carry_out(&reissue, 0, start()).unwrap();
    let done = renewing.carry_out(&FINISH, 0, start()).unwrap();
    assert_eq!([renewing.generation, done.generation], [8, 8]);
    let raised = steady.carry_out(&Step::Raise, 99, start()).unwrap();
    assert_eq!(raised.generation, 100);
    assert_eq!(raised.signer, steady.signer);
}

#[test]
fn the_bundle_names_both_roots_while_both_are_needed() {
    let steady = fresh();
    let announced = steady.carry_out(&announce(), 0, start()).unwrap();
    let renewing = announced.carry_out(&HAND_OVER, 0, start()).unwrap();
    let done = renewing.carry_out(&FINISH, 0, start()).unwrap();
    let roots = [&steady, &announced, &renewing, &done].map(|one| one.roots().matches("BEGIN").count());
    assert_eq!(roots, [1, 2, 2, 1]);
    assert!(!done.roots().contains(steady.signer.root.trim()));
    assert_eq!(announced.signer, steady.signer, "what is announced signs nothing");
}

#[test]
fn what_is_broken_is_refused_and_named() {
    let (ours, theirs) = (fresh().to_data(), fresh().to_data());
    let with = |name: &str, value: Option<Vec<u8>>| {
        let mut data = ours.clone();
        match value {
            Some(value) => data.insert(name.to_owned(), value),
            None => data.remove(name),
        };
        Material::from_data(&data).and_then(|material| Authority::examine(material, start()))
    };
    let other = |key, certificate| Fault::OtherKey { key, certificate };
    assert_eq!(
        with(entry::ISSUER_KEY, theirs.get(entry::ISSUER_KEY).cloned()).unwrap_err(),
        other(entry::ISSUER_KEY, entry::ISSUER)
    );
    assert_eq!(
        with(entry::ROOT_KEY, theirs.get(entry::ROOT_KEY).cloned()).unwrap_err(),
        other(entry::ROOT_KEY, entry::ROOT)
    );
    for name in [
        entry::ROOT,
        entry::ISSUER,
        entry::ISSUER_KEY,
        entry::GENERATION,
        entry::PHASE,
    ] {
        for value in [None, Some(b"broken".to_vec()), Some(Vec::new())] {
            let fault = with(name, value).unwrap_err().to_string();
            assert!(fault.contains(name), "{name}: {fault}");
        }
    }
}

#[test]
fn an_issuer_of_another_root_is_refused() {
    let (ours, theirs) = (fresh(), fresh());
    let mut mixed = given_data(&ours);
    mixed.insert("ca.crt".to_owned(), theirs.signer.root.clone().into_bytes());
    let fault = Given::examine(&mixed, start()).unwrap_err();
    assert!(matches!(fault, Fault::OtherAuthority { .. }), "{fault}");
}

#[test]
fn a_given_authority_is_refused_when_it_ran_out_and_taken_when_it_is_sound() {
    let material = fresh();
    given(&material);
    let late = start() + Duration::days(366);
    let fault = Given::examine(&given_data(&material), late)
        .unwrap_err()
        .to_string();
    assert!(fault.contains("tls.crt expired"), "{fault}");
    let mut without_key = given_data(&material);
    without_key.remove("tls.key");
    let fault = Given::examine(&without_key, start()).unwrap_err().to_string();
    assert_eq!(fault, "entry tls.key is missing");
}

#[test]
fn a_root_may_sign_by_itself_when_it_is_given_so() {
    let root = fresh();
    let data = BTreeMap::from([
        ("tls.crt".to_owned(), root.signer.root.clone().into_bytes()),
        (
            "tls.key".to_owned(),
            root.signer.root_key.clone().unwrap().into_bytes(),
        ),
        ("ca.crt".to_owned(), root.signer.root.clone().into_bytes()),
    ]);
    let given = Given::examine(&data, start()).unwrap();
    examine(Material::given(1, given));
}

#[test]
fn c13_keys_of_the_authority_are_not_shown() {
    let material = fresh().carry_out(&announce(), 0, start()).unwrap();
    let Rotation::Announced(next) = &material.rotation else {
        panic!("{material:?}")
    };
    let shown = format!(
        "{material:?} {:?} {:?}",
        examine(material.clone()),
        given(&material)
    );
    let keys = [
        material.signer.root_key.as_ref().unwrap(),
        &material.signer.issuer.key,
        next.root_key.as_ref().unwrap(),
        &next.issuer.key,
    ];
    for key in keys {
        assert!(!shown.contains(key.lines().nth(1).unwrap()));
    }
}
