use serde_json::{Value, json};

use super::*;

pub(super) fn split(version: &str, annotations: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("split.smi-spec.io/{version}"),
        "kind": "TrafficSplit",
        "metadata": { "name": "web", "namespace": "shop", "annotations": annotations },
        "spec": spec,
    })
}

fn target(version: &str, fields: &Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("access.smi-spec.io/{version}"),
        "kind": "TrafficTarget",
        "metadata": { "name": "api", "namespace": "shop" },
    });
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
    object
}

pub(super) fn to(object: &Value, version: &str) -> Value {
    let group = object["apiVersion"]
        .as_str()
        .and_then(|it| it.split('/').next())
        .expect("a group");
    convert(object.clone(), &format!("{group}/{version}"))
        .expect("converts")
        .object
}

fn backends(weights: &[(&str, Value)]) -> Value {
    weights
        .iter()
        .map(|(service, weight)| json!({ "service": service, "weight": weight }))
        .collect()
}

fn weights(object: &Value) -> Vec<Value> {
    let all = object["spec"]["backends"].as_array().expect("backends");
    all.iter().map(|backend| backend["weight"].clone()).collect()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key).and_then(Value::as_str)
}

#[test]
fn fractions_become_whole_weights_and_come_back_as_they_were_written() {
    let quantities = backends(&[("b", json!("900m")), ("a", json!("0.1"))]);
    let old = split(
        "v1alpha1",
        &json!({ "team": "x" }),
        &json!({ "service": "web", "backends": quantities }),
    );
    let hub = to(&old, "v1alpha4");
    assert_eq!(weights(&hub), [json!(9), json!(1)]);
    assert_eq!(annotation(&hub, WEIGHTS), Some(r#"[["b","900m"],["a","0.1"]]"#));
    assert_eq!(to(&hub, "v1alpha1"), old);
}

#[test]
fn weights_edited_in_a_newer_version_are_whole_quantities_in_v1alpha1() {
    let quantities = backends(&[("a", json!("900m")), ("b", json!("100m"))]);
    let old = split(
        "v1alpha1",
        &json!({}),
        &json!({ "service": "web", "backends": quantities }),
    );
    let mut hub = to(&old, "v1alpha4");
    hub["spec"]["backends"][0]["weight"] = json!(50);
    let old = to(&hub, "v1alpha1");
    assert_eq!(weights(&old), [json!(50), json!(1)]);
    assert_eq!(annotation(&old, WEIGHTS), None);
}

#[test]
fn a_renamed_or_reordered_backend_does_not_get_anothers_quantity() {
    let quantities = backends(&[("a", json!("500m")), ("b", json!("500m"))]);
    let old = split(
        "v1alpha1",
        &json!({}),
        &json!({ "service": "web", "backends": quantities }),
    );
    let mut hub = to(&old, "v1alpha4");
    hub["spec"]["backends"][0]["service"] = json!("c");
    assert_eq!(weights(&to(&hub, "v1alpha1")), [json!(1), json!(1)]);
}

#[test]
fn a_quantity_kept_from_long_ago_does_not_replace_a_whole_number_written_since() {
    let kept = json!({ WEIGHTS: r#"[["a","900m"],["b","100m"]]"# });
    let spec = json!({ "service": "web", "backends": backends(&[("a", json!(9)), ("b", json!(1))]) });
    let hub = to(&split("v1alpha1", &kept, &spec), "v1alpha4");
    assert_eq!(annotation(&hub, WEIGHTS), None);
    assert_eq!(weights(&to(&hub, "v1alpha1")), [json!(9), json!(1)]);
}

#[test]
fn a_missing_weight_is_zero_with_a_warning_and_stays_missing_for_who_left_it_out() {
    let spec = json!({ "service": "web", "backends": [{ "service": "a" }, { "service": "b", "weight": 1 }] });
    let old = split("v1alpha1", &json!({ "x": "y" }), &spec);
    let converted = convert(old.clone(), "split.smi-spec.io/v1alpha2").expect("converts");
    assert_eq!(weights(&converted.object), [json!(0), json!(1)]);
    assert_eq!(
        converted.warnings,
        ["spec.backends[0].weight: is missing and counts as 0"]
    );
    assert_eq!(to(&converted.object, "v1alpha1"), old);
}

#[test]
fn a_weight_that_is_no_quantity_fails_no_list_of_objects() {
    let spec =
        json!({ "service": "web", "backends": backends(&[("a", json!("many")), ("b", json!("500m"))]) });
    let converted =
        convert(split("v1alpha1", &json!({}), &spec), "split.smi-spec.io/v1alpha4").expect("converts");
    assert_eq!(weights(&converted.object), [json!("many"), json!(1)]);
    assert_eq!(converted.warnings.len(), 1);
}

#[test]
fn matches_survive_an_edit_of_the_weights_in_a_version_without_them() {
    let matches = json!([{ "kind": "HTTPRouteGroup", "name": "ab", "apiGroup": "specs.smi-spec.io" }]);
    let spec = json!({ "service": "web", "backends": backends(&[("a", json!(1))]), "matches": matches });
    for version in ["v1alpha1", "v1alpha2"] {
        let mut old = to(&split("v1alpha4", &json!({}), &spec), version);
        assert_eq!(old["spec"].get("matches"), None);
        old["spec"]["backends"][0]["weight"] = json!(77);
        let hub = to(&old, "v1alpha4");
        assert_eq!(hub["spec"]["matches"], matches);
        assert_eq!(weights(&hub), [json!(77)]);
        assert_eq!(annotation(&hub, MATCHES), None);
    }
}

#[test]
fn an_annotation_changed_by_hand_is_refused_rather_than_ignored() {
    let spec = json!({ "service": "web", "backends": [] });
    let old = split("v1alpha2", &json!({ MATCHES: "HTTPRouteGroup/ab" }), &spec);
    let error = convert(old, "split.smi-spec.io/v1alpha4").expect_err("must not convert");
    assert_eq!(
        error.to_string(),
        "TrafficSplit shop/web: annotation conversion.smilax.dev/matches must hold the list of matches as JSON; \
         remove it, or write what it was"
    );
}

#[test]
fn specs_beside_metadata_become_rules_under_spec() {
    let old = target(
        "v1alpha1",
        &json!({
            "destination": { "kind": "ServiceAccount", "name": "b", "port": 8080 },
            "sources": [{ "kind": "ServiceAccount", "name": "a" }],
            "specs": [{ "kind": "TCPRoute", "name": "t" }],
        }),
    );
    let hub = to(&old, "v1alpha4");
    assert_eq!(
        hub["spec"],
        json!({
            "destination": { "kind": "ServiceAccount", "name": "b", "port": 8080 },
            "sources": [{ "kind": "ServiceAccount", "name": "a" }],
            "rules": [{ "kind": "TCPRoute", "name": "t" }],
        })
    );
    assert_eq!(to(&hub, "v1alpha1"), old);
}

#[test]
fn no_rules_keep_their_meaning_through_every_version() {
    let fields = json!({ "spec": { "destination": { "kind": "ServiceAccount", "name": "b" } } });
    let open = target("v1alpha2", &fields);
    let hub = to(&open, "v1alpha4");
    assert_eq!(annotation(&hub, EMPTY_RULES), Some("allow"));
    let closed = target("v1alpha4", &fields);
    let old = to(&closed, "v1alpha2");
    assert_eq!(annotation(&old, EMPTY_RULES), Some("deny"));
    let back = to(&old, "v1alpha4");
    assert_eq!(
        back, closed,
        "reading and writing an older version must not open it"
    );
}

#[test]
fn rules_added_later_take_the_annotation_away() {
    let fields = json!({ "spec": { "destination": { "kind": "ServiceAccount", "name": "b" } } });
    let mut hub = to(&target("v1alpha2", &fields), "v1alpha4");
    hub["spec"]["rules"] = json!([{ "kind": "TCPRoute", "name": "t" }]);
    assert_eq!(
        annotation(&to(&to(&hub, "v1alpha2"), "v1alpha4"), EMPTY_RULES),
        None
    );
}

pub(super) fn group(version: &str, fields: &Value) -> Value {
    let mut object = target("v1alpha4", fields);
    object["apiVersion"] = json!(format!("specs.smi-spec.io/{version}"));
    object["kind"] = json!("HTTPRouteGroup");
    object
}

#[test]
fn older_versions_show_the_matches_that_count() {
    let both = group(
        "v1alpha4",
        &json!({ "spec": { "matches": [{ "name": "s" }] }, "matches": [{ "name": "r" }] }),
    );
    let old = to(&both, "v1alpha2");
    assert_eq!(
        (&old["matches"], old.get("spec")),
        (&json!([{ "name": "s" }]), None)
    );
    assert_eq!(to(&old, "v1alpha4"), both);
    let root = group("v1alpha3", &json!({ "matches": [{ "name": "r" }] }));
    assert_eq!(to(&to(&root, "v1alpha1"), "v1alpha3"), root);
}

#[test]
fn headers_keep_their_wire_form() {
    for headers in [json!([{ "b": "1" }, { "a": "2" }]), json!({ "b": "1" })] {
        let old = group(
            "v1alpha1",
            &json!({ "matches": [{ "name": "m", "headers": headers }] }),
        );
        let hub = to(&old, "v1alpha4");
        assert_eq!(hub["spec"]["matches"][0]["headers"], headers);
        assert_eq!(to(&hub, "v1alpha1"), old);
    }
}

#[test]
fn ports_of_a_tcp_route_survive_versions_without_them() {
    let mut route = group("v1alpha4", &json!({ "spec": { "matches": { "ports": [5432] } } }));
    route["kind"] = json!("TCPRoute");
    for (version, spec) in [
        ("v1alpha1", None),
        ("v1alpha2", None),
        ("v1alpha3", Some(&json!({}))),
    ] {
        let old = to(&route, version);
        assert_eq!(old.get("spec"), spec, "{version}");
        assert_eq!(to(&old, "v1alpha4"), route);
    }
}

#[test]
fn unknown_kinds_groups_and_versions_are_refused_by_name() {
    let error =
        |object: &Value, desired: &str| convert(object.clone(), desired).expect_err("refused").to_string();
    let web = split("v1alpha4", &json!({}), &json!({}));
    assert_eq!(
        error(&web, "split.smi-spec.io/v1alpha9"),
        "TrafficSplit shop/web: \"split.smi-spec.io/v1alpha9\" is not a version of this kind; its versions are \
         split.smi-spec.io/v1alpha1, split.smi-spec.io/v1alpha2, split.smi-spec.io/v1alpha3, \
         split.smi-spec.io/v1alpha4"
    );
    assert!(error(&web, "access.smi-spec.io/v1alpha4").contains("is not a version of this kind"));
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" } });
    assert_eq!(
        error(&pod, "v1"),
        "Pod p: apiVersion \"v1\" and kind \"Pod\" name no kind that Smilax converts"
    );
    assert_eq!(error(&json!(1), "v1"), "object without name: is not an object");
}

fn answered(review: &Value) -> Value {
    let answer = conversion_review(review.to_string().as_bytes()).expect("is JSON");
    serde_json::from_slice(&answer.body).expect("is JSON")
}

pub(super) fn review(objects: &[Value], desired: &str) -> Value {
    answered(&json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "request": { "uid": "u-1", "desiredAPIVersion": desired, "objects": objects },
    }))
}

#[test]
fn a_review_is_answered_with_all_objects_in_their_order() {
    let objects: Vec<_> = ["c", "a", "b"]
        .iter()
        .map(|name| {
            let mut object = split("v1alpha2", &json!({}), &json!({ "service": name }));
            object["metadata"]["name"] = json!(name);
            object
        })
        .collect();
    let answer = review(&objects, "split.smi-spec.io/v1alpha4");
    assert_eq!(answer["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(answer["kind"], "ConversionReview");
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["result"], json!({ "status": "Success" }));
    let converted = answer["response"]["convertedObjects"].as_array().expect("a list");
    let names: Vec<_> = converted
        .iter()
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert!(
        converted
            .iter()
            .all(|object| object["apiVersion"] == "split.smi-spec.io/v1alpha4")
    );
}

#[test]
fn a_review_with_an_object_that_cannot_be_converted_fails_and_names_it() {
    let bad = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "n" } });
    let answer = review(
        &[split("v1alpha2", &json!({}), &json!({})), bad],
        "split.smi-spec.io/v1alpha4",
    );
    assert_eq!(answer["response"]["result"]["status"], "Failure");
    let message = answer["response"]["result"]["message"]
        .as_str()
        .expect("a message");
    assert!(message.starts_with("Pod n/p: "), "{message}");
    assert_eq!(answer["response"]["convertedObjects"], json!([]));
}

#[test]
fn what_is_no_review_is_answered_with_a_failure() {
    for request in [
        json!(null),
        json!({}),
        json!({ "request": { "uid": "u" } }),
        json!([1]),
    ] {
        assert_eq!(answered(&request)["response"]["result"]["status"], "Failure");
    }
}
