use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use prometheus::Registry;
use serde_json::json;
use smilax_compiler::model::{Meta, Pod};
use smilax_core::workload_connection::{
    Ack, CONNECT_PATH, CertificateInfo, KeyId, OperatorMessage, Outcome, ProxyMessage, Subject,
};
use smilax_core::{Members, Workload};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::timeout;

use super::support::{NAMESPACE, authority, client_config, context};
use super::{Client, Fixture, hello};
use crate::authority::{Authority, Next, Step};
use crate::lease::Leadership;
use crate::testing::Api;
use crate::workload_server::fleet::{Fleet, Place, Report};
use crate::workload_server::relay::FLEET_PATH;
use crate::workload_server::{FleetStore, Tcp, WorkloadMetrics, relay};

const PATIENCE: Duration = Duration::from_secs(20);

fn web() -> Workload {
    Workload::new("shop", "web")
}

/// Waits until the fleet is as it should be.
async fn until(fleet: &FleetStore, holds: impl Fn(&Fleet) -> bool) {
    let mut changes = fleet.changes();
    timeout(PATIENCE, async {
        while !holds(&fleet.known()) {
            changes.changed().await.unwrap();
        }
    })
    .await
    .expect("the fleet comes to be so");
}

fn announced(authority: &Authority) -> Authority {
    step(
        authority,
        &Step::Announce {
            next: Next::SelfMade,
            request: None,
        },
    )
}

fn step(authority: &Authority, step: &Step) -> Authority {
    let now = OffsetDateTime::now_utc();
    let next = authority.material().carry_out(step, 0, now).unwrap();
    Authority::examine(next, now).unwrap()
}

#[tokio::test]
async fn a_proxy_is_told_at_once_and_whenever_something_changes() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    let first = OperatorMessage::Bundle(fixture.authority.bundle());
    assert_eq!(stream.hear().await, Some(first));
    assert_eq!(
        stream.hear().await,
        Some(OperatorMessage::Members(Members::default()))
    );
    let next = announced(&fixture.authority);
    fixture.contexts.send_replace(Some(context(&next)));
    assert_eq!(stream.hear().await, Some(OperatorMessage::Bundle(next.bundle())));
}

#[tokio::test]
async fn what_a_proxy_tells_is_kept_by_the_uid_of_its_certificate() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let stream = client.stream(hello("web-1", 6)).await;
    until(&fixture.fleet, |fleet| fleet.0.contains_key("u-1")).await;
    stream.say(&ProxyMessage::Ack(Ack {
        subject: Subject::Bundle(7),
        outcome: Outcome::Applied,
    }));
    let certificate = CertificateInfo {
        issuer: KeyId("k".to_owned()),
        not_after: 1,
    };
    stream.say(&ProxyMessage::Certificate(certificate.clone()));
    until(&fixture.fleet, |fleet| fleet.0["u-1"].certificate.is_some()).await;
    let report = fixture.fleet.known().0["u-1"].clone();
    assert_eq!((report.workload, report.bundle), (web(), Some(7)));
    assert_eq!(report.certificate, Some(certificate));
    drop(stream);
    drop(client);
    let connected = || fixture.fleet.connected().0.is_empty();
    until(&fixture.fleet, |_| connected()).await;
    assert_eq!(fixture.fleet.known().0["u-1"].bundle, Some(7));
}

#[tokio::test]
async fn f5_nobody_without_a_pods_certificate_of_this_mesh_is_told_anything() {
    let fixture = Fixture::start().await;
    let mut stranger = fixture.stranger().await;
    let status = stranger.stream(hello("web-1", 7)).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let without_uid = client_config(&fixture.authority, Some((&fixture.authority, &web(), None)));
    let mut client = Client::connect(fixture.address, &without_uid).await.unwrap();
    let status = client.stream(hello("web-1", 7)).await.status;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let elsewhere = authority();
    let foreign = client_config(&fixture.authority, Some((&elsewhere, &web(), Some("u-1"))));
    let refused = match Client::connect(fixture.address, &foreign).await {
        Err(_) => true,
        // A client of TLS 1.3 hears of the refusal with its first request.
        Ok(mut client) => client
            .post(CONNECT_PATH, Full::default().boxed_unsync())
            .await
            .is_err(),
    };
    assert!(refused);
    assert_eq!(fixture.fleet.known(), Fleet::default());
}

