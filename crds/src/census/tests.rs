use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["\\PC{0,8}", "[\"\\\\{}\\[\\],: \n]{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 16, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..16).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..16)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(values).sum(),
        Value::Object(map) => map.values().map(values).sum(),
        _ => 0,
    }
}

/// What certainly lies on the heap: no room that is unused, no rounding.
fn least(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| size_of::<Value>() + least(value)).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| size_of::<String>() + size_of::<Value>() + key.len() + least(value))
            .sum(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s25_every_value_is_counted_and_nothing_within_a_string(value in anything()) {
        let expected = values(&value);
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let counted = census(text.as_bytes());
            prop_assert_eq!(counted.values, expected, "{}", text);
            prop_assert!(counted.memory >= least(&value), "{}", text);
        }
    }

    #[test]
    fn s25_what_is_cut_off_is_counted_up_to_its_end(value in anything(), cut in 0_usize..200) {
        let text = value.to_string();
        let whole = census(text.as_bytes());
        let part = census(&text.as_bytes()[..cut.min(text.len())]);
        prop_assert!(part.values <= whole.values);
    }

    #[test]
    fn s25_what_is_no_json_is_counted_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let counted = census(&bytes);
        if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
            prop_assert_eq!(counted.values, values(&value));
        }
    }
}

#[test]
fn s25_brackets_and_escaped_quotes_in_strings_are_no_values() {
    for (text, expected) in [
        (r#""[[[[{}{}{}""#, 1),
        (r#""\"[1,2,3]""#, 1),
        (r#"["\\",1,"\\\"]",2]"#, 5),
        (r#"{"a:b,c":"}{"}"#, 2),
        ("", 0),
        (" [ ] ", 1),
    ] {
        assert_eq!(census(text.as_bytes()).values, expected, "{text}");
    }
}

#[test]
fn s25_tiny_values_cost_what_they_take_and_not_what_they_are_long() {
    let memory = |item: &str| {
        let text = format!("[{}]", vec![item; 1000].join(","));
        census(text.as_bytes()).memory / 1000
    };
    for (item, least) in [
        ("{}", 32),
        ("[]", 32),
        ("0", 32),
        (r#"{"":0}"#, 640),
        ("[0]", 160),
    ] {
        assert!(memory(item) >= least, "{item} costs {}", memory(item));
    }
}

#[test]
fn s25_counting_ends_where_nesting_is_too_deep() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(census(nested(DEEPEST).as_bytes()).nesting, Nesting::Bounded);
    let counted = census(nested(1_000_000).as_bytes());
    assert_eq!(counted.nesting, Nesting::TooDeep);
    assert_eq!(counted.values, DEEPEST + 1);
    assert!(serde_json::from_str::<Value>(&nested(DEEPEST)).is_ok());
}

#[test]
fn s25_an_ordinary_pod_with_large_environment_costs_little_of_the_limit_of_a_review() {
    let env: Vec<Value> = (0..17_000)
        .map(|number| json!({"name": format!("VARIABLE_NUMBER_{number}"), "value": format!("https://service-{number}.shop.svc.cluster.local/path")}))
        .collect();
    let pod = json!({"spec": {"containers": [{"name": "app", "env": env}]}}).to_string();
    assert!(pod.len() > 1_400_000, "{}", pod.len());
    let memory = census(pod.as_bytes()).affordable().unwrap();
    assert!(memory < 16 * 1024 * 1024, "{memory}");
}

#[test]
fn s25_what_takes_far_more_than_its_bytes_is_bounded_sooner() {
    let list = |item: &str, number: usize| format!("[{}]", vec![item; number].join(","));
    assert!(census(list(r#"{"":0}"#, 5_000).as_bytes()).affordable().is_ok());
    let excess = census(list(r#"{"":0}"#, 10_000).as_bytes())
        .affordable()
        .unwrap_err();
    assert_eq!(
        excess.to_string(),
        "has 20001 JSON values, which take 7018 KiB to read; the limit is 5189 KiB for its size. Write fewer and larger \
         values, or several objects"
    );
}
