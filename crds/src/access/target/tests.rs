use serde_json::json;

use super::*;

fn read(annotations: &serde_json::Value, spec: &serde_json::Value) -> TrafficTarget {
    serde_json::from_value(json!({ "metadata": { "name": "api", "annotations": annotations }, "spec": spec }))
        .expect("reading never fails")
}

#[test]
fn without_rules_nothing_is_allowed() {
    assert_eq!(
        read(&json!({}), &json!({ "rules": [] })).allowed(),
        Allowed::Nothing
    );
    assert_eq!(read(&json!({}), &json!({})).allowed(), Allowed::Nothing);
}

#[test]
fn without_rules_everything_is_allowed_where_rules_were_optional() {
    let marked = json!({ "conversion.smilax.dev/empty-rules": "allow" });
    assert_eq!(read(&marked, &json!({})).allowed(), Allowed::Everything);
    assert!(matches!(
        read(
            &marked,
            &json!({ "rules": [{ "kind": "TCPRoute", "name": "db" }] })
        )
        .allowed(),
        Allowed::Rules([_])
    ));
}

#[test]
fn a_malformed_target_allows_nothing() {
    let marked = json!({ "conversion.smilax.dev/empty-rules": "allow" });
    let target = read(&marked, &json!({ "rules": "everything" }));
    assert!(target.malformed.is_some());
    assert_eq!(target.allowed(), Allowed::Nothing);
}

#[test]
fn a_port_is_read_as_number_and_as_digits() {
    let read = |port: serde_json::Value| serde_json::from_value::<Port>(port).expect("reads").number();
    assert_eq!(
        [
            json!(9091),
            json!("9091"),
            json!(0),
            json!("http"),
            json!(70000),
            json!(-1)
        ]
        .map(read),
        [Some(9091), Some(9091), None, None, None, None]
    );
}
