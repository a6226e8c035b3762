use serde_json::json;

use super::*;

fn read(object: serde_json::Value) -> TrafficSplit {
    serde_json::from_value(object).expect("reading never fails")
}

#[test]
fn an_object_without_spec_is_read_as_an_empty_one() {
    let split = read(json!({ "metadata": { "name": "web" } }));
    assert_eq!((split.spec, split.malformed), (TrafficSplitSpec::default(), None));
}

#[test]
fn a_spec_that_cannot_be_understood_is_kept_aside_with_the_reason() {
    let spec = json!({ "service": "web", "backends": "web-v1" });
    let split = read(json!({ "metadata": { "name": "web" }, "spec": spec }));
    assert_eq!(split.spec, TrafficSplitSpec::default());
    let malformed = split.malformed.clone().expect("is malformed");
    assert!(malformed.reason.contains("web-v1"), "{}", malformed.reason);
    assert_eq!(
        serde_json::to_value(&split).expect("writes")["spec"],
        spec,
        "and is written back unchanged"
    );
}

#[test]
fn unknown_fields_and_a_foreign_status_do_not_disturb() {
    let split = read(json!({
        "metadata": { "name": "web" },
        "spec": { "service": "web", "backends": [{ "service": "a", "weight": 1, "zone": "x" }], "more": true },
        "status": "CREATED",
    }));
    assert_eq!(
        (split.spec.backends.len(), split.status, split.malformed),
        (1, None, None)
    );
}

#[test]
fn weights_that_older_meshes_let_pass_are_read_and_reported() {
    let weights = json!([{ "service": "a", "weight": -1 }, { "service": "b", "weight": 0.5 },
        { "service": "c" }, { "service": "d", "weight": 4_294_967_296_i64 }, { "service": "e", "weight": 7 }]);
    let split = read(json!({ "metadata": {}, "spec": { "service": "web", "backends": weights } }));
    let read: Vec<_> = split
        .spec
        .backends
        .iter()
        .map(|backend| backend.weight.get())
        .collect();
    assert_eq!(
        read,
        [
            Err(InvalidWeight::Negative(-1)),
            Err(InvalidWeight::NotWhole("0.5".into())),
            Ok(0),
            Err(InvalidWeight::TooLarge(4_294_967_296)),
            Ok(7)
        ]
    );
}

#[test]
fn an_object_is_written_with_its_api_version_and_kind() {
    let split = TrafficSplit::new(
        "web",
        TrafficSplitSpec {
            service: "web".into(),
            ..Default::default()
        },
    );
    let written = serde_json::to_value(&split).expect("writes");
    assert_eq!(
        written,
        json!({
            "apiVersion": "split.smi-spec.io/v1alpha4",
            "kind": "TrafficSplit",
            "metadata": { "name": "web" },
            "spec": { "service": "web", "backends": [] },
        })
    );
}

#[test]
fn a_match_may_leave_its_api_group_out_but_not_name_another() {
    let of = |group: Option<&str>| MatchRef {
        api_group: group.map(Into::into),
        kind: "HTTPRouteGroup".into(),
        name: "ab".into(),
    };
    let accepted = [
        None,
        Some(""),
        Some("specs.smi-spec.io"),
        Some("gateway.networking.k8s.io"),
    ]
    .map(|group| of(group).is_http_route_group());
    assert_eq!(accepted, [true, true, true, false]);
}
