//! One object never makes a list fail, and what a version cannot show is not lost.

use serde_json::{Value, json};

use super::tests::{group, review, split, to};
use super::*;

const OLD: &str = "split.smi-spec.io/v1alpha2";

fn matches(number: usize) -> Value {
    (0..number)
        .map(|number| json!({ "kind": "HTTPRouteGroup", "name": format!("group-{number}") }))
        .collect()
}

fn spec() -> Value {
    json!({ "service": "web", "backends": [{ "service": "a", "weight": 1 }], "matches": matches(3) })
}

/// A split whose annotations are as large as the API server stores them.
fn full() -> Value {
    let filler = "x".repeat(MOST_ANNOTATIONS - "filler".len());
    split("v1alpha4", &json!({ "filler": filler }), &spec())
}

fn annotations(object: &Value) -> usize {
    room::size(object.as_object().expect("an object"))
}

fn mark(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][INCOMPLETE].as_str()
}

/// Answers a list of an ordinary object, `odd` and another ordinary one.
fn list_with(odd: &Value, desired: &str) -> Vec<Value> {
    let ordinary = split("v1alpha4", &json!({}), &spec());
    let answer = review(&[ordinary.clone(), odd.clone(), ordinary.clone()], desired);
    assert_eq!(
        answer["response"]["result"],
        json!({ "status": "Success" }),
        "{answer}"
    );
    let objects = answer["response"]["convertedObjects"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0], to(&ordinary, "v1alpha2"));
    assert_eq!(objects[2], objects[0]);
    objects
}

#[test]
fn s26_an_object_whose_annotations_are_full_is_shown_without_what_does_not_fit() {
    let shown = list_with(&full(), OLD).remove(1);
    assert!(
        annotations(&shown) <= MOST_ANNOTATIONS,
        "the API server would refuse the list"
    );
    assert!(mark(&shown).is_some());
    assert_eq!(shown["spec"]["service"], "web");
    assert_eq!(shown["metadata"]["name"], "web");
}

#[test]
fn s26_what_is_shown_incompletely_cannot_be_written_back() {
    let mut shown = convert(full(), OLD).expect("converts");
    assert_eq!(shown.completeness, Completeness::Incomplete);
    shown.object["spec"]["backends"][0]["weight"] = json!(2);
    let answer = review(&[shown.object.clone()], "split.smi-spec.io/v1alpha4");
    assert_eq!(answer["response"]["result"]["status"], "Failure");
    let message = answer["response"]["result"]["message"]
        .as_str()
        .expect("a message");
    assert!(message.starts_with("TrafficSplit shop/web: "), "{message}");
    assert!(message.contains("read and write it as v1alpha4"), "{message}");
    assert!(
        room(&shown.object).is_some(),
        "the webhook that validates refuses it too"
    );
}

#[test]
fn s26_an_object_with_room_to_spare_is_whole() {
    let mut object = full();
    let filler = "x".repeat(MOST_ANNOTATIONS - 1000);
    object["metadata"]["annotations"]["filler"] = json!(filler);
    let shown = convert(object.clone(), OLD).expect("converts");
    assert_eq!(shown.completeness, Completeness::Whole);
    assert_eq!(to(&shown.object, "v1alpha4"), object);
    assert_eq!(room(&object), None);
}

#[test]
fn s26_an_object_that_some_version_cannot_hold_is_refused_when_it_is_written() {
    let refused = room(&full()).expect("is refused");
    assert_eq!(refused.path, "metadata.annotations");
    assert!(refused.reason.contains("split.smi-spec.io/v1alpha1"), "{refused}");
    let mut route = group("v1alpha4", &json!({ "spec": { "matches": { "ports": [1] } } }));
    route["kind"] = json!("TCPRoute");
    route["metadata"]["annotations"] = full()["metadata"]["annotations"].clone();
    assert!(room(&route).is_some());
    route["spec"] = json!({});
    assert!(room(&split("v1alpha4", &json!({}), &spec())).is_none());
}