#[tokio::test]
async fn f5_no_pod_speaks_for_another_replica() {
    let fixture = Fixture::start().await;
    let operator = Workload::new("smilax-system", "smilax-operator");
    for (workload, uid) in [
        (web(), Some("u-1")),
        (operator.clone(), Some("u-2")),
        (web(), None),
    ] {
        let config = client_config(&fixture.authority, Some((&fixture.authority, &workload, uid)));
        let mut client = Client::connect(fixture.address, &config).await.unwrap();
        let response = client.post(FLEET_PATH, Full::default().boxed_unsync()).await;
        assert_eq!(
            response.unwrap().status(),
            StatusCode::FORBIDDEN,
            "{workload} {uid:?}"
        );
    }
}

#[tokio::test]
async fn f9_a_proxy_that_does_not_read_holds_up_nobody_and_later_hears_the_newest_only() {
    let fixture = Fixture::start().await;
    let mut slow = fixture.pod(&web(), "slow").await;
    let mut stuck = slow.stream(hello("slow", 7)).await;
    let mut quick = fixture.pod(&web(), "quick").await;
    let mut reading = quick.stream(hello("quick", 7)).await;
    for _ in 0..2 {
        reading.hear().await;
    }
    // More than all buffers between hold.
    let mut newest = fixture.authority.clone();
    for _ in 0..400 {
        newest = step(&newest, &Step::Raise);
        fixture.contexts.send_replace(Some(context(&newest)));
        let heard = timeout(PATIENCE, reading.hear()).await.unwrap();
        assert_eq!(heard, Some(OperatorMessage::Bundle(newest.bundle())));
    }
    let mut heard = 0;
    timeout(PATIENCE, async {
        loop {
            heard += 1;
            if stuck.hear().await.unwrap() == OperatorMessage::Bundle(newest.bundle()) {
                break;
            }
        }
    })
    .await
    .unwrap();
    assert!(heard < 200, "{heard}");
}

#[tokio::test]
async fn a_pods_second_stream_takes_the_place_of_its_first() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut first = client.stream(hello("web-1", 1)).await;
    until(&fixture.fleet, |fleet| fleet.0.contains_key("u-1")).await;
    let mut again = fixture.pod(&web(), "u-1").await;
    let _second = again.stream(hello("web-1", 2)).await;
    until(&fixture.fleet, |fleet| fleet.0["u-1"].bundle == Some(2)).await;
    let ended = async { while first.hear().await.is_some() {} };
    timeout(PATIENCE, ended).await.expect("the first stream ends");
}

#[tokio::test]
async fn c9_a_connection_ends_when_its_root_is_no_longer_trusted() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    stream.hear().await;
    let both = announced(&fixture.authority);
    let new = step(&both, &Step::HandOver { request: None });
    fixture.contexts.send_replace(Some(context(&new)));
    stream.hear().await;
    assert!(!client.ended.is_finished(), "while both are trusted it goes on");
    let done = step(&new, &Step::Finish { request: None });
    fixture.contexts.send_replace(Some(context(&done)));
    timeout(PATIENCE, client.ended).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_messages_end_the_stream() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    until(&fixture.fleet, |fleet| fleet.0.contains_key("u-1")).await;
    stream.says.send(vec![0xff; 8].into()).unwrap();
    let ended = async { while stream.hear().await.is_some() {} };
    timeout(PATIENCE, ended).await.expect("the stream ends");
}

fn report(bundle: u64) -> Report {
    Report {
        workload: web(),
        pod: "web-1".to_owned(),
        version: "1".to_owned(),
        bundle: Some(bundle),
        revision: None,
        rejected: None,
        certificate: None,
        learned: Vec::new(),
        since: 1,
        changed: None,
        place: Place::default(),
    }
}

