use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SigningKey as _,
};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::convention::wire::POLICY_SIGNING_OID;

/// A time at which every certificate here is valid, unless a test says otherwise.
const NOW: u64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// A root with an issuer below it.
struct Mesh {
    root_key: KeyPair,
    root_pem: String,
    issuer: CertificateParams,
    issuer_key: KeyPair,
    issuer_pem: String,
}

/// What a signing certificate says.
struct Signer {
    uris: Vec<String>,
    usages: Vec<ExtendedKeyUsagePurpose>,
    life: i64,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            uris: vec!["spiffe://cluster.local/policy-signer".to_owned()],
            usages: vec![ExtendedKeyUsagePurpose::Other(POLICY_SIGNING_OID.to_vec())],
            life: DAY,
        }
    }
}

impl Signer {
    fn of(trust_domain: &TrustDomain) -> Self {
        Self {
            uris: vec![signer_id(trust_domain)],
            ..Self::default()
        }
    }
}

fn authority(name: &str, below: u8) -> CertificateParams {
    let mut params = valid(CertificateParams::default(), 100 * DAY);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn valid(mut params: CertificateParams, life: i64) -> CertificateParams {
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(NOW).unwrap()).unwrap();
    params.not_before = now - Duration::seconds(60);
    params.not_after = now + Duration::seconds(life);
    params
}

impl Mesh {
    fn new(name: &str) -> Self {
        let (root_key, issuer_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority(&format!("{name} root"), 1);
        let issuer = authority(&format!("{name} issuer"), 0);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let above = Issuer::from_params(&root, &root_key);
        let issuer_pem = issuer.signed_by(&issuer_key, &above).unwrap().pem();
        Self {
            root_key,
            root_pem,
            issuer,
            issuer_key,
            issuer_pem,
        }
    }

    fn root_id(&self) -> KeyId {
        use rcgen::PublicKeyData as _;
        KeyId(Digest::of(&self.root_key.subject_public_key_info()).to_string())
    }

    fn sign_as(&self, signer: Signer, at: u64, statement: &[u8]) -> Signature {
        let key = KeyPair::generate().unwrap();
        let mut params = valid(CertificateParams::default(), signer.life);
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = signer.usages;
        let uris = signer.uris.into_iter();
        params.subject_alt_names = uris.map(|uri| SanType::URI(uri.try_into().unwrap())).collect();
        let above = Issuer::from_params(&self.issuer, &self.issuer_key);
        let own = params.signed_by(&key, &above).unwrap().pem();
        Signature {
            chain: own + &self.issuer_pem + &self.root_pem,
            signed_at: at,
            value: STANDARD.encode(key.sign(statement).unwrap()),
        }
    }

    fn voucher(&self, roots: Vec<KeyId>) -> Voucher {
        self.voucher_of(&TrustDomain::default(), roots)
    }

    fn voucher_of(&self, trust_domain: &TrustDomain, roots: Vec<KeyId>) -> Voucher {
        let statement = Voucher::statement(trust_domain, &roots, NOW);
        Voucher {
            signature: self.sign_as(Signer::of(trust_domain), NOW, &statement),
            roots,
        }
    }

    fn signed_in(&self, trust_domain: &TrustDomain, content: &Content<'_>) -> Signatures {
        let statement = content.statement(trust_domain, NOW);
        Signatures {
            content: self.sign_as(Signer::of(trust_domain), NOW, &statement),
            vouchers: vec![],
        }
    }

    fn signed_as(&self, signer: Signer, content: &Content<'_>, at: u64) -> Signatures {
        let statement = content.statement(&TrustDomain::default(), at);
        Signatures {
            content: self.sign_as(signer, at, &statement),
            vouchers: vec![],
        }
    }

    fn signed(&self, content: &Content<'_>) -> Signatures {
        self.signed_as(Signer::default(), content, NOW)
    }
}

static MESH: LazyLock<Mesh> = LazyLock::new(|| Mesh::new("first"));
static WEB: LazyLock<Workload> = LazyLock::new(|| Workload::new("shop", "web"));
const POLICY: &[u8] = br#"{"revision":"3.7","workload":{"namespace":"shop","account":"web"}}"#;
const BUNDLE: &[u8] = br#"{"generation":7,"roots":"","issuer":""}"#;

fn content() -> Content<'static> {
    Content {
        workload: &WEB,
        policy: Digest::of(POLICY),
        bundle: Digest::of(BUNDLE),
    }
}

