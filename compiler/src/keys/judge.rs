//! What is wrong with the labels and annotations of an object. Pure, for the webhook and for `smilax check`.

use std::fmt;

use serde_json::Value;
use smilax_core::convention::key;

use super::foreign::{Instead, foreign};
use super::service_ports::ServicePorts;
use super::values::{Injection, injection};
use super::{Form, KEYS, Key, PREFIX, Place};
use crate::nearest;

/// Whether the Namespace of an object is labelled to join the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is.
    Joined,
    /// It is not.
    Apart,
}

impl Membership {
    /// By the label `smilax.dev/inject` of the Namespace.
    pub fn labelled(label: Option<&str>) -> Self {
        match label.map(injection) {
            Some(Ok(Injection::Enabled)) => Self::Joined,
            _ => Self::Apart,
        }
    }
}

/// Something wrong with a label or annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFinding {
    /// Where it stands, such as `spec.template.metadata.labels`.
    pub field: String,
    /// The label or annotation.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a label or annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such key; the nearest that there is.
    Unknown(Option<&'static str>),
    /// The value cannot be read.
    Value(String),
    /// It is right here in the other form.
    Form(Form),
    /// It belongs elsewhere.
    Place {
        /// Kind of the object that it stands on.
        kind: String,
        /// Where it has an effect.
        instead: String,
    },
    /// An annotation asks for a sidecar where only a label is looked at.
    NotSelected,
    /// An entry of `smilax.dev/opaque-ports` is not a port of the Service.
    NotAPort(String),
    /// It is of another mesh; what does the same here.
    Foreign {
        /// Whose it is.
        mesh: &'static str,
        /// What to write.
        instead: Instead,
    },
}

impl fmt::Display for KeyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: ", self.field, self.key)?;
        match &self.fault {
            Fault::Unknown(Some(nearest)) => write!(f, "unknown key without effect; did you mean {nearest}?"),
            Fault::Unknown(None) => f.write_str("unknown key without effect; remove it"),
            Fault::Value(reason) | Fault::NotAPort(reason) => f.write_str(reason),
            Fault::Form(form) => write!(f, "no effect here; write it as {}", noun(*form)),
            Fault::Place { kind, instead } => write!(f, "no effect on a {kind}; write it as {instead}"),
            Fault::NotSelected => f.write_str(
                "no effect, since the Namespace is not labelled to join the mesh; write it as a label",
            ),
            Fault::Foreign { mesh, instead } => {
                write!(f, "a key of {mesh}, without effect in this mesh; {instead}")
            }
        }
    }
}

/// Judges a Namespace, ServiceAccount, Service, pod or workload. Other kinds have no findings.
pub fn judge(kind: &str, object: &Value, namespace: Membership) -> Vec<KeyFinding> {
    let place = match kind {
        "Namespace" => Place::Namespace,
        "ServiceAccount" => Place::ServiceAccount,
        "Service" => Place::Service,
        "Pod" => Place::Pod,
        _ => return workload(kind, object, namespace),
    };
    let subject = Subject {
        kind,
        place: Some(place),
        path: "",
        namespace,
    };
    subject.judge(object)
}

fn workload(kind: &str, object: &Value, namespace: Membership) -> Vec<KeyFinding> {
    let path = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "spec.template.",
        "CronJob" => "spec.jobTemplate.spec.template.",
        _ => return Vec::new(),
    };
    let own = Subject {
        kind,
        place: None,
        path: "",
        namespace,
    };
    let mut findings = own.judge(object);
    let pointer = format!("/{}", path.trim_end_matches('.').replace('.', "/"));
    if let Some(template) = object.pointer(&pointer) {
        let pods = Subject {
            kind: "Pod",
            place: Some(Place::Pod),
            path,
            namespace,
        };
        findings.extend(pods.judge(template));
    }
    findings
}

/// What is judged.
struct Subject<'a> {
    kind: &'a str,
    /// `None` where no key of ours counts.
    place: Option<Place>,
    /// Before `metadata`.
    path: &'static str,
    namespace: Membership,
}

