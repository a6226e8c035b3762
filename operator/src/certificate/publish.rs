//! Where the API server reads whom to trust, and what is to be changed there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use serde_json::{Value, json};

use super::{CONVERSION_SERVICE, WEBHOOK_SERVICE};

/// An object that carries a `caBundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// MutatingWebhookConfiguration.
    Mutating(&'static str),
    /// ValidatingWebhookConfiguration.
    Validating(&'static str),
    /// CustomResourceDefinition.
    Definition(&'static str),
}

impl Target {
    /// Name of the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutating(name) | Self::Validating(name) | Self::Definition(name) => name,
        }
    }

    /// API group, version, kind and plural.
    pub(super) fn resource(self) -> (&'static str, &'static str, &'static str, &'static str) {
        const ADMISSION: &str = "admissionregistration.k8s.io";
        match self {
            Self::Mutating(_) => (
                ADMISSION,
                "v1",
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
            ),
            Self::Validating(_) => (
                ADMISSION,
                "v1",
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
            ),
            Self::Definition(_) => (
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
            ),
        }
    }
}

/// Every object that the chart installs with a call to us in it.
pub fn targets() -> [Target; 8] {
    [
        Target::Mutating("smilax-inject"),
        Target::Validating("smilax-validate"),
        Target::Definition("trafficsplits.split.smi-spec.io"),
        Target::Definition("traffictargets.access.smi-spec.io"),
        Target::Definition("identitybindings.access.smi-spec.io"),
        Target::Definition("httproutegroups.specs.smi-spec.io"),
        Target::Definition("tcproutes.specs.smi-spec.io"),
        Target::Definition("udproutes.specs.smi-spec.io"),
    ]
}

/// What is to be done to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It says what it should, or calls somebody else.
    Keep,
    /// It is to be changed so.
    Write(Patch),
}

/// Compares an object with the bundle that it should carry, in every place where it calls a Service of `namespace` that is ours.
pub fn decide(target: Target, object: &Value, namespace: &str, bundle: &str) -> Decision {
    let wanted = STANDARD.encode(bundle);
    let operations = match target {
        Target::Mutating(_) | Target::Validating(_) => {
            let webhooks = object.pointer("/webhooks").and_then(Value::as_array);
            webhooks
                .into_iter()
                .flatten()
                .enumerate()
                .filter(|(_, webhook)| {
                    let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
                    calls(config, namespace, WEBHOOK_SERVICE) && carried(config) != Some(&wanted)
                })
                .flat_map(|(index, webhook)| {
                    let index = index.to_string();
                    let name = webhook.get("name").cloned().unwrap_or_default();
                    // Somebody may reorder the list between our reading and our writing.
                    write(
                        &["webhooks", &index, "name"],
                        name,
                        &["webhooks", &index, "clientConfig"],
                        &wanted,
                    )
                })
                .collect()
        }
        Target::Definition(_) => {
            let config = object.pointer("/spec/conversion/webhook/clientConfig");
            let config = config.unwrap_or(&Value::Null);
            if calls(config, namespace, CONVERSION_SERVICE) && carried(config) != Some(&wanted) {
                let path = ["spec", "conversion", "webhook", "clientConfig"];
                let service = ["spec", "conversion", "webhook", "clientConfig", "service", "name"];
                write(&service, json!(CONVERSION_SERVICE), &path, &wanted).to_vec()
            } else {
                Vec::new()
            }
        }
    };
    if operations.is_empty() {
        Decision::Keep
    } else {
        Decision::Write(Patch(operations))
    }
}

fn calls(config: &Value, namespace: &str, service: &str) -> bool {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
    text("/service/namespace") == Some(namespace) && text("/service/name") == Some(service)
}

fn carried(config: &Value) -> Option<&str> {
    config.get("caBundle").and_then(Value::as_str)
}

fn write(same: &[&str], value: Value, config: &[&str], bundle: &str) -> [PatchOperation; 2] {
    let bundle_path: Vec<&str> = config.iter().copied().chain(["caBundle"]).collect();
    [
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(same.iter().copied()),
            value,
        }),
        PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(bundle_path),
            value: json!(bundle),
        }),
    ]
}