fn roots(meshes: &[&Mesh]) -> BTreeSet<KeyId> {
    meshes.iter().map(|mesh| mesh.root_id()).collect()
}

fn pinned(meshes: &[&Mesh]) -> Trusted {
    Trusted {
        roots: roots(meshes),
        trust_domains: TrustDomains::Only([TrustDomain::default()].into()),
    }
}

#[allow(clippy::unwrap_in_result, reason = "what is written here is always JSON")]
fn check(content: &Content<'_>, signatures: &Signatures, trusted: &Trusted) -> Result<Proof, SignatureError> {
    verify(content, &serde_json::to_vec(signatures).unwrap(), trusted)
}

#[test]
fn what_the_authority_signed_is_taken_by_whoever_trusts_its_root() {
    let proof = check(&content(), &MESH.signed(&content()), &pinned(&[&MESH])).unwrap();
    assert_eq!(proof.trust_domain, TrustDomain::default());
    assert_eq!(proof.roots, roots(&[&MESH]));
}

#[test]
fn the_usage_that_is_verified_is_the_one_that_is_issued() {
    // Base 128, most significant first (X.690 section 8.19); the first two arcs make one number.
    let [first, second, mut rest] = POLICY_SIGNING_OID;
    let mut bytes = vec![u8::try_from(rest & 0x7f).unwrap()];
    while rest > 0x7f {
        rest >>= 7;
        bytes.insert(0, 0x80 | u8::try_from(rest & 0x7f).unwrap());
    }
    bytes.insert(0, u8::try_from(40 * first + second).unwrap());
    assert_eq!(bytes, super::verify::POLICY_SIGNING);
}

#[test]
fn s3_a_configuration_without_a_signature_is_refused() {
    assert_eq!(
        verify(&content(), b"", &pinned(&[&MESH])),
        Err(SignatureError::Missing)
    );
}

#[test]
fn s3_an_authority_that_nobody_vouches_for_signs_nothing() {
    let stranger = Mesh::new("stranger");
    let signatures = stranger.signed(&content());
    assert_eq!(
        check(&content(), &signatures, &pinned(&[&MESH])),
        Err(SignatureError::Untrusted)
    );
    // Neither does it with the trusted root in its chain.
    let mut mixed = signatures;
    mixed.content.chain += &MESH.root_pem;
    assert!(matches!(
        check(&content(), &mixed, &pinned(&[&MESH])),
        Err(SignatureError::Chain(_))
    ));
}

#[test]
fn s3_of_two_meshes_below_one_root_neither_signs_for_the_other() {
    let other: TrustDomain = "other.example".parse().unwrap();
    let signatures = MESH.signed_in(&other, &content());
    assert_eq!(
        check(&content(), &signatures, &pinned(&[&MESH])),
        Err(SignatureError::TrustDomain(other.clone()))
    );
    // Nor does it vouch for a root.
    let stranger = Mesh::new("stranger");
    let vouched = Signatures {
        vouchers: vec![MESH.voucher_of(&other, vec![stranger.root_id()])],
        ..stranger.signed(&content())
    };
    assert_eq!(
        check(&content(), &vouched, &pinned(&[&MESH])),
        Err(SignatureError::Untrusted)
    );
    let both = TrustDomains::Only([TrustDomain::default(), other].into());
    for trust_domains in [TrustDomains::Any, both] {
        let trusted = Trusted {
            trust_domains,
            ..pinned(&[&MESH])
        };
        assert!(check(&content(), &signatures, &trusted).is_ok());
    }
}

