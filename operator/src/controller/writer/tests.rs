//! What becomes of ConfigMaps that somebody else writes: the leader compiles, an API server in memory keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use smilax_compiler::Reason;
use smilax_compiler::index::Settings;
use smilax_compiler::model::{Account, Namespace};
use smilax_core::convention::{SIGNATURE_KEY, config_map_name, key};
use smilax_core::packed::Form;
use smilax_core::{Revision, TrustDomain};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::batch::{Batch, batch_of};
use super::maps::{map_object, sign};
use super::policy::Compiling;
use crate::authority::{Authority, Material, Next, PolicySigner, Step};
use crate::controller::State;
use crate::controller::change::{MapChange, Sequence};
use crate::controller::findings::Finding;
use crate::controller::integrity::Integrity;
use crate::controller::report::PodCounts;
use crate::controller::statuses::Statuses;
use crate::controller::stored::{Standing, StoredMap, StoredPolicy};
use crate::controller::watch::stored_map;

mod answers;
mod bombs;
mod frozen;

/// A leader, and what is stored.
struct Cluster {
    state: Arc<State>,
    compiling: Compiling,
    statuses: Statuses,
    stored: BTreeMap<String, ConfigMap>,
    version: u64,
}

fn integrity(material: &Material) -> Integrity {
    integrity_of(material, &TrustDomain::default())
}

fn integrity_of(material: &Material, trust_domain: &TrustDomain) -> Integrity {
    let now = OffsetDateTime::now_utc();
    let authority = Authority::examine(material.clone(), now).unwrap();
    let signer = PolicySigner::new(&authority, trust_domain, now).unwrap();
    Integrity::new(Arc::new(signer), authority.root_ids(), trust_domain.clone())
}

fn material() -> Material {
    Material::create(7, OffsetDateTime::now_utc()).unwrap()
}

impl Cluster {
    /// With the accounts `shop/web` and `shop/db`, in this term.
    fn new(term: u64) -> Self {
        let state = State::new(Settings::default());
        state.update(|inner| {
            let namespace = Namespace {
                name: "shop".into(),
                labels: BTreeMap::from([(key::INJECT.to_owned(), "enabled".to_owned())]),
                ..Namespace::default()
            };
            inner.index.set_namespace("shop", Some(namespace));
            for account in ["web", "db"] {
                inner
                    .index
                    .set_account("shop", account.into(), Some(Account::default()));
            }
        });
        Self {
            state,
            compiling: Compiling {
                sequence: Sequence::new(term, Revision::default()),
                pods: PodCounts::default(),
                last: None,
            },
            statuses: Statuses::new(Instant::now()),
            stored: BTreeMap::new(),
            version: 0,
        }
    }

    fn signing(self, material: &Material) -> Self {
        self.state.take_integrity(integrity(material));
        self
    }

    /// One pass of the leader; what it writes is stored.
    fn pass(&mut self) -> Batch {
        let batch = self.compile();
        self.write(&batch);
        batch
    }

    fn compile(&mut self) -> Batch {
        self.state
            .read(|inner| batch_of(inner, &mut self.compiling, &mut self.statuses, || false))
    }

    fn write(&mut self, batch: &Batch) {
        for (_, change) in &batch.maps {
            let MapChange::Apply {
                name,
                workload,
                policy,
                bundle,
                form: form @ Form::Plain,
                ..
            } = change
            else {
                panic!("{change:?}")
            };
            let signature = sign(batch.integrity.as_deref(), workload, (policy, form), bundle).unwrap();
            let object = map_object(name, workload, (policy, form), (bundle, signature.as_deref()));
            self.put(name, serde_json::from_value(object).unwrap());
        }
    }

    /// The watch tells of a ConfigMap, whoever wrote it.
    fn put(&mut self, name: &str, mut map: ConfigMap) {
        self.version += 1;
        map.metadata.resource_version = Some(self.version.to_string());
        let stored = stored_map(&map);
        self.stored.insert(name.to_owned(), map);
        self.state.update(|inner| {
            inner.set_map("shop", name, Some(stored));
            inner.index.mark("shop");
        });
    }

    fn get(&self, name: &str) -> ConfigMap {
        self.stored[name].clone()
    }

    /// What an editor of the namespace does with `kubectl patch`.
    fn patch(&mut self, name: &str, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let mut map = self.get(name);
        change(map.data.as_mut().unwrap());
        self.put(name, map);
    }