#[test]
fn s26_a_write_in_an_old_version_that_does_not_fit_is_refused_with_the_reason() {
    let filler = "x".repeat(MOST_ANNOTATIONS - "filler".len());
    let quantities = json!({ "service": "web", "backends": [{ "service": "a", "weight": "900m" }, { "service": "b", "weight": "100m" }] });
    let old = split("v1alpha1", &json!({ "filler": filler }), &quantities);
    let error = convert(old.clone(), "split.smi-spec.io/v1alpha4").expect_err("is refused");
    assert!(matches!(error.reason, Reason::NoRoom { .. }), "{error}");
    assert!(room(&old).is_some());
}

#[test]
fn s26_a_mark_that_was_written_by_hand_on_a_stored_object_counts_for_nothing() {
    let marked = split("v1alpha4", &json!({ INCOMPLETE: "yes" }), &spec());
    let shown = convert(marked, OLD).expect("converts");
    assert_eq!(shown.completeness, Completeness::Whole);
    assert_eq!(mark(&shown.object), None);
}

#[test]
fn s26_s25_an_object_that_is_not_read_is_shown_without_content_beside_others() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let tiny = format!("[{}]", vec![r#"{"":0}"#; 100_000].join(","));
    let number = "1e999".to_owned();
    for content in [deep, tiny, number] {
        let ordinary = split("v1alpha4", &json!({}), &spec()).to_string();
        let odd = ordinary.replace(r#""service":"web""#, &format!(r#""service":{content}"#));
        let body = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"1","desiredAPIVersion":"{OLD}","objects":[{ordinary},{odd}]}}}}"#
        );
        let answer = conversion_review(body.as_bytes()).expect("is JSON");
        assert_eq!(answer.outcome, ConversionOutcome::Incomplete(1));
        let answer: Value = serde_json::from_slice(&answer.body).expect("is JSON");
        let shown = &answer["response"]["convertedObjects"][1];
        assert_eq!(shown["apiVersion"], OLD);
        assert_eq!(shown["kind"], "TrafficSplit");
        assert_eq!(shown["metadata"]["name"], "web");
        assert_eq!(shown["metadata"]["namespace"], "shop");
        assert!(mark(shown).is_some());
        assert_eq!(shown.get("spec"), None);
    }
}

#[test]
fn s26_of_objects_stored_in_an_old_version_one_with_a_broken_annotation_fails_alone() {
    let broken = split("v1alpha2", &json!({ MATCHES: "broken" }), &spec());
    let ordinary = split(
        "v1alpha2",
        &json!({}),
        &json!({ "service": "web", "backends": [] }),
    );
    let answer = review(&[broken.clone(), ordinary], "split.smi-spec.io/v1alpha4");
    let objects = &answer["response"]["convertedObjects"];
    assert_eq!(answer["response"]["result"]["status"], "Success");
    // Without content it shifts nothing, rather than all requests instead of those that match.
    assert_eq!(objects[0].get("spec"), None);
    assert!(mark(&objects[0]).is_some_and(|reason| reason.contains(MATCHES)));
    assert_eq!(mark(&objects[1]), None);
    // Alone it is being written.
    let answer = review(&[broken], "split.smi-spec.io/v1alpha4");
    assert_eq!(answer["response"]["result"]["status"], "Failure");
}

#[test]
fn s26_objects_without_spec_or_of_other_types_fail_no_list() {
    for odd in [
        json!(null),
        json!([]),
        json!("x"),
        json!(1),
        json!({ "backends": 1, "matches": {} }),
    ] {
        let mut object = split("v1alpha4", &json!({}), &odd);
        list_with(&object, OLD);
        object.as_object_mut().expect("a map").remove("spec");
        list_with(&object, OLD);
        object["unknown"] = odd;
        list_with(&object, OLD);
    }
}