#[test]
fn s3_a_signature_holds_for_one_workload_only() {
    let signatures = MESH.signed(&content());
    for other in [
        Workload::new("shop", "db"),
        Workload::new("bank", "web"),
        Workload::new("shop\nweb", ""),
    ] {
        let elsewhere = Content {
            workload: &other,
            ..content()
        };
        assert_eq!(
            check(&elsewhere, &signatures, &pinned(&[&MESH])),
            Err(SignatureError::Content)
        );
    }
}

#[test]
fn s3_a_certificate_of_a_workload_signs_no_configuration() {
    let tls = || {
        vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ]
    };
    let workload = || vec!["spiffe://cluster.local/ns/shop/sa/web".to_owned()];
    let signers = [
        ("a workload's certificate", workload(), tls()),
        ("the usages of TLS", Signer::default().uris, tls()),
        ("no usage", Signer::default().uris, vec![]),
        ("a workload's ID", workload(), Signer::default().usages),
        ("no ID", vec![], Signer::default().usages),
        (
            "two IDs",
            [Signer::default().uris, workload()].concat(),
            Signer::default().usages,
        ),
    ];
    for (what, uris, usages) in signers {
        let signer = Signer {
            uris,
            usages,
            ..Signer::default()
        };
        let signatures = MESH.signed_as(signer, &content(), NOW);
        let refused = check(&content(), &signatures, &pinned(&[&MESH])).unwrap_err();
        assert!(
            matches!(refused, SignatureError::Signer | SignatureError::Chain(_)),
            "{what}: {refused}"
        );
    }
}

#[test]
fn s3_a_signer_that_expired_since_keeps_what_it_signed_and_signs_nothing_after_its_end() {
    // It is verified for the time of signing, whatever the clock says now.
    let short = || Signer {
        life: 10,
        ..Signer::default()
    };
    let signatures = MESH.signed_as(short(), &content(), NOW);
    assert!(check(&content(), &signatures, &pinned(&[&MESH])).is_ok());
    let late = MESH.signed_as(short(), &content(), NOW + 11);
    assert!(matches!(
        check(&content(), &late, &pinned(&[&MESH])),
        Err(SignatureError::Chain(_))
    ));
    // The time is signed too.
    let mut moved = signatures;
    moved.content.signed_at += 1;
    assert_eq!(
        check(&content(), &moved, &pinned(&[&MESH])),
        Err(SignatureError::Content)
    );
}

#[test]
fn s3_a_pod_with_the_oldest_root_follows_several_changes_of_the_root() {
    let (second, third) = (Mesh::new("second"), Mesh::new("third"));
    let signatures = Signatures {
        vouchers: vec![
            MESH.voucher(vec![MESH.root_id(), second.root_id()]),
            second.voucher(vec![second.root_id(), third.root_id()]),
        ],
        ..third.signed(&content())
    };
    let proof = check(&content(), &signatures, &pinned(&[&MESH])).unwrap();
    assert_eq!(proof.roots, roots(&[&MESH, &second, &third]));
    // Pods that were created later trust no earlier root for it.
    for later in [&second, &third] {
        assert!(check(&content(), &signatures, &pinned(&[later])).is_ok());
    }
}

#[test]
fn s3_a_root_counts_only_when_a_trusted_one_vouches_for_it() {
    let (stranger, second) = (Mesh::new("stranger"), Mesh::new("second"));
    let by = |vouchers| Signatures {
        vouchers,
        ..stranger.signed(&content())
    };
    let itself = stranger.voucher(vec![stranger.root_id()]);
    let mut altered = MESH.voucher(vec![second.root_id()]);
    altered.roots.push(stranger.root_id());
    for vouchers in [vec![], vec![itself], vec![altered]] {
        assert_eq!(
            check(&content(), &by(vouchers), &pinned(&[&MESH])),
            Err(SignatureError::Untrusted)
        );
    }
    // A voucher is no signature of a configuration, and the other way round.
    let voucher = MESH.voucher(vec![second.root_id()]);
    let signatures = Signatures {
        content: voucher.signature,
        vouchers: vec![],
    };
    assert_eq!(
        check(&content(), &signatures, &pinned(&[&MESH])),
        Err(SignatureError::Content)
    );
}

