//! The answer to a ConversionReview (apiextensions.k8s.io/v1).

use serde_json::{Value, json};

use super::convert;

const API_VERSION: &str = "apiextensions.k8s.io/v1";

/// Answers a ConversionReview: all its objects in the version asked for, in their order, or a failure that names the
/// first object that cannot be converted. Every request gets an answer.
pub fn conversion_review(mut review: Value) -> Value {
    let uid = review
        .pointer("/request/uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let answer = convert_all(&mut review);
    let (objects, result) = match answer {
        Ok(objects) => (objects, json!({ "status": "Success" })),
        Err(message) => (Vec::new(), json!({ "status": "Failure", "message": message })),
    };
    json!({
        "apiVersion": API_VERSION,
        "kind": "ConversionReview",
        "response": { "uid": uid, "convertedObjects": objects, "result": result },
    })
}

fn convert_all(review: &mut Value) -> Result<Vec<Value>, String> {
    let field = |name: &str| review.get(name).and_then(Value::as_str).unwrap_or_default();
    if (field("apiVersion"), field("kind")) != (API_VERSION, "ConversionReview") {
        return Err(format!("only ConversionReview of {API_VERSION} is answered"));
    }
    let desired = review
        .pointer("/request/desiredAPIVersion")
        .and_then(Value::as_str);
    let desired = desired.ok_or("request.desiredAPIVersion is missing")?.to_owned();
    let objects = match review.pointer_mut("/request/objects").map(Value::take) {
        Some(Value::Array(objects)) => objects,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err("request.objects must be a list".to_owned()),
    };
    objects
        .into_iter()
        .map(|object| convert(object, &desired).map(|converted| converted.object))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}
