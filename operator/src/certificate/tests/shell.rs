use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus::Registry;
use serde_json::{Value, json};
use time::Duration;

use super::{fresh, names, start};
use crate::certificate::shell::Keeper;
use crate::certificate::{CertificateMetrics, CertificateResolver, Material, targets};
use crate::testing::Api;

const SECRETS: &str = "/api/v1/namespaces/smilax-system/secrets";
const SECRET: &str = "/api/v1/namespaces/smilax-system/secrets/smilax-webhook-tls";

fn keeper(api: &Api) -> Keeper {
    let client = api.client();
    Keeper {
        secrets: kube::Api::namespaced(client.clone(), "smilax-system"),
        client,
        resolver: CertificateResolver::new(),
        metrics: CertificateMetrics::new(&Registry::new()).unwrap(),
        namespace: "smilax-system".to_owned(),
        names: names(),
        current: None,
        missing: HashSet::new(),
    }
}

fn secret(material: &Material) -> Value {
    let data: BTreeMap<_, _> = material
        .to_data()
        .into_iter()
        .map(|(entry, bytes)| (entry, STANDARD.encode(bytes)))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": "smilax-webhook-tls", "namespace": "smilax-system", "resourceVersion": "1"},
    })
}

fn path(target: crate::certificate::Target) -> String {
    let (group, version, _, plural) = target.resource();
    format!("/apis/{group}/{version}/{plural}/{}", target.name())
}

/// Everything that the charts install, without bundles.
fn install(api: &Api) {
    for target in targets() {
        let (group, version, kind, _) = target.resource();
        let service = |name: &str| json!({"service": {"name": name, "namespace": "smilax-system"}});
        let mut object = json!({
            "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": target.name()},
        });
        if kind == "CustomResourceDefinition" {
            object["spec"] =
                json!({"conversion": {"webhook": {"clientConfig": service("smilax-conversion")}}});
        } else {
            object["webhooks"] = json!([{"name": "one", "clientConfig": service("smilax-webhook")}]);
        }
        api.put(&path(target), object);
    }
}

fn bundles(api: &Api) -> Vec<String> {
    let bundle = |object: Value| {
        let config = [
            "/webhooks/0/clientConfig",
            "/spec/conversion/webhook/clientConfig",
        ]
        .iter()
        .find_map(|pointer| object.pointer(pointer))
        .unwrap()
        .clone();
        let decoded = STANDARD.decode(config["caBundle"].as_str().unwrap_or_default());
        String::from_utf8(decoded.unwrap()).unwrap()
    };
    targets()
        .into_iter()
        .map(|target| bundle(api.get(&path(target)).unwrap()))
        .collect()
}

#[tokio::test]
async fn the_first_replica_makes_the_secret_and_serves_it() {
    let api = Api::default();
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    assert_eq!(api.writes(), [format!("POST {SECRETS}")]);
    assert!(keeper.resolver.is_ready());
    assert_eq!(api.get(SECRET).unwrap()["type"], "Opaque");
}

#[tokio::test]
async fn the_second_replica_takes_what_the_first_has_made() {
    let api = Api::default();
    let theirs = secret(&fresh());
    api.overtake(SECRET, theirs.clone());
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    assert_eq!(api.get(SECRET).unwrap(), theirs);
    assert!(keeper.resolver.is_ready());
}

