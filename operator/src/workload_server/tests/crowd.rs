//! Crowds of connections: each of them holds memory for as long as it is open.

use std::time::Duration;

use smilax_core::Workload;

use super::{Client, Fixture};

async fn is_ended(client: &mut Client) {
    tokio::time::timeout(Duration::from_secs(10), &mut client.ended)
        .await
        .expect("the connection gives way")
        .unwrap();
}

#[tokio::test]
async fn s38_idle_connections_without_an_identity_keep_nobody_from_a_certificate() {
    let fixture = Fixture::start().await;
    let web = Workload::new("shop", "web");
    fixture.cluster.pod("token", &web, "web-1", "uid-1");
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(fixture.stranger().await);
    }
    let mut honest = fixture.stranger().await;
    assert!(honest.certificate("token").await.is_ok());
    is_ended(&mut idle[0]).await;
    assert!(!idle[63].ended.is_finished());
}

#[tokio::test]
async fn s38_a_certificate_opens_no_crowd_of_connections() {
    let fixture = Fixture::start().await;
    let (web, other) = (Workload::new("shop", "web"), Workload::new("shop", "other"));
    let bystander = fixture.pod(&other, "uid-2").await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(fixture.pod(&web, "uid-1").await);
    }
    for client in &mut all[..2] {
        is_ended(client).await;
    }
    assert!(!all[5].ended.is_finished() && !bystander.ended.is_finished());
}
