mod plan;
mod publish;
mod shell;

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::stored::{Handover, Material, Stored, entry};
use super::*;

fn names() -> Vec<String> {
    service_names("smilax-system", "cluster.local")
}

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn fresh() -> Material {
    Material::create(&names(), start()).unwrap()
}

#[test]
fn every_form_of_both_services_names_is_served() {
    assert_eq!(
        names(),
        [
            "smilax-webhook",
            "smilax-webhook.smilax-system",
            "smilax-webhook.smilax-system.svc",
            "smilax-webhook.smilax-system.svc.cluster.local",
            "smilax-conversion",
            "smilax-conversion.smilax-system",
            "smilax-conversion.smilax-system.svc",
            "smilax-conversion.smilax-system.svc.cluster.local",
        ]
    );
}

#[test]
fn what_is_made_has_no_fault_and_the_promised_validity() {
    let stored = Stored::examine(fresh());
    let authority = stored.authority.unwrap();
    let (serving, served) = stored.serving.unwrap();
    assert_eq!(served, names());
    for validity in [authority, serving] {
        assert_eq!(validity.not_before, start() - Duration::seconds(60));
    }
    assert_eq!(authority.not_after, start() + Duration::days(365));
    assert_eq!(serving.not_after, start() + Duration::days(30));
}

#[test]
fn the_secret_holds_everything_and_gives_it_back() {
    let steady = fresh();
    let announced = steady.carry_out(&Plan::Announce, &names(), start()).unwrap();
    let done = announced.carry_out(&Plan::HandOver, &names(), start()).unwrap();
    for material in [steady, announced, done] {
        assert_eq!(Material::from_data(&material.to_data()), material);
    }
}

#[test]
fn a_missing_entry_is_a_fault_that_names_it() {
    let mut data = fresh().to_data();
    data.remove("ca.key");
    let stored = Stored::examine(Material::from_data(&data));
    let fault = stored.authority.unwrap_err().to_string();
    assert!(fault.contains("ca.key"), "{fault}");
    let fault = Stored::examine(Material::from_data(&BTreeMap::new()))
        .serving
        .unwrap_err()
        .to_string();
    assert!(fault.contains("tls.crt"), "{fault}");
}

#[test]
fn keys_and_signatures_of_others_are_faults() {
    let (ours, theirs) = (fresh(), fresh());
    let mixed = |entry: &str| {
        let mut data = ours.to_data();
        data.insert(entry.to_owned(), theirs.to_data()[entry].clone());
        Stored::examine(Material::from_data(&data))
    };
    let other = |key, certificate| Fault::OtherKey { key, certificate };
    assert_eq!(
        mixed(entry::AUTHORITY_KEY).authority.unwrap_err(),
        other(entry::AUTHORITY_KEY, entry::AUTHORITY)
    );
    assert_eq!(
        mixed(entry::SERVING_KEY).serving.unwrap_err(),
        other(entry::SERVING_KEY, entry::SERVING)
    );
    assert!(matches!(
        mixed(entry::AUTHORITY).serving.unwrap_err(),
        Fault::OtherAuthority { .. }
    ));
}

#[test]
fn c13_keys_of_the_webhooks_are_not_shown() {
    let material = fresh();
    let key = material.authority.key.lines().nth(1).unwrap();
    assert!(!format!("{material:?}").contains(key));
}

#[tokio::test]
async fn the_resolver_is_ready_once_a_certificate_is_loaded() {
    let resolver = CertificateResolver::new();
    assert!(!resolver.is_ready());
    resolver.load(fresh().certified_key().unwrap());
    resolver.wait_ready().await;
    assert!(resolver.is_ready());
}

impl Material {
    pub(crate) fn for_tests(names: &[String]) -> Self {
        Self::create(names, OffsetDateTime::now_utc()).unwrap()
    }

    fn is_announced(&self) -> bool {
        matches!(self.handover, Handover::Announced(_))
    }
}
