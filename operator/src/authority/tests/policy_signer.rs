use std::collections::BTreeSet;

use smilax_core::signature::{Content, Digest, MOST_VOUCHERS, Signatures, TrustDomains, Trusted, verify};
use smilax_core::workload_connection::KeyId;
use smilax_core::{TrustDomain, Workload};
use time::Duration;

use super::{FINISH, HAND_OVER, announce, examine, fresh, given, start};
use crate::authority::material::{Authority, Material};
use crate::authority::plan::{Next, Step};
use crate::authority::{PolicySigner, Subject};

fn domain() -> TrustDomain {
    TrustDomain::default()
}

fn signer(authority: &Authority) -> PolicySigner {
    PolicySigner::new(authority, &domain(), start()).unwrap()
}

fn trusting(roots: &BTreeSet<KeyId>) -> Trusted {
    Trusted {
        roots: roots.clone(),
        trust_domains: TrustDomains::Only([domain()].into()),
    }
}

/// Whether a pod whose spec names these roots takes what this authority signs.
fn takes(pinned: &BTreeSet<KeyId>, material: &Material) -> bool {
    let workload = Workload::new("shop", "web");
    let content = Content {
        workload: &workload,
        policy: Digest::of(b"policy"),
        bundle: Digest::of(b"bundle"),
    };
    let text = signer(&examine(material.clone()))
        .sign_at(&content, start())
        .unwrap();
    verify(&content, text.as_bytes(), &trusting(pinned)).is_ok()
}

/// Carries out a step as the leader does.
fn step(material: &Material, step: &Step) -> Material {
    let next = material.carry_out(step, 0, start()).unwrap();
    next.vouched(&examine(material.clone()), &domain(), start())
        .unwrap()
}

fn rotated(material: &Material) -> Material {
    [announce(), HAND_OVER, FINISH]
        .iter()
        .fold(material.clone(), |material, one| step(&material, one))
}

#[test]
fn s3_pods_with_the_oldest_root_follow_several_rotations_and_strangers_nothing() {
    let first = fresh();
    let pinned = examine(first.clone()).root_ids();
    let second = rotated(&first);
    let third = rotated(&second);
    assert!(takes(&pinned, &second) && takes(&pinned, &third));
    assert!(takes(&examine(third.clone()).root_ids(), &third));
    // Neither a lost authority that was made anew, nor one of another mesh, is vouched for.
    assert!(!takes(&pinned, &fresh()));
    assert!(!takes(&examine(third.clone()).root_ids(), &first));
    let read = Material::from_data(&third.to_data()).unwrap();
    assert_eq!(read, third);
}

#[test]
fn s3_every_step_of_a_rotation_is_followed() {
    let first = fresh();
    let pinned = examine(first.clone()).root_ids();
    let announced = step(&first, &announce());
    let renewing = step(&announced, &HAND_OVER);
    // Pods that are created meanwhile trust both roots.
    let meanwhile = examine(announced.clone()).root_ids();
    assert_eq!(meanwhile.len(), 2);
    for material in [&first, &announced, &renewing] {
        assert!(takes(&pinned, material));
        assert!(takes(&meanwhile, material));
    }
}

#[test]
fn vouchers_are_bounded() {
    let mut material = fresh();
    for _ in 0..=MOST_VOUCHERS {
        material = rotated(&material);
    }
    assert_eq!(material.vouchers.len(), MOST_VOUCHERS);
    assert!(takes(&examine(material.clone()).root_ids(), &material));
}

#[test]
fn s3_an_authority_of_the_users_signs_and_vouches_as_well() {
    let (ours, theirs) = (fresh(), Material::given(9, given(&fresh())));
    let pinned = examine(ours.clone()).root_ids();
    let announced = step(
        &ours,
        &Step::Announce {
            next: Next::Given(given(&theirs)),
            request: None,
        },
    );
    let changed = step(&step(&announced, &HAND_OVER), &FINISH);
    assert!(changed.signer.root_key.is_none());
    assert!(takes(&pinned, &changed));
}

