//! What the operator has made of the cluster, without what differs from one time to the next: UIDs, versions, times,
//! revisions, keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::Api;
use crate::world::SYSTEM;

/// The SMI kinds, by path.
pub const SMI: [&str; 6] = [
    "/apis/split.smi-spec.io/v1alpha4/trafficsplits",
    "/apis/specs.smi-spec.io/v1alpha4/httproutegroups",
    "/apis/specs.smi-spec.io/v1alpha4/tcproutes",
    "/apis/specs.smi-spec.io/v1alpha4/udproutes",
    "/apis/access.smi-spec.io/v1alpha4/traffictargets",
    "/apis/access.smi-spec.io/v1alpha4/identitybindings",
];
/// The MeshConfig.
pub const MESH: &str = "/apis/mesh.smilax.dev/v1alpha1/meshconfigs";
/// ConfigMaps of the operator.
pub const MAPS: &str = "/api/v1/configmaps?labelSelector=app.kubernetes.io/managed-by%3Dsmilax-operator";
/// Definitions that carry the bundle of the webhooks.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Other carriers of it.
pub const WEBHOOKS: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
];

/// What there is, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Value>);

impl Snapshot {
    /// As it is now.
    pub async fn take(api: &Api) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        let secret = |name: &str| format!("/api/v1/namespaces/{SYSTEM}/secrets/{name}");
        let authority = api.get(&secret("smilax-ca")).await?;
        let webhooks = api.get(&secret("smilax-webhook-tls")).await?;
        for map in api.list(MAPS).await? {
            all.insert(format!("ConfigMap {}", named(&map)), content_of(&map));
        }
        for kind in SMI.into_iter().chain([MESH]) {
            for object in api.list(kind).await? {
                all.insert(format!("{kind} {}", named(&object)), masked(&object["status"]));
            }
        }
        for event in api.list("/api/v1/events").await? {
            if event["source"]["component"] == "smilax-operator"
                || event["reportingComponent"] == "smilax-operator"
            {
                let about = &event["involvedObject"];
                let key = format!(
                    "Event {} {}/{} {} {}",
                    text(about, "kind"),
                    text(about, "namespace"),
                    text(about, "name"),
                    text(&event, "reason"),
                    masked_text(text(&event, "message")),
                );
                all.insert(key, Value::Null);
            }
        }
        for (name, found) in [("smilax-ca", &authority), ("smilax-webhook-tls", &webhooks)] {
            if let Some(found) = found {
                let keys: Vec<&String> = found["data"]
                    .as_object()
                    .into_iter()
                    .flat_map(|data| data.keys())
                    .collect();
                // Whether a change of the authority is under way, and for whom it was made.
                let kept: Vec<&Value> = ["phase", "request", "running-request"]
                    .iter()
                    .map(|key| &found["data"][key])
                    .collect();
                all.insert(format!("Secret {name}"), json!({"keys": keys, "kept": kept}));
            }
        }
        let bundle = webhooks
            .map(|found| found["data"]["ca.crt"].clone())
            .unwrap_or_default();
        for path in [DEFINITIONS, WEBHOOKS[0], WEBHOOKS[1]] {
            for object in api.list(path).await? {
                let carried = bundles(&object);
                if !carried.is_empty() {
                    let right: BTreeSet<bool> = carried.iter().map(|one| *one == &bundle).collect();
                    all.insert(format!("caBundle {}", named(&object)), json!(right));
                }
            }
        }
        Ok(Self(all))
    }

    /// The same without generations, where objects were changed and changed back.
    #[must_use]
    pub fn without_generations(mut self) -> Self {
        self.0.values_mut().for_each(forget_generations);
        self
    }

    /// The same without Events of this reason, where they are expected.
    #[must_use]
    pub fn without_events(mut self, reason: &str) -> Self {
        self.0.retain(|key, _| !is_event(key, reason));
        self
    }

    /// Whether there is an Event of this reason.
    #[must_use]
    pub fn tells(&self, reason: &str) -> bool {
        self.0.keys().any(|key| is_event(key, reason))
    }

    /// How it differs from what it should be; nothing when it does not.
    pub fn differs_from(&self, wanted: &Self) -> Vec<String> {
        let missing = wanted.0.iter().filter(|(key, _)| !self.0.contains_key(*key));
        let missing = missing.map(|(key, _)| format!("missing: {key}"));
        // Kinds are watched apart: what refers to an object, and a Service's name, may be seen before the object or the
        // Service's endpoints, and that is told, rightly. Conditions must not say it in the end.
        let passing = |key: &str| {
            key.starts_with("Event ")
                && (key.contains(" does not exist ") || key.contains(" has no ready endpoint"))
        };
        let more = self
            .0
            .keys()
            .filter(|key| !wanted.0.contains_key(*key) && !passing(key));
        let more = more.map(|key| format!("too much: {key}"));
        let other = self.0.iter().filter_map(|(key, value)| {
            let mut places = Vec::new();
            differences("", value, wanted.0.get(key)?, &mut places);
            (!places.is_empty()).then(|| format!("other: {key}{}", places.concat()))
        });
        missing.chain(more).chain(other).collect()
    }

    /// How much there is.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Everything whose name begins so.
    pub fn of(&self, beginning: &str) -> Vec<(&String, &Value)> {
        self.0
            .iter()
            .filter(|(key, _)| key.starts_with(beginning))
            .collect()
    }
}

