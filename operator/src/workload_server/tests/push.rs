//! Policy and endpoints over a stream.

use std::time::Duration;

use smilax_core::endpoints::{Resource, Update};
use smilax_core::workload_connection::{Hello, OperatorMessage, Policy, ProxyMessage, Subscribe};
use smilax_core::{Members, Revision, Workload};
use tokio::time::timeout;

use super::seen::{self, policy, port_80, told_policy};
use super::support::Stream;
use super::{Fixture, hello};

const PATIENCE: Duration = Duration::from_secs(20);
/// Policies that are told to one proxy while another does not read.
const CHANGES: u64 = 60;

fn web() -> Workload {
    Workload::new("shop", "web")
}

async fn next(stream: &mut Stream) -> OperatorMessage {
    let heard = timeout(PATIENCE, stream.hear()).await;
    heard
        .expect("something is told in time")
        .expect("the stream goes on")
}

/// Hears whom to trust and who the members are, which come first.
async fn begun(fixture: &Fixture, stream: &mut Stream) {
    assert_eq!(
        next(stream).await,
        OperatorMessage::Bundle(fixture.authority.bundle())
    );
    assert_eq!(next(stream).await, OperatorMessage::Members(Members::default()));
}

fn subscribe(service: &str) -> ProxyMessage {
    ProxyMessage::Subscribe(Subscribe {
        add: vec![Resource::Endpoints(port_80(service))],
        ..Subscribe::default()
    })
}

fn unsubscribe(service: &str) -> ProxyMessage {
    ProxyMessage::Subscribe(Subscribe {
        remove: vec![Resource::Endpoints(port_80(service))],
        ..Subscribe::default()
    })
}

/// Hears endpoints: of which Service, and their addresses.
async fn endpoints(stream: &mut Stream) -> (String, Vec<String>) {
    match next(stream).await {
        OperatorMessage::Update(Update::Endpoints { of, endpoints }) => {
            let addresses = endpoints.unwrap_or_default();
            let addresses = addresses.iter().map(|one| one.address.ip().to_string());
            (of.destination.name.to_string(), addresses.collect())
        }
        other => panic!("{other:?}"),
    }
}

fn are(service: &str, addresses: &[&str]) -> (String, Vec<String>) {
    let addresses = addresses.iter().map(|&one| one.to_owned());
    (service.to_owned(), addresses.collect())
}

#[tokio::test]
async fn a_policy_is_told_at_once_and_whenever_it_changes() {
    let fixture = Fixture::start().await;
    seen::store(&fixture.state, "web", &policy("1.1"));
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    begun(&fixture, &mut stream).await;
    assert_eq!(next(&mut stream).await, told_policy("1.1"));
    seen::store(&fixture.state, "web", &policy("1.2"));
    assert_eq!(next(&mut stream).await, told_policy("1.2"));
}

#[tokio::test]
async fn a_proxy_that_comes_back_with_the_policy_is_sent_only_a_later_one() {
    let fixture = Fixture::start().await;
    seen::store(&fixture.state, "web", &policy("1.1"));
    let mut client = fixture.pod(&web(), "u-1").await;
    let has = ProxyMessage::Hello(Hello {
        pod: "web-1".to_owned(),
        revision: Some(Revision { term: 1, counter: 1 }),
        ..Hello::default()
    });
    let mut stream = client.stream(has).await;
    begun(&fixture, &mut stream).await;
    seen::store(&fixture.state, "web", &policy("1.2"));
    assert_eq!(next(&mut stream).await, told_policy("1.2"));
}

#[tokio::test]
async fn a_proxy_is_told_the_policy_of_the_account_in_its_certificate_and_no_other() {
    let fixture = Fixture::start().await;
    let mut client = fixture.pod(&Workload::new("shop", "other"), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    begun(&fixture, &mut stream).await;
    seen::store(&fixture.state, "web", &policy("1.1"));
    seen::store(&fixture.state, "other", &policy("1.2"));
    assert_eq!(next(&mut stream).await, told_policy("1.2"));
}

#[tokio::test]
async fn endpoints_are_told_to_who_asks_at_once_and_when_they_change_until_it_asks_no_longer() {
    let fixture = Fixture::start().await;
    let state = &fixture.state;
    for service in ["web", "db"] {
        seen::service(state, service, "10.0.0.1");
    }
    for (pod, address) in [("a", "10.1.0.1"), ("b", "10.1.0.2")] {
        seen::pod(state, pod, address);
    }
    seen::slice(state, "web", &[("a", "10.1.0.1")]);
    let mut client = fixture.pod(&web(), "u-1").await;
    let mut stream = client.stream(hello("web-1", 7)).await;
    begun(&fixture, &mut stream).await;
    stream.say(&subscribe("web"));
    assert_eq!(endpoints(&mut stream).await, are("web", &["10.1.0.1"]));
    // Of the other Service it is told nothing, as it did not ask.
    seen::slice(state, "db", &[("b", "10.1.0.2")]);
    seen::slice(state, "web", &[("a", "10.1.0.1"), ("b", "10.1.0.2")]);
    assert_eq!(
        endpoints(&mut stream).await,
        are("web", &["10.1.0.1", "10.1.0.2"])
    );
    seen::slice(state, "web", &[("b", "10.1.0.2")]);
    assert_eq!(endpoints(&mut stream).await, are("web", &["10.1.0.2"]));
    stream.say(&unsubscribe("web"));
    stream.say(&subscribe("db"));
    assert_eq!(endpoints(&mut stream).await, are("db", &["10.1.0.2"]));
    seen::slice(state, "web", &[]);
    seen::slice(state, "db", &[]);
    assert_eq!(endpoints(&mut stream).await, are("db", &[]));
}

#[tokio::test]
async fn a_proxy_that_never_reads_delays_nobody_and_then_hears_the_newest_only() {
    let fixture = Fixture::start().await;
    let mut slow = fixture.pod(&web(), "slow").await;
    let mut stuck = slow.stream(hello("slow", 7)).await;
    let mut quick = fixture.pod(&web(), "quick").await;
    let mut reading = quick.stream(hello("quick", 7)).await;
    begun(&fixture, &mut reading).await;
    // Together far more than all buffers between hold.
    let text = |counter: u64| {
        let filling = "x".repeat(32 * 1024);
        format!(r#"{{"revision":"1.{counter}","filling":"{filling}"}}"#)
    };
    for counter in 1..=CHANGES {
        seen::store(&fixture.state, "web", &text(counter));
        match next(&mut reading).await {
            OperatorMessage::Policy(Policy::Text(heard)) => {
                assert!(heard == text(counter), "not the {counter}th");
            }
            other => panic!("{other:?}"),
        }
    }
    begun(&fixture, &mut stuck).await;
    let mut heard = 0;
    let last = text(CHANGES);
    loop {
        heard += 1;
        let OperatorMessage::Policy(Policy::Text(policy)) = next(&mut stuck).await else {
            panic!("only policy is left to be told")
        };
        if policy == last {
            break;
        }
    }
    assert!(heard < CHANGES / 4, "{heard} of {CHANGES}");
}