    fn standing(&self, name: &str) -> Standing {
        self.state.read(|inner| inner.maps["shop"][name].standing.clone())
    }

    fn revision(&self, name: &str) -> Revision {
        self.state
            .read(|inner| inner.maps["shop"][name].revision)
            .unwrap()
    }

    /// What proxies with this account are told over their streams.
    fn streamed(&self, name: &str) -> Option<String> {
        self.state
            .read(|inner| inner.policy("shop", name).map(|(policy, _)| policy.clone()))
            .map(|policy| match policy {
                StoredPolicy::Text(text) => text.to_string(),
                StoredPolicy::Packed(_) => panic!("it is short"),
            })
    }
}

/// The policy with another revision, and everybody let in.
fn forged(policy: &str, revision: &str) -> String {
    let mut policy: Value = serde_json::from_str(policy).unwrap();
    policy["revision"] = json!(revision);
    policy["inbound"] = json!([]);
    policy["clusterDomain"] = json!("forged.local");
    policy.to_string()
}

fn tampered(batch: &Batch) -> Vec<String> {
    let findings = batch.findings.iter().flat_map(|(_, findings)| findings);
    findings
        .filter_map(|finding| match finding {
            Finding::Object { diagnostic, .. } if diagnostic.reason == Reason::Tampered => {
                Some(format!("{}: {}", diagnostic.object, diagnostic.message))
            }
            _ => None,
        })
        .collect()
}

const WEB: &str = "smilax-web";
const POLICY: &str = "policy.json";

#[test]
fn what_the_leader_writes_is_signed_and_not_written_again() {
    let mut cluster = Cluster::new(5).signing(&material());
    let written = cluster.pass();
    assert!(written.maps.len() >= 2 && written.tampered == 0);
    assert_eq!(cluster.standing(WEB), Standing::Current);
    assert!(cluster.streamed(WEB).is_some());
    assert_eq!(cluster.pass().maps, []);
}

#[test]
fn s3_a_patched_configuration_is_not_told_to_proxies_but_told_of_and_repaired_with_a_later_revision() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let honest = cluster.revision(WEB);
    cluster.patch(WEB, |data| {
        let policy = forged(&data[POLICY], "9999.1");
        data.insert(POLICY.to_owned(), policy);
    });
    assert_eq!(cluster.streamed(WEB), None, "a replica must not pass it on");
    let wanted = cluster
        .state
        .read(|inner| inner.stored_revision(&smilax_core::Workload::new("shop", "web")));
    assert_eq!(wanted, Some(honest), "proxy-status must not want what was forged");
    let floor = cluster.state.read(|inner| inner.highest_revision());
    assert!(
        floor.term == 5,
        "the next leader's term does not follow it: {floor}"
    );

    let repair = cluster.pass();
    assert_eq!((repair.maps.len(), repair.tampered), (1, 1));
    let [told] = &tampered(&repair)[..] else {
        panic!("{:?}", tampered(&repair))
    };
    assert!(
        told.starts_with(
            "ServiceAccount/shop/web: ConfigMap shop/smilax-web was not written by the operator"
        ),
        "{told}"
    );
    assert_eq!(cluster.standing(WEB), Standing::Current);
    // Proxies of versions before, which took the forgery, take this one after it.
    assert!(
        cluster.revision(WEB)
            > Revision {
                term: 9999,
                counter: 1
            }
    );
    assert!(!cluster.streamed(WEB).unwrap().contains("forged"));
    assert_eq!(cluster.pass().maps, []);
}

#[test]
fn s3_a_forged_revision_exhausts_no_numbers() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let most = u64::MAX;
    for revision in [
        format!("{most}.{most}"),
        format!("6.{most}"),
        format!("{most}.1"),
        "9999.1".to_owned(),
    ] {
        let before = cluster.revision(WEB);
        cluster.patch(WEB, |data| {
            let policy = forged(&data[POLICY], &revision);
            data.insert(POLICY.to_owned(), policy);
        });
        cluster.pass();
        let after = cluster.revision(WEB);
        assert!(after > before, "{revision}: {after} after {before}");
        assert!(
            after.term <= 10_000 && after.counter < 1000,
            "{revision}: {after}"
        );
    }
}