#[test]
fn s3_what_is_huge_is_refused_before_it_is_worked_on() {
    let many = Signatures {
        vouchers: vec![MESH.voucher(vec![]); MOST_VOUCHERS + 1],
        ..MESH.signed(&content())
    };
    assert_eq!(
        check(&content(), &many, &pinned(&[&MESH])),
        Err(SignatureError::Vouchers(MOST_VOUCHERS + 1))
    );
    let long = vec![b' '; MOST_BYTES + 1];
    assert_eq!(
        verify(&content(), &long, &pinned(&[&MESH])),
        Err(SignatureError::TooLong(MOST_BYTES + 1))
    );
    let mut chain = MESH.signed(&content());
    chain.content.chain += &MESH.root_pem.repeat(LONGEST_CHAIN);
    assert!(matches!(
        check(&content(), &chain, &pinned(&[&MESH])),
        Err(SignatureError::Chain(_))
    ));
}

#[test]
fn a_full_chain_of_vouchers_fits() {
    let signatures = Signatures {
        vouchers: vec![MESH.voucher(vec![MESH.root_id(), MESH.root_id()]); MOST_VOUCHERS],
        ..MESH.signed(&content())
    };
    assert!(serde_json::to_vec(&signatures).unwrap().len() < MOST_BYTES / 4);
    assert!(check(&content(), &signatures, &pinned(&[&MESH])).is_ok());
}

#[test]
fn anchors_are_read_as_they_are_written() {
    let (one, other) = (MESH.root_id(), KeyId("ab".repeat(32)));
    let text = format!("{},{}", one.0, other.0);
    assert_eq!(parse_anchors(&text), Ok(BTreeSet::from([one, other])));
    assert_eq!(parse_anchors(""), Ok(BTreeSet::new()));
    for bad in ["x", &"AB".repeat(32), &"ab".repeat(31)] {
        assert!(parse_anchors(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn s3_no_byte_of_what_is_signed_can_be_another(place: prop::sample::Index, flip in 1u8.., of_bundle: bool) {
        static SIGNED: LazyLock<Signatures> = LazyLock::new(|| MESH.signed(&content()));
        let (mut policy, mut bundle) = (POLICY.to_vec(), BUNDLE.to_vec());
        let changed = if of_bundle { &mut bundle } else { &mut policy };
        let place = place.index(changed.len());
        changed[place] ^= flip;
        let altered = Content { policy: Digest::of(&policy), bundle: Digest::of(&bundle), ..content() };
        prop_assert_eq!(check(&altered, &SIGNED, &pinned(&[&MESH])), Err(SignatureError::Content));
    }

    #[test]
    fn s3_no_text_makes_it_panic(text: Vec<u8>) {
        prop_assert!(verify(&content(), &text, &pinned(&[&MESH])).is_err());
    }

    #[test]
    fn s3_a_damaged_signature_is_refused_or_proves_what_it_proved(place: prop::sample::Index, byte: u8) {
        static SIGNED: LazyLock<Vec<u8>> =
            LazyLock::new(|| serde_json::to_vec(&MESH.signed(&content())).unwrap());
        let mut text = SIGNED.clone();
        let place = place.index(text.len());
        text[place] = byte;
        if let Ok(proof) = verify(&content(), &text, &pinned(&[&MESH])) {
            prop_assert_eq!(proof.roots, roots(&[&MESH]));
            prop_assert_eq!(proof.signed_at, NOW);
        }
    }
}