#[tokio::test]
async fn the_leader_publishes_the_bundle_everywhere_once() {
    let api = Api::default();
    install(&api);
    let material = fresh();
    api.put(SECRET, secret(&material));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    let expected: Vec<_> = targets()
        .into_iter()
        .map(|target| format!("PATCH {}", path(target)))
        .collect();
    assert_eq!(api.writes(), expected);
    assert_eq!(bundles(&api), vec![material.bundle(); targets().len()]);

    keeper.lead(start()).await.unwrap();
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_foreign_change_is_put_right() {
    let api = Api::default();
    install(&api);
    api.put(SECRET, secret(&fresh()));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    api.writes();
    let target = path(targets()[1]);
    let mut changed = api.get(&target).unwrap();
    changed["webhooks"][0]["clientConfig"]["caBundle"] = json!("eA==");
    api.put(&target, changed);
    keeper.lead(start()).await.unwrap();
    assert_eq!(api.writes(), [format!("PATCH {target}")]);
}

#[tokio::test]
async fn what_is_not_installed_is_reported_and_never_made() {
    let api = Api::default();
    api.put(SECRET, secret(&fresh()));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    assert_eq!(api.writes(), Vec::<String>::new());
    assert_eq!(keeper.missing.len(), targets().len());
    let missing = keeper.metrics.missing.with_label_values(&["smilax-inject"]);
    assert_eq!(missing.get(), 1);

    install(&api);
    keeper.lead(start()).await.unwrap();
    assert!(keeper.missing.is_empty());
    assert_eq!(missing.get(), 0);
}

#[tokio::test]
async fn the_leader_renews_in_time_and_loads_what_it_wrote() {
    let api = Api::default();
    install(&api);
    let material = fresh();
    api.put(SECRET, secret(&material));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    api.writes();
    keeper.lead(start() + Duration::days(20)).await.unwrap();
    assert_eq!(api.writes(), [format!("PUT {SECRET}")]);
    let expiry = keeper.metrics.not_after.with_label_values(&["serving"]).get();
    assert_eq!(expiry, (start() + Duration::days(50)).unix_timestamp());
    assert_eq!(bundles(&api)[0], material.bundle());
}

#[tokio::test]
async fn an_announced_authority_is_published_at_once() {
    let api = Api::default();
    install(&api);
    let old = fresh();
    let late = Duration::days(244);
    let due = old
        .carry_out(
            &crate::certificate::Plan::Renew {
                reason: String::new(),
            },
            &names(),
            start() + late,
        )
        .unwrap();
    api.put(SECRET, secret(&due));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start() + late).await.unwrap();
    for bundle in bundles(&api) {
        assert!(bundle.len() > old.bundle().len() && bundle.contains(&old.bundle()));
    }
}

#[tokio::test]
async fn a_secret_that_somebody_else_wrote_meanwhile_is_read_again() {
    let api = Api::default();
    install(&api);
    api.put(SECRET, secret(&fresh()));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    let due = start() + Duration::days(20);
    let mut theirs = secret(&Material::create(&names(), due).unwrap());
    theirs["metadata"]["resourceVersion"] = json!("77");
    api.put(SECRET, theirs.clone());
    keeper.lead(due).await.unwrap();
    assert_eq!(api.get(SECRET).unwrap(), theirs);
    api.writes();
    keeper.lead(due).await.unwrap();
    assert!(api.writes().iter().all(|write| write.starts_with("PATCH")));
}

#[tokio::test]
async fn a_broken_secret_keeps_what_was_served_and_the_leader_mends_it() {
    let api = Api::default();
    install(&api);
    let mut broken = secret(&fresh());
    broken["data"]["tls.crt"] = json!(STANDARD.encode("broken"));
    api.put(SECRET, broken);
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    assert!(!keeper.resolver.is_ready());
    keeper.lead(start()).await.unwrap();
    assert!(keeper.resolver.is_ready());
}

#[tokio::test]
async fn a_deleted_secret_is_put_back_as_it_was_even_if_not_at_the_first_try() {
    let api = Api::default();
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    let data = |api: &Api| api.get(SECRET).unwrap()["data"].clone();
    let before = data(&api);
    api.remove(SECRET);
    keeper.lost();
    api.refuse(1);
    keeper.put_back().await.unwrap_err();
    assert!(
        keeper.current.as_ref().unwrap().meta.is_none(),
        "it is known to be missing"
    );
    keeper.put_back().await.unwrap();
    assert_eq!(data(&api), before);
}

#[tokio::test]
async fn a_secret_that_goes_while_it_is_renewed_is_put_back_and_makes_no_new_authority() {
    let api = Api::default();
    install(&api);
    let material = fresh();
    api.put(SECRET, secret(&material));
    let mut keeper = keeper(&api);
    keeper.ensure().await.unwrap();
    keeper.lead(start()).await.unwrap();
    api.remove(SECRET);
    keeper.lead(start() + Duration::days(20)).await.unwrap();
    assert_eq!(api.get(SECRET).unwrap()["data"], secret(&material)["data"]);
}
