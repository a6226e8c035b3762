use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus::Registry;
use serde_json::{Value, json};
use smilax_compiler::index::Settings;
use time::Duration;
use tokio::sync::watch;

use super::{Material, fresh, given_data, start};
use crate::authority::shell::Keeper;
use crate::authority::{AuthorityMetrics, AuthorityTask, InUse};
use crate::controller::State;
use crate::lease::Leadership;
use crate::testing::Api;

const SECRETS: &str = "/api/v1/namespaces/smilax-system/secrets";
const SECRET: &str = "/api/v1/namespaces/smilax-system/secrets/smilax-ca";
const GIVEN: &str = "/api/v1/namespaces/smilax-system/secrets/corporate";

struct Fixture {
    api: Api,
    state: Arc<State>,
    keeper: Keeper,
    in_use: watch::Receiver<Option<Arc<InUse>>>,
}

fn fixture(given: Option<&str>) -> Fixture {
    let (api, state) = (Api::default(), State::new(Settings::default()));
    let (in_use, seen) = watch::channel(None);
    let (_, leadership) = watch::channel(Leadership::Follower);
    let task = AuthorityTask {
        state: Arc::clone(&state),
        pods: Arc::new(Vec::new),
        metrics: AuthorityMetrics::new(&Registry::new()).unwrap(),
        leadership,
        namespace: "smilax-system".to_owned(),
        given: given.map(ToOwned::to_owned),
        in_use,
    };
    let keeper = Keeper::new(api.client(), task);
    Fixture {
        api,
        state,
        keeper,
        in_use: seen,
    }
}

impl Fixture {
    fn in_use(&self) -> Arc<InUse> {
        self.in_use.borrow().clone().unwrap()
    }

    fn stored(&self) -> Material {
        let secret = self.api.get(SECRET).unwrap();
        let data = secret["data"].as_object().unwrap();
        let data = data.iter().map(|(name, value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
            (name.clone(), bytes)
        });
        Material::from_data(&data.collect()).unwrap()
    }
}

fn secret(name: &str, data: std::collections::BTreeMap<String, Vec<u8>>) -> Value {
    let data: serde_json::Map<_, _> = data
        .into_iter()
        .map(|(entry, bytes)| (entry, json!(STANDARD.encode(bytes))))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": name, "namespace": "smilax-system", "resourceVersion": "1"},
    })
}

fn ours(material: &Material) -> Value {
    secret("smilax-ca", material.to_data())
}

#[tokio::test]
async fn the_first_replica_makes_the_authority_and_uses_it() {
    let mut fixture = fixture(None);
    fixture.keeper.ensure(start()).await.unwrap();
    assert_eq!(fixture.api.writes(), [format!("POST {SECRETS}")]);
    let bundle = fixture.in_use().bundle.clone();
    assert_eq!(
        bundle.generation,
        u64::try_from(start().unix_timestamp()).unwrap()
    );
    let text = fixture.state.read(|inner| inner.bundle().map(ToOwned::to_owned));
    assert_eq!(text.unwrap(), serde_json::to_string(&bundle).unwrap());
}

#[tokio::test]
async fn the_second_replica_takes_what_the_first_has_made() {
    let mut fixture = fixture(None);
    let theirs = fresh();
    fixture.api.overtake(SECRET, ours(&theirs));
    fixture.keeper.ensure(start()).await.unwrap();
    assert_eq!(fixture.stored(), theirs);
    assert_eq!(*fixture.in_use().authority.material(), theirs);
}

#[tokio::test]
async fn r19_a_deleted_secret_is_put_back_as_it_was() {
    let mut fixture = fixture(None);
    fixture.keeper.ensure(start()).await.unwrap();
    let before = fixture.stored();
    fixture.api.remove(SECRET);
    let in_use = fixture.in_use();
    fixture.keeper.lost();
    fixture.keeper.put_back(&in_use, start()).await.unwrap();
    assert_eq!(fixture.stored(), before);
}