#[test]
fn s3_a_signature_of_another_account_or_of_nobody_is_repaired() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let db = cluster.get("smilax-db").data.unwrap();
    cluster.patch(WEB, |data| *data = db);
    assert!(matches!(cluster.standing(WEB), Standing::Tampered(_)));
    assert_eq!(cluster.streamed(WEB), None);
    assert_eq!(tampered(&cluster.pass()).len(), 1);
    assert_eq!(cluster.standing(WEB), Standing::Current);

    // Stripped, with another content.
    cluster.patch(WEB, |data| {
        data.remove(SIGNATURE_KEY);
        let policy = forged(&data[POLICY], "1.1");
        data.insert(POLICY.to_owned(), policy);
    });
    assert_eq!(cluster.standing(WEB), Standing::Unsigned);
    assert_eq!(cluster.streamed(WEB), None);
    let repair = cluster.pass();
    assert!(tampered(&repair)[0].contains("is not signed"));
    assert_eq!(cluster.standing(WEB), Standing::Current);

    // Another trust bundle beside the policy.
    cluster.patch(WEB, |data| {
        data.insert("trust-bundle.json".to_owned(), "{}".to_owned());
    });
    assert!(matches!(cluster.standing(WEB), Standing::Tampered(_)));
    assert_eq!(tampered(&cluster.pass()).len(), 1);
}

#[test]
fn s3_an_old_backup_of_every_configuration_is_replaced_and_told_to_nobody() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let backup = cluster.stored.clone();
    // Policy changes: pods are reached under another suffix.
    cluster.state.update(|inner| {
        inner.index.set_settings(Settings {
            cluster_domain: "mesh.local".to_owned(),
            ..Settings::default()
        });
    });
    cluster.pass();
    let before = cluster.revision(WEB);
    for (name, map) in &backup {
        cluster.put(name, map.clone());
        assert!(
            matches!(cluster.standing(name), Standing::Replayed { .. }),
            "{name}"
        );
        assert_eq!(cluster.streamed(name), None);
    }
    let repair = cluster.pass();
    // A lagging API server shows the same, so nobody is accused.
    assert_eq!(tampered(&repair), [""; 0]);
    for name in backup.keys() {
        assert_eq!(cluster.standing(name), Standing::Current);
        assert!(cluster.revision(name) > before);
        assert!(cluster.streamed(name).unwrap().contains("mesh.local"));
    }
}

#[test]
fn s3_a_deleted_configuration_does_not_come_back_as_an_older_one() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let old = cluster.get(WEB);
    cluster.patch(WEB, |data| {
        data.insert(POLICY.to_owned(), "x".to_owned());
    });
    cluster.pass();
    cluster.state.update(|inner| {
        inner.set_map("shop", WEB, None);
        inner.index.mark("shop");
    });
    cluster.put(WEB, old);
    assert!(matches!(cluster.standing(WEB), Standing::Replayed { .. }));
    assert_eq!(cluster.streamed(WEB), None);
}

#[test]
fn s3_an_upgrade_signs_what_the_version_before_wrote_and_calls_nobody_an_attacker() {
    let mut cluster = Cluster::new(5);
    cluster.pass();
    assert_eq!(cluster.standing(WEB), Standing::Unchecked);
    let unsigned = cluster.revision(WEB);
    assert_eq!(cluster.state.read(|inner| inner.anchors()), None);
    let mut cluster = cluster.signing(&material());
    assert_eq!(cluster.standing(WEB), Standing::Unsigned);
    assert_eq!(
        cluster.state.read(|inner| inner.anchors()),
        None,
        "pods that are created now would wait for a signature"
    );
    let upgrade = cluster.pass();
    assert_eq!(tampered(&upgrade), [""; 0]);
    assert_eq!(cluster.standing(WEB), Standing::Current);
    assert!(cluster.revision(WEB) > unsigned);
    let anchors = cluster.state.read(|inner| inner.anchors()).unwrap();
    assert_eq!(anchors.roots.len(), 64);
    assert_eq!(anchors.trust_domain, TrustDomain::default());
}

#[test]
fn s3_another_authority_signs_again_what_stands_there_under_the_same_revision() {
    let first = material();
    let mut cluster = Cluster::new(5).signing(&first);
    cluster.pass();
    let before = cluster.revision(WEB);
    // The issuer is renewed; the root is the same.
    let reissued = first
        .carry_out(
            &Step::Reissue {
                next: Next::SelfMade,
                request: None,
            },
            0,
            OffsetDateTime::now_utc(),
        )
        .unwrap();
    cluster.state.take_integrity(integrity(&reissued));
    assert_eq!(cluster.standing(WEB), Standing::Earlier);
    assert!(cluster.streamed(WEB).is_some());
    let again = cluster.pass();
    assert_eq!(tampered(&again), [""; 0]);
    assert_eq!(cluster.standing(WEB), Standing::Current);
    assert_eq!(cluster.revision(WEB), before);
    assert_eq!(cluster.pass().maps, []);
}