impl Subject<'_> {
    fn judge(&self, object: &Value) -> Vec<KeyFinding> {
        let entries = [
            (Form::Label, "/metadata/labels"),
            (Form::Annotation, "/metadata/annotations"),
        ]
        .into_iter()
        .flat_map(|(form, pointer)| {
            let all = object.pointer(pointer).and_then(Value::as_object);
            all.into_iter()
                .flatten()
                .map(move |(key, value)| (form, key.as_str(), value.as_str().unwrap_or_default()))
        });
        let entries: Vec<_> = entries.collect();
        let ports = ServicePorts::of(self.place, object);
        let ours = entries.iter().any(|(_, key, _)| key.starts_with(PREFIX));
        let answers = ours || self.namespace == Membership::Joined;
        entries
            .into_iter()
            .filter_map(|(form, key, value)| {
                let fault = match foreign(key) {
                    Some((mesh, instead)) if answers => Some(Fault::Foreign { mesh, instead }),
                    Some(_) => None,
                    None => self.fault(form, key, value).or_else(|| ports.fault(key, value)),
                };
                Some(KeyFinding {
                    field: format!("{}metadata.{}", self.path, field(form)),
                    key: key.to_owned(),
                    fault: fault?,
                })
            })
            .collect()
    }

    fn fault(&self, form: Form, name: &str, value: &str) -> Option<Fault> {
        let Some(known) = Key::named(name) else {
            return unknown(name);
        };
        let has = |form: Form| {
            self.place
                .is_some_and(|place| known.places(form).contains(&place))
        };
        let other = match form {
            Form::Label => Form::Annotation,
            Form::Annotation => Form::Label,
        };
        if !has(form) {
            return Some(if has(other) {
                Fault::Form(other)
            } else {
                Fault::Place {
                    kind: self.kind.to_owned(),
                    instead: self.instead(known),
                }
            });
        }
        if let Err(reason) = known.values.check(value) {
            return Some(Fault::Value(reason));
        }
        let not_selected = known.name == key::INJECT
            && form == Form::Annotation
            && self.namespace == Membership::Apart
            && injection(value) == Ok(Injection::Enabled);
        not_selected.then_some(Fault::NotSelected)
    }

    /// Where a key has an effect.
    fn instead(&self, known: &Key) -> String {
        let (form, places) = if known.label_of.is_empty() {
            (Form::Annotation, known.annotation_of)
        } else {
            (Form::Label, known.label_of)
        };
        if self.place.is_none() && places.contains(&Place::Pod) {
            let template = if self.kind == "CronJob" {
                "spec.jobTemplate.spec.template"
            } else {
                "spec.template"
            };
            return format!("{template}.metadata.{}", field(form));
        }
        let places: Vec<&str> = places.iter().map(|place| of_a(*place)).collect();
        format!("{} of {}", noun(form), places.join(" or "))
    }
}

fn field(form: Form) -> &'static str {
    match form {
        Form::Label => "labels",
        Form::Annotation => "annotations",
    }
}

fn noun(form: Form) -> &'static str {
    match form {
        Form::Label => "a label",
        Form::Annotation => "an annotation",
    }
}

fn of_a(place: Place) -> &'static str {
    match place {
        Place::Namespace => "the Namespace",
        Place::ServiceAccount => "the ServiceAccount",
        Place::Service => "the Service",
        Place::Pod => "the pod template",
        Place::MeshConfig => "the MeshConfig",
    }
}

/// A key that begins as ours do. One with another domain, `smilax.io/inject`, is taken for ours only if it is near to one.
fn unknown(name: &str) -> Option<Fault> {
    let (domain, word) = name.split_once('/').unwrap_or((name, name));
    let nearest = nearest_key(word);
    let ours = name.starts_with(PREFIX);
    (ours || domain.starts_with("smilax") && nearest.is_some()).then_some(Fault::Unknown(nearest))
}

/// The key whose word is nearest, if that is near enough to be worth proposing.
fn nearest_key(word: &str) -> Option<&'static str> {
    let words = KEYS.iter().filter_map(|key| key.name.strip_prefix(PREFIX));
    let word = nearest(word, words)?;
    KEYS.iter()
        .map(|key| key.name)
        .find(|name| name.strip_prefix(PREFIX) == Some(word))
}