#[tokio::test]
async fn r19_a_deleted_secret_that_could_not_be_put_back_is_put_back_later() {
    let mut fixture = fixture(None);
    fixture.keeper.ensure(start()).await.unwrap();
    let before = fixture.stored();
    fixture.api.remove(SECRET);
    let in_use = fixture.in_use();
    fixture.keeper.lost();
    fixture.api.refuse(1);
    fixture.keeper.put_back(&in_use, start()).await.unwrap_err();
    assert!(fixture.keeper.meta.is_none(), "it is known to be missing");
    fixture.keeper.put_back(&in_use, start()).await.unwrap();
    assert_eq!(fixture.stored(), before);
}

#[tokio::test]
async fn r19_a_broken_secret_changes_nothing_and_makes_no_new_root() {
    let mut fixture = fixture(None);
    fixture.api.put(SECRET, ours(&fresh()));
    fixture.keeper.ensure(start()).await.unwrap();
    let before = fixture.in_use();
    let mut broken = fixture.api.get(SECRET).unwrap();
    broken["data"]["issuer.key"] = json!(STANDARD.encode("broken"));
    fixture.api.put(SECRET, broken.clone());
    fixture
        .keeper
        .adopt(serde_json::from_value(broken.clone()).unwrap(), start());
    fixture.api.writes();
    fixture.keeper.lead(start()).await.unwrap();
    assert!(Arc::ptr_eq(&before, &fixture.in_use()));
    assert_eq!(fixture.api.writes(), Vec::<String>::new());
    assert!(fixture.keeper.fault.as_ref().unwrap().contains("issuer.key"));
    // Nor after a restart, when nothing is in use.
    let mut restarted = self::fixture(None);
    restarted.api.put(SECRET, broken.clone());
    let error = restarted.keeper.ensure(start()).await.unwrap_err().to_string();
    assert!(error.contains("issuer.key"), "{error}");
    assert_eq!(restarted.api.get(SECRET).unwrap(), broken);
    assert!(restarted.in_use.borrow().is_none());
}

#[tokio::test]
async fn a_secret_from_before_a_change_is_not_taken_back_into_use() {
    let mut fixture = fixture(None);
    let old = fresh();
    let new = old.carry_out(&super::announce(), 0, start()).unwrap();
    fixture.api.put(SECRET, ours(&new));
    fixture.keeper.ensure(start()).await.unwrap();
    fixture
        .keeper
        .adopt(serde_json::from_value(ours(&old)).unwrap(), start());
    assert_eq!(*fixture.in_use().authority.material(), new);
    assert!(fixture.keeper.fault.is_some());
}

#[tokio::test]
async fn the_leader_takes_each_step_by_one_write_and_another_goes_on_from_there() {
    let late = start() + Duration::days(2434);
    let api = {
        let mut fixture = fixture(None);
        fixture.api.put(SECRET, ours(&fresh()));
        fixture.keeper.ensure(start()).await.unwrap();
        fixture.keeper.lead(late).await.unwrap();
        assert_eq!(fixture.api.writes(), [format!("PUT {SECRET}")]);
        assert_eq!(fixture.stored().phase(), "announced");
        assert_eq!(*fixture.in_use().authority.material(), fixture.stored());
        fixture.api
    };
    let mut successor = fixture(None);
    successor.api.put(SECRET, api.get(SECRET).unwrap());
    successor.keeper.ensure(late).await.unwrap();
    for phase in ["renewing", "steady", "steady"] {
        successor.keeper.lead(late).await.unwrap();
        assert_eq!(successor.stored().phase(), phase);
    }
}

#[tokio::test]
async fn a_secret_that_somebody_else_wrote_meanwhile_is_read_again() {
    let mut fixture = fixture(None);
    fixture.api.put(SECRET, ours(&fresh()));
    fixture.keeper.ensure(start()).await.unwrap();
    let theirs = fixture
        .stored()
        .carry_out(&super::announce(), 0, start())
        .unwrap();
    let mut written = ours(&theirs);
    written["metadata"]["resourceVersion"] = json!("77");
    fixture.api.put(SECRET, written);
    fixture.keeper.lead(start() + Duration::days(2434)).await.unwrap();
    assert_eq!(*fixture.in_use().authority.material(), theirs);
}

