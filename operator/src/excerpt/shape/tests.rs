use serde_json::json;

use super::Shape::*;
use super::*;

/// What is kept, and whether it was too much.
fn kept_for(bytes: usize, shape: &Shape, value: &Value) -> (Value, bool) {
    let mut budget = Budget::new(bytes);
    let kept = Keep::outermost(shape, &mut budget).deserialize(value).unwrap();
    (kept.unwrap_or_default(), budget.is_spent())
}

fn kept(shape: &Shape, value: &Value) -> Value {
    let (kept, spent) = kept_for(64 * 1024, shape, value);
    assert!(!spent);
    kept
}

#[test]
fn s28_what_is_not_asked_for_costs_nothing_whatever_its_size() {
    const SHAPE: Shape = Members(&[("name", Name), ("spec", Members(&[("a", Whole)]))]);
    let large = "x".repeat(1024 * 1024);
    let value =
        json!({"name": "web", "large": large, "spec": {"a": {"b": [1, null]}, "c": vec![0; 100_000]}});
    assert_eq!(
        kept_for(1024, &SHAPE, &value),
        (json!({"name": "web", "spec": {"a": {"b": [1, null]}}}), false)
    );
}

#[test]
fn members_are_chosen_by_the_beginning_of_their_names() {
    let found = kept(
        &Beginning(&["smilax.dev/"]),
        &json!({"smilax.dev/a": "1", "other.dev/a": "x".repeat(1 << 20)}),
    );
    assert_eq!(found, json!({"smilax.dev/a": "1"}));
}

#[test]
fn s45_of_members_that_are_not_known_one_name_says_that_there_are_others() {
    let found = kept(&Listed(&["a"]), &json!({"a": "1", "b": "x".repeat(1 << 20)}));
    assert_eq!(found, json!({"a": "1", "b": ""}));
    let mut many: Map<_, _> = (0..60_000)
        .map(|number| (format!("key{number}"), json!("x")))
        .collect();
    many.insert("a".to_owned(), json!("1"));
    assert_eq!(
        kept(&Listed(&["a"]), &many.into()).as_object().map(Map::len),
        Some(2)
    );
}

#[test]
fn s28_elements_that_are_not_looked_for_cost_nothing() {
    const ENV: Shape = Where {
        key: "name",
        values: &["ONE", "TWO"],
        each: &Members(&[("name", Whole), ("value", Whole)]),
    };
    let mut all = vec![json!({"name": "a"}); 100_000];
    all.push(json!({"name": "ONE", "value": "1", "more": {}}));
    assert_eq!(kept(&ENV, &all.into()), json!([{"name": "ONE", "value": "1"}]));
}

#[test]
fn s28_elements_without_a_member_cost_nothing() {
    const VOLUMES: Shape = With {
        key: "projected",
        each: &Members(&[("name", Whole), ("projected", Members(&[]))]),
    };
    let all = json!([{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": []}}]);
    assert_eq!(kept(&VOLUMES, &all), json!([{"name": "b", "projected": {}}]));
}

#[test]
fn of_a_list_the_first_may_be_enough() {
    assert_eq!(kept(&First, &json!(["a", "b"])), json!(["a"]));
    assert_eq!(kept(&First, &json!([])), json!([]));
}

#[test]
fn a_text_that_is_too_long_to_be_the_one_is_empty() {
    assert_eq!(
        kept(&Each(&Short(2)), &json!(["ab", "abc", "c"])),
        json!(["ab", "", "c"])
    );
}

#[test]
fn what_is_of_another_type_stays_for_the_decoder_to_refuse() {
    assert_eq!(kept(&Members(&[]), &json!("text")), json!("text"));
    assert_eq!(kept(&Each(&Whole), &json!(7)), json!(7));
    assert_eq!(kept(&Name, &json!(null)), json!(null));
}

#[test]
fn s28_an_object_that_is_too_large_is_still_known_by_its_name() {
    const SHAPE: Shape = Members(&[
        ("metadata", Members(&[("labels", Whole), ("name", Name)])),
        ("spec", Whole),
    ]);
    for labels in [
        json!({"a": "x".repeat(2048)}),
        json!(
            (0..100)
                .map(|number| (number.to_string(), Value::Null))
                .collect::<Map<_, _>>()
        ),
        json!(vec![json!({}); 100]),
    ] {
        let value = json!({"metadata": {"labels": labels, "name": "web"}, "spec": [1, 2]});
        let (found, spent) = kept_for(1024, &SHAPE, &value);
        assert!(spent);
        assert_eq!(found["metadata"]["name"], "web");
        assert!(found.to_string().len() < 1024, "{found}");
    }
}

#[test]
fn s28_empty_elements_are_paid_for() {
    let empty = json!(vec![json!({}); 1_000]);
    assert!(kept_for(1_000 * NODE, &Each(&Members(&[])), &empty).1);
}

#[test]
fn s28_what_takes_more_when_it_is_decoded_costs_more() {
    const SHAPE: Shape = Each(&Costs(1000, &Members(&[("name", Whole)])));
    let three = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
    assert!(!kept_for(4000, &SHAPE, &three).1);
    assert!(kept_for(2900, &SHAPE, &three).1);
}

#[test]
fn s47_a_member_with_a_budget_of_its_own_takes_nothing_of_the_others_and_is_left_out_when_it_is_too_large() {
    const SHAPE: Shape = Members(&[("labels", Apart(1024, &Whole)), ("ip", Whole)]);
    let labels = |size: usize| json!({"labels": {"app": "x".repeat(size)}, "ip": "10.1.0.1"});
    assert_eq!(kept_for(256, &SHAPE, &labels(500)), (labels(500), false));
    assert_eq!(
        kept_for(256, &SHAPE, &labels(5000)),
        (json!({"ip": "10.1.0.1"}), false)
    );
    let mut budget = Budget::new(256);
    Keep::outermost(&SHAPE, &mut budget)
        .deserialize(&labels(5000))
        .unwrap();
    assert_eq!(budget.left_out(), ["labels"]);
}