#[test]
fn s3_a_workloads_certificate_is_never_one_that_signs_configurations() {
    let authority = examine(fresh());
    let workload = Workload::new("shop", "web");
    let subject = Subject {
        trust_domain: &domain(),
        workload: &workload,
        pod_uid: None,
    };
    let (issued, key) = authority
        .sign_own(&subject, std::time::Duration::from_hours(1), start())
        .unwrap();
    let content = Content {
        workload: &workload,
        policy: Digest::of(b"policy"),
        bundle: Digest::of(b""),
    };
    let signed_at = u64::try_from(start().unix_timestamp()).unwrap();
    let value = rcgen::SigningKey::sign(&key, &content.statement(&domain(), signed_at)).unwrap();
    let signatures = Signatures {
        content: smilax_core::signature::Signature {
            chain: issued.chain + &authority.material.signer.root,
            signed_at,
            value: base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value),
        },
        vouchers: vec![],
    };
    let text = serde_json::to_vec(&signatures).unwrap();
    assert!(verify(&content, &text, &trusting(&authority.root_ids())).is_err());
}

#[test]
fn s3_the_signers_certificate_opens_no_connection() {
    let authority = examine(fresh());
    let (certified, _) = authority.certify_policy_signer(&domain(), start()).unwrap();
    let der = crate::pki::first("signer", &certified.certificate).unwrap();
    let between = crate::pki::chain("issuer", &certified.above).unwrap();
    let as_server = crate::pki::leads_to(
        "signer",
        "root",
        &der,
        &between,
        authority.roots().to_vec(),
        start(),
    );
    assert!(as_server.is_err());
}

#[test]
fn what_would_be_signed_now_is_told_from_what_was_signed_before() {
    let first = fresh();
    let reissue = Step::Reissue {
        next: Next::SelfMade,
        request: None,
    };
    let reissued = step(&first, &reissue);
    assert_eq!(reissued.vouchers, []);
    let workload = Workload::new("shop", "web");
    let content = Content {
        workload: &workload,
        policy: Digest::of(b"policy"),
        bundle: Digest::of(b""),
    };
    let before = signer(&examine(first.clone()));
    let text = before.sign_at(&content, start()).unwrap();
    assert!(before.would_make(&text) && signer(&examine(first)).would_make(&text));
    assert!(!signer(&examine(reissued)).would_make(&text));
    let mut stripped: Signatures = serde_json::from_str(&text).unwrap();
    stripped.vouchers.push(smilax_core::signature::Voucher {
        roots: vec![],
        signature: stripped.content.clone(),
    });
    assert!(!before.would_make(&serde_json::to_string(&stripped).unwrap()));
}

#[test]
fn an_issuer_whose_time_is_over_signs_nothing() {
    let authority = examine(fresh());
    let signer = signer(&authority);
    let workload = Workload::new("shop", "web");
    let content = Content {
        workload: &workload,
        policy: Digest::of(b""),
        bundle: Digest::of(b""),
    };
    assert!(signer.sign_at(&content, start() + Duration::days(366)).is_err());
    assert!(PolicySigner::new(&authority, &domain(), start() + Duration::days(366)).is_err());
}

#[test]
fn s3_what_is_signed_after_the_clock_was_set_back_is_taken() {
    let authority = examine(fresh());
    let signer = signer(&authority);
    let workload = Workload::new("shop", "web");
    let content = Content {
        workload: &workload,
        policy: Digest::of(b""),
        bundle: Digest::of(b""),
    };
    let text = signer.sign_at(&content, start() - Duration::days(1)).unwrap();
    let trusted = trusting(&authority.root_ids());
    assert!(verify(&content, text.as_bytes(), &trusted).is_ok());
}

#[test]
fn the_cost_of_a_signature_is_small() {
    let authority = examine(fresh());
    let signer = signer(&authority);
    let (workload, roots) = (Workload::new("shop", "web"), trusting(&authority.root_ids()));
    let content = Content {
        workload: &workload,
        policy: Digest::of(b"policy"),
        bundle: Digest::of(b"bundle"),
    };
    let time = |work: &dyn Fn()| {
        let begin = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| work());
        begin.elapsed() / ROUNDS
    };
    let text = signer.sign_at(&content, start()).unwrap();
    let signing = time(&|| drop(signer.sign_at(&content, start()).unwrap()));
    let verifying = time(&|| drop(verify(&content, text.as_bytes(), &roots).unwrap()));
    // An operator that starts verifies every ConfigMap once: 2,000 within seconds, on any machine.
    let most = std::time::Duration::from_millis(10);
    assert!(
        signing < most && verifying < most && text.len() < 4096,
        "signing takes {signing:?}, verifying {verifying:?}, of {} bytes",
        text.len()
    );
}

const ROUNDS: u32 = 100;
