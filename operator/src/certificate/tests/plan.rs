use std::collections::BTreeMap;

use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};

use super::{fresh, names, start};
use crate::certificate::{Material, Plan, Publication, Stored, plan, service_names};

fn after(material: &Material, time: Duration) -> Plan {
    after_with(material, time, Publication::Complete)
}

fn after_with(material: &Material, time: Duration, publication: Publication) -> Plan {
    plan(
        &Stored::examine(material.clone()),
        &names(),
        publication,
        start() + time,
    )
}

fn step(material: &Material, step: &Plan, time: Duration) -> Material {
    material.carry_out(step, &names(), start() + time).unwrap()
}

fn is_renewal(plan: &Plan) -> bool {
    matches!(plan, Plan::Renew { .. })
}

fn is_new_start(plan: &Plan) -> bool {
    matches!(plan, Plan::Recreate { .. })
}

#[test]
fn a_fresh_certificate_is_kept_until_two_thirds_of_its_time() {
    let material = fresh();
    assert_eq!(after(&material, Duration::ZERO), Plan::Keep);
    assert_eq!(after(&material, Duration::days(19)), Plan::Keep);
    assert!(is_renewal(&after(&material, Duration::days(20))));
}

#[test]
fn renewal_keeps_the_authority() {
    let material = fresh();
    let renewed = step(
        &material,
        &after(&material, Duration::days(20)),
        Duration::days(20),
    );
    assert_eq!(renewed.bundle(), material.bundle());
    assert_eq!(after(&renewed, Duration::days(20)), Plan::Keep);
}

#[test]
fn other_names_need_another_certificate() {
    let stored = Stored::examine(fresh());
    let other = service_names("mesh", "cluster.local");
    assert!(is_renewal(&plan(&stored, &other, Publication::Complete, start())));
}

#[test]
fn an_authority_that_is_gone_or_over_is_replaced() {
    assert!(is_new_start(&after(
        &Material::from_data(&BTreeMap::new()),
        Duration::ZERO
    )));
    assert!(is_new_start(&after(&fresh(), Duration::days(365))));
    assert!(is_new_start(&after(&fresh(), Duration::days(-2))));
}

#[test]
fn a_serving_certificate_that_is_gone_or_over_is_renewed() {
    let mut data = fresh().to_data();
    data.remove("tls.crt");
    assert!(is_renewal(&after(&Material::from_data(&data), Duration::ZERO)));
    assert!(is_renewal(&after(&fresh(), Duration::days(31))));
}

#[test]
fn a_clock_that_is_an_hour_slow_changes_nothing() {
    assert_eq!(after(&fresh(), Duration::hours(-1)), Plan::Keep);
}

/// An authority after two thirds of its time, with a certificate that is not due.
fn late() -> (Material, Duration) {
    let late = Duration::days(244);
    let material = fresh();
    let material = step(
        &material,
        &Plan::Renew {
            reason: String::new(),
        },
        late,
    );
    (material, late)
}

#[test]
fn the_next_authority_is_announced_then_signs_and_then_the_old_one_is_forgotten() {
    let (old, late) = late();
    assert_eq!(after(&old, late), Plan::Announce);
    let announced = step(&old, &Plan::Announce, late);
    assert!(announced.is_announced());
    assert!(announced.bundle().contains(&old.bundle()));
    assert_eq!(announced.serving, old.serving);

    let settled = late + Duration::minutes(10);
    assert_eq!(after(&announced, settled - Duration::seconds(1)), Plan::Keep);
    assert_eq!(after_with(&announced, settled, Publication::Pending), Plan::Keep);
    assert_eq!(after(&announced, settled), Plan::HandOver);

    let done = step(&announced, &Plan::HandOver, settled);
    assert_eq!(done.bundle(), announced.bundle());
    assert_ne!(done.serving, announced.serving);
    assert_eq!(after(&done, settled + Duration::hours(23)), Plan::Keep);
    assert_eq!(after(&done, settled + Duration::hours(24)), Plan::Forget);

    let forgotten = step(&done, &Plan::Forget, settled);
    assert!(!forgotten.bundle().contains(&old.bundle()));
    assert_eq!(after(&forgotten, settled + Duration::hours(24)), Plan::Keep);
}

#[test]
fn an_authority_near_its_end_hands_over_though_a_configuration_was_not_told() {
    let (old, late) = late();
    let announced = step(&old, &Plan::Announce, late);
    let renewed = step(
        &announced,
        &Plan::Renew {
            reason: String::new(),
        },
        Duration::days(357),
    );
    assert_eq!(
        after_with(&renewed, Duration::days(357), Publication::Pending),
        Plan::Keep
    );
    assert_eq!(
        after_with(&renewed, Duration::days(358), Publication::Pending),
        Plan::HandOver
    );
}

fn trusts(bundle: &str, material: &Material, now: OffsetDateTime) -> bool {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let serving = CertificateDer::from_pem_slice(material.serving.certificate.as_bytes()).unwrap();
    let parsed = ParsedCertificate::try_from(&serving).unwrap();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let algorithms = aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// Whenever the leader looks, at most five days apart: those who trust what was published before its step, and those
    /// who trust what it publishes then, both accept what is served before and after.
    #[test]
    fn over_years_nobody_is_shown_a_certificate_that_they_were_not_told_to_trust(
        steps in proptest::collection::vec(1_i64..120, 300),
    ) {
        let mut material = fresh();
        let mut now = start();
        for hours in steps {
            now += Duration::hours(hours);
            loop {
                let step = plan(&Stored::examine(material.clone()), &names(), Publication::Complete, now);
                if step == Plan::Keep {
                    break;
                }
                prop_assert!(!is_new_start(&step));
                let next = material.carry_out(&step, &names(), now).unwrap();
                prop_assert!(trusts(&material.bundle(), &material, now), "before {step:?}");
                prop_assert!(trusts(&material.bundle(), &next, now), "told before {step:?}");
                prop_assert!(trusts(&next.bundle(), &next, now), "after {step:?}");
                // Other replicas still serve the one before for a moment.
                prop_assert!(trusts(&next.bundle(), &material, now), "served before {step:?}");
                material = next;
            }
        }
    }
}
