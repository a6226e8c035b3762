use serde_json::json;

use super::*;

fn read_group(object: serde_json::Value) -> HTTPRouteGroup {
    serde_json::from_value(object).expect("reading never fails")
}

fn names(group: &HTTPRouteGroup) -> Vec<&str> {
    group
        .effective_matches()
        .iter()
        .map(|found| found.name.as_str())
        .collect()
}

#[test]
fn matches_beside_spec_count_when_spec_has_none() {
    let group = read_group(json!({ "metadata": {}, "matches": [{ "name": "root" }] }));
    assert_eq!(names(&group), ["root"]);
}

#[test]
fn matches_in_spec_count_before_those_beside_it() {
    let group = read_group(json!({
        "metadata": {}, "matches": [{ "name": "root" }], "spec": { "matches": [{ "name": "spec" }] },
    }));
    assert_eq!(names(&group), ["spec"]);
    let emptied =
        read_group(json!({ "metadata": {}, "matches": [{ "name": "root" }], "spec": { "matches": [] } }));
    assert!(names(&emptied).is_empty());
}

#[test]
fn a_malformed_spec_matches_nothing_whatever_lies_beside_it() {
    let group =
        read_group(json!({ "metadata": {}, "matches": [{ "name": "root" }], "spec": { "matches": 1 } }));
    assert!(group.malformed.is_some());
    assert!(names(&group).is_empty());
}

#[test]
fn malformed_matches_beside_spec_are_reported() {
    let group = read_group(json!({ "metadata": {}, "matches": "everything" }));
    assert!(group.malformed.is_some());
    assert!(names(&group).is_empty());
}

#[test]
fn no_methods_and_a_star_both_mean_any_method() {
    let of = |methods: Option<&[&str]>| HttpMatch {
        methods: methods.map(|all| all.iter().map(|&method| method.to_owned()).collect()),
        ..HttpMatch::default()
    };
    assert_eq!(of(None).methods(), None);
    assert_eq!(of(Some(&[])).methods(), None);
    assert_eq!(of(Some(&["GET", "*"])).methods(), None);
    assert_eq!(of(Some(&["GET"])).methods(), Some(&["GET".to_owned()][..]));
}

#[test]
fn both_places_are_written_back_as_they_were() {
    let object = json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup", "metadata": { "name": "a" },
        "spec": { "matches": [{ "name": "x", "headers": [{ "a": "1" }] }] }, "matches": [{ "name": "y" }],
    });
    assert_eq!(
        serde_json::to_value(read_group(object.clone())).expect("writes"),
        object
    );
}
