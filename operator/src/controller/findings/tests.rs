use smilax_compiler::Reason;
use smilax_compiler::index::Settings;

use super::*;
use crate::controller::kinds::SmiKind;
use crate::controller::report::PodReason;

#[test]
fn a_finding_says_which_object_it_is_about() {
    let meta = |uid: &str| serde_json::json!({"metadata": {"namespace": "shop", "name": "web", "uid": uid}});
    let mut index = Index::new(Settings::default());
    let account = serde_json::from_value(meta("account")).unwrap();
    index.set_account(
        "shop",
        "web".into(),
        Some(smilax_compiler::ingest::account(&account)),
    );
    let service = serde_json::from_value(meta("service")).unwrap();
    index.set_service(
        "shop",
        "web".into(),
        Some(smilax_compiler::ingest::service(&service)),
    );
    let namespace = serde_json::from_value(meta("namespace")).unwrap();
    index.set_namespace("web", Some(smilax_compiler::ingest::namespace(&namespace)));
    for (kind, uid) in [
        ("ServiceAccount", "account"),
        ("Service", "service"),
        ("Namespace", "namespace"),
    ] {
        let diagnostic = Diagnostic::about(kind, "shop", "web", Reason::Invalid, String::new());
        assert_eq!(Finding::about(&index, diagnostic).uid(), uid);
    }
}

#[test]
fn another_message_about_the_same_pod_is_another_finding() {
    let says = |message: &str| {
        Finding::Pod(PodFinding {
            namespace: String::new(),
            name: "web-1".to_owned(),
            uid: "1".to_owned(),
            reason: PodReason::InvalidAnnotation,
            message: message.to_owned(),
        })
    };
    assert_ne!(says("a").identity(), says("b").identity());
}

fn about(pod: &str) -> Finding {
    Finding::Pod(PodFinding {
        namespace: String::new(),
        name: pod.to_owned(),
        uid: pod.to_owned(),
        reason: PodReason::NotInjected,
        message: String::new(),
    })
}

fn next(findings: &mut Findings) -> Option<Finding> {
    findings.take(Instant::now()).map(|(_, finding)| finding)
}

#[test]
fn what_could_not_be_told_waits_until_it_is_tried_again() {
    let mut findings = Findings::default();
    let shop: Arc<str> = "shop".into();
    findings.set(&shop, ["a"].map(about));
    let (namespace, finding) = findings.take(Instant::now()).unwrap();
    findings.postpone(namespace, finding);
    assert_eq!(findings.take(Instant::now()), None);
    findings.look_again("elsewhere");
    assert!(findings.is_empty());
    findings.look_again("shop");
    assert_eq!(next(&mut findings), Some(about("a")));
}

#[test]
fn what_could_not_be_told_and_no_longer_holds_is_not_told() {
    let mut findings = Findings::default();
    let shop: Arc<str> = "shop".into();
    findings.postpone(shop.clone(), about("a"));
    findings.set(&shop, []);
    findings.look_again("shop");
    assert_eq!(findings.take(Instant::now()), None);
}

#[test]
fn namespaces_take_turns() {
    let mut findings = Findings::default();
    findings.set(&"a".into(), ["a1", "a2", "a3"].map(about));
    findings.set(&"b".into(), ["b1"].map(about));
    let order: Vec<Finding> = std::iter::from_fn(|| next(&mut findings)).collect();
    assert_eq!(order, ["a1", "b1", "a2", "a3"].map(about));
    assert!(findings.is_empty());
}

#[test]
fn what_no_longer_holds_is_not_told() {
    let mut findings = Findings::default();
    findings.set(&"a".into(), ["a1", "a2"].map(about));
    findings.set(&"a".into(), ["a2"].map(about));
    assert_eq!(next(&mut findings), Some(about("a2")));
    findings.set(&"a".into(), ["a3"].map(about));
    findings.set(&"a".into(), []);
    assert_eq!(findings.take(Instant::now()), None);
}

fn of_split(name: &str, message: &str) -> (ObjectKey, Finding) {
    let key: ObjectKey = (
        SmiKind::from_kind("TrafficSplit").unwrap(),
        "a".into(),
        name.into(),
    );
    let diagnostic = Diagnostic::about("TrafficSplit", "a", name, Reason::Invalid, message.to_owned());
    let finding = Finding::Smi {
        key: key.clone(),
        uid: name.to_owned(),
        diagnostic,
    };
    (key, finding)
}

#[test]
fn s29_objects_of_a_namespace_take_turns() {
    let mut findings = Findings::default();
    let (web, first) = of_split("web", "1");
    findings.set_object(web.clone(), [first.clone(), of_split("web", "2").1]);
    let (zoo, other) = of_split("zoo", "1");
    findings.set_object(zoo, [other.clone()]);
    assert_eq!(next(&mut findings), Some(first));
    assert_eq!(next(&mut findings), Some(other));
    assert!(findings.waits(&web));
    assert_eq!(next(&mut findings), Some(of_split("web", "2").1));
    assert!(!findings.waits(&web));
}

#[test]
fn what_is_being_told_is_not_told_twice() {
    let mut findings = Findings::default();
    let (key, finding) = of_split("web", "1");
    findings.set_object(key.clone(), [finding.clone()]);
    assert_eq!(next(&mut findings), Some(finding.clone()));
    findings.set_object(key.clone(), [finding.clone()]);
    assert!(findings.is_empty());
    findings.settled();
    findings.set_object(key, [finding]);
    assert!(!findings.is_empty());
}

#[test]
fn what_was_postponed_of_an_object_and_no_longer_holds_is_not_told() {
    let mut findings = Findings::default();
    let (key, finding) = of_split("web", "1");
    findings.postpone("a".into(), finding);
    findings.postpone("a".into(), about("pod"));
    findings.set_object(key, []);
    findings.look_again("a");
    assert_eq!(next(&mut findings), Some(about("pod")));
    assert_eq!(next(&mut findings), None);
}

#[test]
fn s29_what_exceeds_the_allowance_of_its_namespace_waits_and_others_do_not() {
    let (mut findings, now) = (Findings::default(), Instant::now());
    let many: Vec<Finding> = (0..=BURST).map(|number| about(&number.to_string())).collect();
    findings.set(&"a".into(), many);
    let told = std::iter::from_fn(|| findings.take(now)).count();
    assert_eq!(told, usize::try_from(BURST).unwrap());
    assert_eq!(findings.next(now), Some(now + PERIOD));
    findings.set(&"b".into(), [about("b")]);
    assert_eq!(findings.next(now), Some(now));
    assert_eq!(findings.take(now), Some(("b".into(), about("b"))));
    assert!(findings.take(now + PERIOD).is_some());
    assert_eq!(findings.next(now + PERIOD), None);
}
