//! What one object may make the mesh spend.

use serde_json::{Value, json};

use super::*;

fn group(matches: impl IntoIterator<Item = Value>) -> Validation {
    let matches: Vec<Value> = matches.into_iter().collect();
    validate(&json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": "g", "namespace": "shop"}, "spec": {"matches": matches},
    }))
}

fn with_headers(name: usize, count: usize, pattern: impl Fn(usize) -> String) -> Value {
    let headers: serde_json::Map<_, _> = (0..count)
        .map(|header| (format!("h{header}"), json!(pattern(header))))
        .collect();
    json!({"name": format!("m{name}"), "headers": headers})
}

#[test]
fn s1_headers_and_matches_are_bounded_in_number() {
    assert!(group([with_headers(0, 32, |_| "a".to_owned())]).is_accepted());
    let found = group([with_headers(0, 33, |_| "a".to_owned())]);
    assert_eq!(found.errors[0].path, "spec.matches[0].headers");
    let found = group((0..129).map(|index| with_headers(index, 1, |_| "a".to_owned())));
    assert_eq!(found.errors[0].path, "spec.matches");
}

#[test]
fn s1_the_group_that_froze_operators_is_refused_by_its_headers() {
    let found = group((0..8).map(|index| with_headers(index, 120, |_| r"\w{5}".to_owned())));
    assert!(found.message().contains("at most 32"), "{}", found.message());
}

#[test]
fn s1_expressions_that_are_too_large_together_are_refused_where_it_becomes_too_much() {
    let heavy = |one: usize| move |header: usize| format!("x{one}y{header}.*(?:a|b).{{40}}");
    let found = group((0..2).map(|index| with_headers(index, 32, heavy(index))));
    assert_eq!(found.errors.len(), 1, "{}", found.message());
    assert!(found.errors[0].path.starts_with("spec.matches[0].headers.h"));
    assert!(found.errors[0].reason.contains("divide the matches"));
}

#[test]
fn s1_the_same_expression_counts_once() {
    let found = group((0..128).map(|index| with_headers(index, 32, |_| r"\w{200}".to_owned())));
    assert!(found.is_accepted(), "{}", found.message());
}
