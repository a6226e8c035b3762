use serde_json::{Value, json};

use crate::certificate::{Decision, Target, decide};

const BUNDLE: &str = "PEM";
/// base64 of [`BUNDLE`].
const ENCODED: &str = "UEVN";
const INJECT: Target = Target::Mutating("smilax-inject");
const SPLITS: Target = Target::Definition("trafficsplits.split.smi-spec.io");

fn webhook(name: &str, service: &str, bundle: Option<&str>) -> Value {
    json!({
        "name": name,
        "clientConfig": {"caBundle": bundle, "service": {"name": service, "namespace": "smilax-system"}},
    })
}

fn configuration(webhooks: &[Value]) -> Value {
    json!({"webhooks": webhooks})
}

fn definition(namespace: &str, bundle: Option<&str>) -> Value {
    let service = json!({"name": "smilax-conversion", "namespace": namespace, "path": "/convert"});
    let config = json!({"service": service, "caBundle": bundle});
    json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": config}}}})
}

/// The object after the patch; `None` when it is to be kept.
fn written(target: Target, object: &Value) -> Option<Value> {
    match decide(target, object, "smilax-system", BUNDLE) {
        Decision::Keep => None,
        Decision::Write(patch) => {
            let mut object = object.clone();
            json_patch::patch(&mut object, &patch).unwrap();
            Some(object)
        }
    }
}

#[test]
fn every_webhook_of_ours_gets_the_bundle() {
    let before = configuration(&[
        webhook("a", "smilax-webhook", None),
        webhook("b", "smilax-webhook", Some("b2xk")),
    ]);
    let after = configuration(&[
        webhook("a", "smilax-webhook", Some(ENCODED)),
        webhook("b", "smilax-webhook", Some(ENCODED)),
    ]);
    assert_eq!(written(INJECT, &before), Some(after));
}

#[test]
fn what_carries_the_bundle_is_not_written() {
    let webhooks = configuration(&[webhook("a", "smilax-webhook", Some(ENCODED))]);
    assert_eq!(written(INJECT, &webhooks), None);
    assert_eq!(written(SPLITS, &definition("smilax-system", Some(ENCODED))), None);
}

#[test]
fn webhooks_of_others_are_not_touched() {
    let webhooks = configuration(&[webhook("a", "somebody", Some("x"))]);
    assert_eq!(written(INJECT, &webhooks), None);
}

#[test]
fn a_definition_gets_the_bundle_only_when_it_calls_our_service() {
    let ours = definition("smilax-system", None);
    assert_eq!(
        written(SPLITS, &ours),
        Some(definition("smilax-system", Some(ENCODED)))
    );
    assert_eq!(written(SPLITS, &definition("other", None)), None);
    assert_eq!(
        written(SPLITS, &json!({"spec": {"conversion": {"strategy": "None"}}})),
        None
    );
}

#[test]
fn a_list_that_was_reordered_meanwhile_refuses_the_patch() {
    let (a, b) = (
        webhook("a", "smilax-webhook", None),
        webhook("b", "somebody", Some("x")),
    );
    let Decision::Write(patch) = decide(
        INJECT,
        &configuration(&[a.clone(), b.clone()]),
        "smilax-system",
        BUNDLE,
    ) else {
        panic!("nothing to write");
    };
    assert!(json_patch::patch(&mut configuration(&[b, a]), &patch).is_err());
}

#[test]
fn odd_objects_are_kept() {
    for odd in [
        json!(null),
        json!({"webhooks": 3}),
        json!({"webhooks": [null, 1]}),
    ] {
        assert_eq!(written(INJECT, &odd), None);
        assert_eq!(written(SPLITS, &odd), None);
    }
}