#[tokio::test]
async fn s3_a_signer_that_cannot_be_made_leaves_the_one_before_and_is_told_of_and_made_later() {
    let mut fixture = fixture(None);
    let first = fresh();
    fixture.api.put(SECRET, ours(&first));
    assert!(!fixture.state.read(|inner| inner.knows_signer()));
    fixture.keeper.ensure(start()).await.unwrap();
    let before = fixture.state.read(|inner| inner.integrity().cloned()).unwrap();
    let unusable = |fixture: &Fixture| {
        let unusable = &fixture.keeper.task.metrics.unusable;
        unusable.with_label_values(&["signer"]).get()
    };
    let for_tls = super::for_tls_alone(&first);
    let adopted = serde_json::from_value(ours(&for_tls)).unwrap();
    fixture.keeper.adopt(adopted, start());
    assert_eq!(*fixture.in_use().authority.material(), for_tls);
    let still = fixture.state.read(|inner| inner.integrity().cloned()).unwrap();
    assert!(Arc::ptr_eq(&before, &still));
    assert_eq!(unusable(&fixture), 1);
    assert!(fixture.keeper.signer_fault.is_some());
    // It is not tried in every round.
    fixture.keeper.keep_signer(start());
    assert_eq!(fixture.keeper.signer_attempts, 1);
    fixture.keeper.keep_signer(start() + Duration::seconds(2));
    assert_eq!(fixture.keeper.signer_attempts, 2);
    let mut next = first.clone();
    next.generation += 2;
    let adopted = serde_json::from_value(ours(&next)).unwrap();
    fixture.keeper.adopt(adopted, start());
    assert_eq!((unusable(&fixture), &fixture.keeper.signer_fault), (0, &None));
    let now = fixture.state.read(|inner| inner.integrity().cloned()).unwrap();
    assert!(!Arc::ptr_eq(&before, &now));
}

#[tokio::test]
async fn s3_a_replica_knows_at_once_that_nobody_can_sign() {
    let mut fixture = fixture(None);
    fixture.api.put(SECRET, ours(&super::for_tls_alone(&fresh())));
    fixture.keeper.ensure(start()).await.unwrap();
    let known = fixture
        .state
        .read(|inner| (inner.knows_signer(), inner.integrity().is_some(), inner.anchors()));
    assert_eq!(known, (true, false, None));
}

#[tokio::test]
async fn what_the_user_gives_signs_and_what_is_unusable_leaves_everything_as_it_was() {
    let mut fixture = fixture(Some("corporate"));
    assert!(
        fixture.keeper.ensure(start()).await.is_err(),
        "no root of our own instead"
    );
    let theirs = fresh();
    fixture.api.put(GIVEN, secret("corporate", given_data(&theirs)));
    fixture.keeper.ensure(start()).await.unwrap();
    assert_eq!(fixture.stored().signer.issuer, theirs.signer.issuer);
    assert_eq!(fixture.stored().signer.root_key, None);
    let before = fixture.in_use();
    let mut broken = given_data(&fresh());
    broken.insert("tls.key".to_owned(), b"broken".to_vec());
    let broken = serde_json::from_value(secret("corporate", broken)).unwrap();
    fixture.keeper.take_given(Some(broken), start());
    fixture.keeper.lead(start()).await.unwrap();
    assert!(Arc::ptr_eq(&before, &fixture.in_use()));
    let next = serde_json::from_value(secret("corporate", given_data(&fresh()))).unwrap();
    fixture.keeper.take_given(Some(next), start());
    fixture.keeper.lead(start()).await.unwrap();
    assert_eq!(fixture.stored().phase(), "announced");
}
