//! What the mesh says about objects.

use serde_json::Value;

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// PascalCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Generation that it speaks of.
    pub observed_generation: i64,
}

/// An Event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// PascalCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// `Normal` or `Warning`.
    pub kind: String,
}

/// A condition in an object's status.
pub fn condition(object: &Value, kind: &str) -> Option<Condition> {
    let one = object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?;
    Some(Condition {
        status: text(&one["status"]),
        reason: text(&one["reason"]),
        message: text(&one["message"]),
        observed_generation: one["observedGeneration"].as_i64().unwrap_or_default(),
    })
}

/// An Event as `kubectl get events` lists it.
pub fn event(object: &Value) -> Event {
    Event {
        reason: text(&object["reason"]),
        message: text(&object["message"]),
        kind: text(&object["type"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_is_found_by_its_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": 1},
            {"type": "Accepted", "status": "False", "reason": "Conflicted", "message": "older", "observedGeneration": 2},
        ]}});
        let accepted = condition(&object, "Accepted").unwrap();
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str()),
            ("False", "Conflicted")
        );
        assert_eq!(accepted.observed_generation, 2);
        assert_eq!(condition(&object, "Programmed"), None);
        assert_eq!(condition(&json!({}), "Accepted"), None);
    }
}