#[test]
fn s3_a_leader_signs_nothing_that_it_compared_before_it_could_judge() {
    let (material, bundle) = (material(), r#"{"generation":99,"roots":"theirs","issuer":""}"#);
    let mut cluster = Cluster::new(5).signing(&material);
    cluster.pass();
    // Before the next leader knows who signs, it finds a bundle of somebody else's, and compiles another policy beside it.
    cluster.patch(WEB, |data| {
        data.insert("trust-bundle.json".to_owned(), bundle.to_owned());
    });
    let mut next = Cluster::new(6);
    next.put(WEB, cluster.get(WEB));
    next.state.update(|inner| {
        inner.index.set_settings(Settings {
            cluster_domain: "mesh.local".to_owned(),
            ..Settings::default()
        });
    });
    let batch = next.compile();
    next.state.take_integrity(integrity(&material));
    next.write(&batch);
    assert!(next.get(WEB).data.unwrap()["trust-bundle.json"].contains("theirs"));
    assert_eq!(next.standing(WEB), Standing::Unsigned);
    assert_eq!(next.streamed(WEB), None);
    let trusted = smilax_core::workload_connection::TrustBundle::default();
    next.state.update(|inner| inner.set_bundle(&trusted));
    next.pass();
    assert_eq!(next.standing(WEB), Standing::Current);
    let data = next.get(WEB).data.unwrap();
    assert!(!data["trust-bundle.json"].contains("theirs"));
}

#[test]
fn s3_an_old_trust_bundle_beside_the_same_policy_is_replaced() {
    let mut cluster = Cluster::new(5).signing(&material());
    let bundle = |generation| smilax_core::workload_connection::TrustBundle {
        generation,
        ..Default::default()
    };
    cluster.state.update(|inner| inner.set_bundle(&bundle(1)));
    cluster.pass();
    let old = cluster.get(WEB);
    let revision = cluster.revision(WEB);
    cluster.state.update(|inner| inner.set_bundle(&bundle(2)));
    cluster.pass();
    assert_eq!(cluster.revision(WEB), revision, "the policy is the same");
    cluster.put(WEB, old);
    assert!(matches!(cluster.standing(WEB), Standing::Replayed { .. }));
    assert_eq!(cluster.streamed(WEB), None);
    cluster.pass();
    assert_eq!(cluster.standing(WEB), Standing::Current);
    assert!(cluster.get(WEB).data.unwrap()["trust-bundle.json"].contains(r#""generation":2"#));
}

#[test]
fn s3_what_another_mesh_below_the_same_root_signed_is_told_of_and_repaired() {
    let (material, other) = (material(), "other.example".parse().unwrap());
    let mut theirs = Cluster::new(9);
    theirs.state.update(|inner| {
        inner.index.set_settings(Settings {
            trust_domain: TrustDomain::clone(&other),
            ..Settings::default()
        });
    });
    theirs.state.take_integrity(integrity_of(&material, &other));
    theirs.pass();
    assert_eq!(theirs.standing(WEB), Standing::Current);
    let mut cluster = Cluster::new(5).signing(&material);
    cluster.pass();
    cluster.put(WEB, theirs.get(WEB));
    assert_eq!(cluster.streamed(WEB), None);
    let told = tampered(&cluster.pass());
    assert!(told[0].contains("trust domain other.example"), "{told:?}");
    assert_eq!(cluster.standing(WEB), Standing::Current);
}

#[test]
fn s3_another_trust_domain_of_the_mesh_accuses_nobody_and_waits_for_its_signer() {
    let (material, other): (_, TrustDomain) = (material(), "mesh.example".parse().unwrap());
    let mut cluster = Cluster::new(5).signing(&material);
    cluster.pass();
    cluster.state.update(|inner| {
        inner.index.set_settings(Settings {
            trust_domain: other.clone(),
            ..Settings::default()
        });
    });
    assert_eq!(cluster.pass().maps, [], "proxies would refuse its signature");
    cluster.state.take_integrity(integrity_of(&material, &other));
    assert_eq!(cluster.standing(WEB), Standing::Earlier);
    let written = cluster.pass();
    assert_eq!(tampered(&written), [""; 0]);
    assert_eq!(cluster.standing(WEB), Standing::Current);
    assert!(cluster.streamed(WEB).unwrap().contains("mesh.example"));
}

#[test]
fn s3_the_first_pods_of_a_mesh_demand_signatures() {
    let cluster = Cluster::new(5).signing(&material());
    assert!(cluster.state.read(|inner| inner.anchors()).is_some());
}

#[test]
fn s3_what_was_verified_beforehand_is_not_verified_for_another_content() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let mut honest = stored_map(&cluster.get(WEB));
    cluster.state.prepare_map("shop", WEB, &mut honest);
    cluster.patch(WEB, |data| {
        let policy = forged(&data[POLICY], "9999.1");
        data.insert(POLICY.to_owned(), policy);
    });
    assert!(matches!(cluster.standing(WEB), Standing::Tampered(_)));
}

/// How long the configurations of a large mesh take to be verified, and how long others wait for the state meanwhile.
#[test]
#[ignore = "it prints a measurement; run it with --release"]
fn cost_of_two_thousand_configurations() {
    const COUNT: usize = 2_000;
    let material = material();
    let mut cluster = Cluster::new(5).signing(&material);
    cluster.pass();
    let map = cluster.get(WEB);
    let policy = map.data.as_ref().unwrap()[POLICY].as_bytes().to_vec();
    let signer = integrity(&material);
    let state = State::new(Settings::default());
    let maps = (0..COUNT).map(|number| {
        let account = format!("account-{number}");
        let workload = smilax_core::Workload::new("shop", account.as_str());
        let mut content = stored_map(&map).content.unwrap();
        let signature = signer.sign(&workload, &policy, content.bundle.as_bytes());
        content.signature = signature.unwrap().into();
        let stored = StoredMap::of(account, content);
        ("shop".to_owned(), config_map_name(&stored.account), stored)
    });
    let maps: Vec<_> = maps.collect();
    state.read(|inner| inner.reset_maps(maps));
    let (done, begin) = (
        std::sync::atomic::AtomicBool::new(false),
        std::time::Instant::now(),
    );
    let (all, longest) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut longest = std::time::Duration::ZERO;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let begin = std::time::Instant::now();
                state.read(|inner| inner.knows_signer());
                longest = longest.max(begin.elapsed());
                std::thread::yield_now();
            }
            longest
        });
        state.take_integrity(signer);
        let all = begin.elapsed();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        (all, waiting.join().unwrap())
    });
    let current = |map: &StoredMap| map.standing == Standing::Current;
    assert!(state.read(|inner| inner.maps["shop"].values().all(current)));
    println!("{COUNT} configurations: verified in {all:?}; others waited {longest:?} at most");
}