/// An API server that knows who leads: a pod at 127.0.0.1.
fn elected() -> Api {
    let api = Api::default();
    api.put(
        "/apis/coordination.k8s.io/v1/namespaces/smilax-system/leases/smilax-operator",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "smilax-operator"},
            "spec": {"holderIdentity": "smilax-operator-5b98d6f877-jznvf_0a1b2c3d"},
        }),
    );
    api.put(
        "/api/v1/namespaces/smilax-system/pods/smilax-operator-5b98d6f877-jznvf",
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "smilax-operator-5b98d6f877-jznvf"},
            "status": {"podIP": "127.0.0.1"},
        }),
    );
    api
}

#[tokio::test]
async fn a_replica_that_does_not_lead_tells_the_one_that_does_what_it_hears() {
    let leader = Fixture::start().await;
    let heard = Arc::new(FleetStore::new());
    let place = heard.begin("u-1", report(7));
    let (_contexts, contexts) = watch::channel(Some(context(&leader.authority)));
    let (leads, leadership) = watch::channel(Leadership::Follower);
    let metrics = WorkloadMetrics::new(&Registry::new()).unwrap();
    let relaying = tokio::spawn(relay(
        elected().client(),
        (NAMESPACE.to_owned(), leader.address.port()),
        contexts,
        (Arc::clone(&heard), metrics.clone()),
        leadership,
        Tcp,
    ));
    until(&leader.fleet, |fleet| fleet.0.contains_key("u-1")).await;
    assert_eq!(metrics.relayed.get(), 1);
    place.take(ProxyMessage::Ack(Ack {
        subject: Subject::Bundle(8),
        outcome: Outcome::Applied,
    }));
    until(&leader.fleet, |fleet| fleet.0["u-1"].bundle == Some(8)).await;
    leads.send_replace(Leadership::Leader { term: 2 });
    timeout(PATIENCE, async {
        while metrics.relayed.get() != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("who leads tells nobody");
    relaying.abort();
}

#[tokio::test]
async fn members_are_told_when_pods_of_a_binding_come_and_go() {
    let fixture = Fixture::start().await;
    super::support::bind(&fixture.state);
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    stream.hear().await;
    let members = |uids: &[&str]| {
        let uids = uids.iter().map(|&uid| uid.into()).collect();
        OperatorMessage::Members(Members(BTreeMap::from([("shop/labelled".to_owned(), uids)])))
    };
    assert_eq!(stream.hear().await, Some(members(&[])));
    let pod = Pod {
        meta: Meta {
            namespace: "shop".into(),
            name: "client-1".into(),
            uid: "c-1".to_owned(),
            ..Meta::default()
        },
        labels: BTreeMap::from([("app".to_owned(), "client".to_owned())]),
        ..Pod::default()
    };
    fixture
        .state
        .update(|inner| inner.index.set_pod("shop", "client-1".into(), Some(pod)));
    assert_eq!(stream.hear().await, Some(members(&["c-1"])));
    fixture
        .state
        .update(|inner| inner.index.set_pod("shop", "client-1".into(), None));
    assert_eq!(stream.hear().await, Some(members(&[])));
}

#[tokio::test]
async fn at_shutdown_streams_end_so_that_proxies_go_elsewhere() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    stream.hear().await;
    fixture.shutdown.cancel();
    let ended = async {
        while stream.hear().await.is_some() {}
        client.ended.await
    };
    timeout(PATIENCE, ended).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn connected_proxies_are_counted_however_their_streams_end() {
    let fixture = Fixture::start().await;
    let connected = fixture.metrics.connected.clone();
    for ending in 0..10 {
        let mut client = fixture.pod(&web(), "u-1").await;
        let stream = client.stream(hello("web-1", 7)).await;
        until(&fixture.fleet, |_| connected.get() == 1).await;
        if ending % 2 == 0 {
            // It says that it has ended, and hears on.
            drop(stream.says);
        } else {
            // It resets the stream.
            drop(stream);
        }
        drop(client);
        until(&fixture.fleet, |_| fixture.fleet.connected().0.is_empty()).await;
        assert_eq!(connected.get(), 0);
    }
}