fn forget_generations(value: &mut Value) {
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                if matches!(key.as_str(), "generation" | "observedGeneration") {
                    *value = Value::Null;
                }
                forget_generations(value);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(forget_generations),
        Value::String(text) => {
            let mut words: Vec<&str> = text.split(' ').collect();
            for index in 1..words.len() {
                if words[index - 1] == "generation" {
                    words[index] = "*";
                }
            }
            *text = words.join(" ");
        }
        _ => {}
    }
}

/// Where two values differ, and how.
fn differences(at: &str, is: &Value, wanted: &Value, places: &mut Vec<String>) {
    match (is, wanted) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                differences(&format!("{at}/{key}"), &is[key], &wanted[key], places);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (is, wanted)) in one.iter().zip(other).enumerate() {
                differences(&format!("{at}/{index}"), is, wanted, places);
            }
        }
        _ if is == wanted => {}
        _ => places.push(format!("\n    {at}: {is}, not {wanted}")),
    }
}

fn named(object: &Value) -> String {
    let meta = &object["metadata"];
    match text(meta, "namespace") {
        "" => text(meta, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(meta, "name")),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Whose the ConfigMap is and what it says: the policy without its revision, and how many roots are trusted.
fn content_of(map: &Value) -> Value {
    let mut policy: Value = serde_json::from_str(text(&map["data"], "policy.json")).unwrap_or_default();
    if !policy.is_null() {
        policy["revision"] = json!("*");
    }
    let bundle: Value = serde_json::from_str(text(&map["data"], "trust-bundle.json")).unwrap_or_default();
    let roots = text(&bundle, "roots").matches("BEGIN CERTIFICATE").count();
    let keys = |field: &str| -> Vec<String> {
        map[field]
            .as_object()
            .into_iter()
            .flat_map(|data| data.keys().cloned())
            .collect()
    };
    json!({
        "policy": policy, "roots": roots, "keys": keys("data"), "binary": keys("binaryData"),
        "labels": map["metadata"]["labels"], "annotations": map["metadata"]["annotations"],
    })
}

fn bundles(object: &Value) -> Vec<&Value> {
    let hooks = object["webhooks"].as_array().into_iter().flatten();
    let configs = hooks.map(|hook| &hook["clientConfig"]);
    let conversion = object.pointer("/spec/conversion/webhook/clientConfig");
    configs
        .chain(conversion)
        .filter(|config| config["service"]["namespace"] == SYSTEM)
        .map(|config| &config["caBundle"])
        .collect()
}

/// Without times, and without numbers that are as long as a time.
fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked_text(text)),
        Value::Array(all) => all.iter().map(masked).collect(),
        Value::Object(all) => all
            .iter()
            .map(|(key, value)| (key.clone(), masked(value)))
            .collect(),
        other => other.clone(),
    }
}

fn masked_text(text: &str) -> String {
    let mask = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        // A short form of a key's id.
        let is_id = word.len() >= 12 && word.chars().all(|letter| letter.is_ascii_hexdigit());
        // How many proxies enforce it is told when it suits: at most once a minute.
        let is_count = word
            .split_once('/')
            .is_some_and(|(some, all)| is_number(some) && is_number(all));
        if digits >= 6 || is_id || is_count {
            "*".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(mask).collect::<Vec<_>>().join(" ")
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit())
}

fn is_event(key: &str, reason: &str) -> bool {
    key.starts_with("Event ") && key.contains(&format!(" {reason} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_no_difference_and_words_are() {
        assert_eq!(
            masked_text("until 2026-11-25T22:15:57Z at most"),
            "until * at most"
        );
        assert_eq!(masked_text("signed by abcdefabcdef0123 now"), "signed by * now");
        assert_eq!(
            masked_text("generation 4 enforced by 12/12 proxies"),
            "generation 4 enforced by * proxies"
        );
    }

    #[test]
    fn generations_can_be_left_out() {
        let of = |generation: u32| {
            let message = format!("generation {generation} waits");
            let one = json!({"conditions": [{"observedGeneration": generation, "message": message}]});
            Snapshot([("a".to_owned(), one)].into()).without_generations()
        };
        assert_eq!(of(1), of(2));
    }

    #[test]
    fn a_difference_is_named() {
        let of = |entries: &[(&str, u32)]| {
            Snapshot(
                entries
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), json!(value)))
                    .collect(),
            )
        };
        let (wanted, found) = (of(&[("a", 1), ("b", 1)]), of(&[("b", 2), ("c", 1)]));
        let told = found.differs_from(&wanted).join("; ");
        assert!(
            told.contains("missing: a") && told.contains("too much: c") && told.contains("other: b"),
            "{told}"
        );
        assert!(wanted.differs_from(&wanted).is_empty());
    }
}