#[test]
fn s3_what_cannot_be_repaired_is_not_signed_with_a_new_bundle() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    cluster.patch(WEB, |data| {
        let policy = forged(&data[POLICY], "9999.1");
        data.insert(POLICY.to_owned(), policy);
    });
    let stored = cluster.state.read(|inner| inner.maps["shop"].clone());
    let mut config = smilax_core::ProxyConfig::empty(smilax_core::Workload::new("shop", "web"));
    config.cluster_domain = "x".repeat(smilax_core::packed::MOST_TEXT + 1);
    let desired = BTreeMap::from([(config_map_name("web"), config)]);
    let compared = crate::controller::change::map_changes(
        &stored,
        &desired,
        Some("{\"generation\":8}"),
        &mut Sequence::new(5, Revision::default()),
    );
    assert_eq!(compared.too_large.len(), 1);
    let applied = compared
        .changes
        .iter()
        .any(|change| matches!(change, MapChange::Apply { .. }));
    assert!(!applied, "a forged policy must not be signed");
}

#[test]
fn names_that_were_cut_are_signed_for_their_accounts() {
    let account = "a".repeat(252);
    let object = json!({
        "metadata": {"name": config_map_name(&account), "annotations": {"smilax.dev/account": account}},
    });
    assert_eq!(
        stored_map(&serde_json::from_value(object).unwrap()).account,
        account
    );
    let lied = json!({"metadata": {"name": "smilax-web", "annotations": {"smilax.dev/account": "db"}}});
    assert_eq!(stored_map(&serde_json::from_value(lied).unwrap()).account, "web");
}
