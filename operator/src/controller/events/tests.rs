use smilax_compiler::status::MOST_EVENTS;
use smilax_compiler::{Diagnostic, Reason};

use super::*;
use crate::controller::kinds::SmiKind;
use crate::controller::report::{PodFinding, PodReason};
use crate::testing::Api as Memory;

const PATH: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

fn object(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
        generation: 1,
    }
}

fn missing(backend: &str) -> Finding {
    let kind = SmiKind::from_kind("TrafficSplit").unwrap();
    Finding::Smi {
        key: (kind, "shop".into(), "web".into()),
        uid: "1".to_owned(),
        diagnostic: Diagnostic {
            object: object("TrafficSplit", "web"),
            reason: Reason::BackendNotFound,
            message: format!("Service {backend} does not exist"),
        },
    }
}

fn uninjected(pod: &str) -> Finding {
    Finding::Pod(PodFinding {
        namespace: "shop".to_owned(),
        name: pod.to_owned(),
        uid: "1".to_owned(),
        reason: PodReason::NotInjected,
        message: "it has no proxy".to_owned(),
    })
}

async fn tell(events: &Events, finding: &Finding) {
    events.about(&"shop".into(), finding).await;
}

/// Notes of the Events there are, and how often each happened.
fn notes(memory: &Memory) -> Vec<(String, u64)> {
    let mut notes: Vec<_> = memory
        .created(PATH)
        .iter()
        .map(|event| {
            let note = event["note"].as_str().unwrap().to_owned();
            (note, event["series"]["count"].as_u64().unwrap_or(1))
        })
        .collect();
    notes.sort();
    notes
}

#[tokio::test]
async fn a_second_mistake_on_the_same_object_is_an_event_of_its_own() {
    let memory = Memory::default();
    let events = Events::new(memory.client(), "operator");
    for backend in ["web-v3", "web-v4"] {
        tell(&events, &missing(backend)).await;
    }
    let told = ["web-v3", "web-v4"].map(|backend| (format!("Service {backend} does not exist"), 1));
    assert_eq!(notes(&memory), told);
}

#[tokio::test]
async fn a_mistake_that_is_made_again_counts_in_the_event_that_there_is() {
    let memory = Memory::default();
    for count in 1..=3 {
        let events = Events::new(memory.client(), "operator");
        tell(&events, &missing("web-v3")).await;
        assert_eq!(
            notes(&memory),
            [("Service web-v3 does not exist".to_owned(), count)]
        );
    }
}

#[tokio::test]
async fn an_event_about_an_smi_object_says_its_version() {
    let memory = Memory::default();
    tell(&Events::new(memory.client(), "operator"), &missing("web-v3")).await;
    let regarding = &memory.created(PATH)[0]["regarding"];
    assert_eq!(regarding["apiVersion"], "split.smi-spec.io/v1alpha4");
}

#[test]
fn s29_a_service_account_with_hundreds_of_mistakes_causes_few_events() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let events = Events::new(Memory::default().client(), "operator");
    let mistake = |number: u32| Finding::Object {
        diagnostic: Diagnostic::about(
            "ServiceAccount",
            "shop",
            "web",
            Reason::Invalid,
            format!("{number:03}"),
        ),
        uid: "1".to_owned(),
    };
    let untold = events.untold(&"shop".into(), (0..250).map(mistake).collect());
    assert_eq!(untold.len(), MOST_EVENTS + 1);
    let more = untold.iter().find(|one| one.reason() == "MoreFindings").unwrap();
    assert!(more.message().starts_with("and 240 more findings"));
}

#[tokio::test]
async fn an_event_that_the_api_server_refuses_for_a_moment_is_told_all_the_same() {
    let memory = Memory::default();
    let events = Events::new(memory.client(), "operator");
    memory.refuse(2);
    let web = reference("v1", &object("TrafficSplit", "web"), "1");
    let publish = |about| events.publish(about, "Missing", "it is missing", Repetition::Counts);
    assert_eq!(publish(&web).await, Told::of(Outcome::Told, 3));
    memory.refuse(9);
    let api = reference("v1", &object("TrafficSplit", "api"), "2");
    assert_eq!(publish(&api).await, Told::of(Outcome::Failed, 4));
}

#[tokio::test]
async fn a_finding_that_could_not_be_told_is_not_taken_for_told() {
    let memory = Memory::default();
    let events = Events::new(memory.client(), "operator");
    let (shop, finding) = (Arc::from("shop"), uninjected("web-1"));
    let untold = || events.untold(&shop, vec![finding.clone()]).len();
    memory.refuse(4);
    assert_eq!(events.about(&shop, &finding).await.outcome, Outcome::Failed);
    assert_eq!(untold(), 1);
    assert_eq!(events.about(&shop, &finding).await, Told::of(Outcome::Told, 1));
    assert_eq!(untold(), 0);
}

#[tokio::test]
async fn a_restart_repeats_nothing() {
    let memory = Memory::default();
    for _ in 0..2 {
        let events = Events::new(memory.client(), "operator");
        let told = events.about(&"shop".into(), &uninjected("web-1")).await;
        assert_eq!(told, Told::of(Outcome::Told, 1));
    }
    assert_eq!(notes(&memory), [("it has no proxy".to_owned(), 1)]);
}

#[tokio::test]
async fn what_no_longer_holds_is_told_when_it_holds_again() {
    let memory = Memory::default();
    let events = Events::new(memory.client(), "operator");
    let (shop, finding) = (Arc::from("shop"), uninjected("web-1"));
    events.about(&shop, &finding).await;
    assert!(events.untold(&shop, Vec::new()).is_empty());
    assert_eq!(events.untold(&shop, vec![finding]).len(), 1);
}

#[test]
fn what_several_workloads_find_is_one_finding() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let events = Events::new(Memory::default().client(), "operator");
    let findings = vec![uninjected("web-1"), uninjected("web-1"), uninjected("web-2")];
    assert_eq!(events.untold(&"shop".into(), findings).len(), 2);
}

#[tokio::test]
async fn an_event_about_an_object_says_which_one_so_that_describe_finds_it() {
    let memory = Memory::default();
    let events = Events::new(memory.client(), "operator");
    let account = Finding::Object {
        diagnostic: Diagnostic::about("ServiceAccount", "shop", "web", Reason::Invalid, String::new()),
        uid: "7".to_owned(),
    };
    events.about(&"shop".into(), &account).await;
    let regarding = memory.created(PATH)[0]["regarding"].clone();
    assert_eq!(
        (regarding["kind"].as_str(), regarding["uid"].as_str()),
        (Some("ServiceAccount"), Some("7"))
    );
}

#[tokio::test]
async fn an_event_about_an_object_of_any_name_has_a_name_that_the_api_server_takes() {
    for length in [1, 236, 237, 253] {
        let memory = Memory::default();
        let events = Events::new(memory.client(), "operator");
        let name = "a".repeat(length);
        let about = reference("v1", &object("ServiceAccount", &name), "1");
        let told = events
            .publish(&about, "Invalid", "it is wrong", Repetition::Known)
            .await;
        assert_eq!(told, Told::of(Outcome::Told, 1), "{length}");
        let written = memory.created(PATH);
        let [event] = written.as_slice() else {
            panic!("{written:?}");
        };
        let event_name = event["metadata"]["name"].as_str().unwrap();
        assert!(event_name.len() <= 253, "{length}: {event_name}");
        assert_eq!(event["regarding"]["name"], name.as_str());
        assert_eq!(event["reportingController"], event::CONTROLLER);
    }
}
