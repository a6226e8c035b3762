//! `admission.k8s.io/v1` AdmissionReview, as far as it is used.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use json_patch::Patch;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use smilax_crds::census::{Excess, census};

const API_VERSION: &str = "admission.k8s.io/v1";
/// Most warnings of one answer; kubectl prints each.
const MOST_WARNINGS: usize = 20;

/// The question, its objects unread: slices of the body.
#[derive(Clone, Debug)]
pub(super) struct Review {
    pub(super) about: About,
    object: Bytes,
    old_object: Bytes,
}

/// What is asked about.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) uid: String,
    pub(super) kind: Kind,
    pub(super) sub_resource: String,
    pub(super) namespace: String,
    pub(super) operation: Operation,
}

/// The question with the objects that its answer needs; null for others.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) about: About,
    pub(super) object: Value,
    pub(super) old_object: Value,
}

/// Which of its objects the answer to a review needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Object,
    Both,
    /// The new one, and the old one if that can be read: an object that was too much may be made smaller.
    Comparison,
}

/// What is read of a review, and the memory that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weighed {
    pub(super) needs: Needs,
    pub(super) object: usize,
    pub(super) old_object: usize,
}

/// What says of an object which one it is, and whether it goes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    generate_name: Cow<'a, str>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

/// An object that is too much to be read.
#[derive(Debug)]
pub(super) struct TooMuch {
    /// What a request about it is answered.
    pub(super) message: String,
    pub(super) life: Life,
}

/// Whether an object stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Stays,
    Ends,
}

/// What kind of object it is about.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kind {
    #[serde(default)]
    pub(super) group: String,
    pub(super) kind: String,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// The answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) warnings: Vec<String>,
}

/// Whether the object may be stored, and as what.
#[derive(Debug, Default)]
pub(super) enum Verdict {
    #[default]
    Allowed,
    Changed(Patch),
    Denied {
        /// HTTP status that the author sees.
        code: u16,
        /// Kubernetes' word for it.
        reason: &'static str,
        message: String,
    },
}

/// A body that is no review.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("the body is not JSON of the expected form: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the body is {api_version:?} {kind:?} and must be {API_VERSION:?} \"AdmissionReview\" with a request"
    )]
    OtherKind { api_version: String, kind: String },
    #[error("request.uid is empty")]
    NoUid,
}

/// Reads what a review is about. Its objects are neither copied nor read.
pub(super) fn read(body: &Bytes) -> Result<Review, ReviewError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outer<'a> {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
        #[serde(borrow)]
        request: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner<'a> {
        uid: String,
        kind: Kind,
        #[serde(default)]
        sub_resource: String,
        #[serde(default)]
        namespace: String,
        operation: Operation,
        #[serde(borrow, default)]
        object: Option<&'a RawValue>,
        #[serde(borrow, default)]
        old_object: Option<&'a RawValue>,
    }
    let Outer {
        api_version,
        kind,
        request,
    } = serde_json::from_slice(body)?;
    let slice = |raw: Option<&RawValue>| {
        raw.map_or(Bytes::from_static(b"null"), |raw| {
            body.slice_ref(raw.get().as_bytes())
        })
    };
    match request {
        Some(request) if api_version == API_VERSION && kind == "AdmissionReview" => {
            if request.uid.is_empty() {
                return Err(ReviewError::NoUid);
            }
            Ok(Review {
                object: slice(request.object),
                old_object: slice(request.old_object),
                about: About {
                    uid: request.uid,
                    kind: request.kind,
                    sub_resource: request.sub_resource,
                    namespace: request.namespace,
                    operation: request.operation,
                },
            })
        }
        _ => Err(ReviewError::OtherKind { api_version, kind }),
    }
}

impl Review {
    /// Says what the objects take before they are read.
    pub(super) fn weigh(&self, needs: Needs) -> Result<Weighed, TooMuch> {
        let weigh = |json| census(json).affordable().map_err(|excess| self.too_much(&excess));
        let mut weighed = Weighed {
            needs,
            object: 0,
            old_object: 0,
        };
        if needs != Needs::Nothing {
            weighed.object = weigh(&self.object)?;
        }
        if matches!(needs, Needs::Both | Needs::Comparison) {
            match (weigh(&self.old_object), needs) {
                (Ok(memory), _) => weighed.old_object = memory,
                (Err(_), Needs::Comparison) => weighed.needs = Needs::Object,
                (Err(too_much), _) => return Err(too_much),
            }
        }
        Ok(weighed)
    }

    fn too_much(&self, excess: &Excess) -> TooMuch {
        let head = self.head();
        let names = [&head.name, &head.generate_name];
        let name = names.into_iter().find(|name| !name.is_empty());
        let name = name.map_or("without name", |name| name);
        let kind = &self.about.kind.kind;
        let object = match self.about.namespace.as_str() {
            "" => format!("{kind} {name}"),
            namespace => format!("{kind} {namespace}/{name}"),
        };
        TooMuch {
            message: format!("{object}: {excess}"),
            life: match head.deletion_timestamp {
                Some(_) if self.keeps_content() => Life::Ends,
                _ => Life::Stays,
            },
        }
    }

    /// Reads the objects that are needed.
    pub(super) fn objects(&self, needs: Needs) -> Result<Request, serde_json::Error> {
        let read = |json: &Bytes, needed: bool| {
            if needed {
                serde_json::from_slice(json)
            } else {
                Ok(Value::Null)
            }
        };
        Ok(Request {
            object: read(&self.object, needs != Needs::Nothing)?,
            old_object: read(&self.old_object, matches!(needs, Needs::Both | Needs::Comparison))?,
            about: self.about.clone(),
        })
    }

    /// Whether at most metadata and status differ, in the bytes of the API server: neither object may be read.
    fn keeps_content(&self) -> bool {
        fn content(object: &[u8]) -> Option<BTreeMap<Cow<'_, str>, &str>> {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(object).ok()?;
            let members = members.into_iter().map(|(name, value)| (name, value.get()));
            Some(
                members
                    .filter(|(name, _)| !matches!(&**name, "metadata" | "status"))
                    .collect(),
            )
        }
        content(&self.object).is_some_and(|new| content(&self.old_object) == Some(new))
    }

    fn head(&self) -> Head<'_> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Object<'a> {
            #[serde(borrow)]
            metadata: Head<'a>,
        }
        serde_json::from_slice::<Object<'_>>(&self.object)
            .unwrap_or_default()
            .metadata
    }
}

/// Writes the answer to a request.
pub(super) fn write(uid: &str, answer: Answer) -> Result<Vec<u8>, serde_json::Error> {
    let mut response = json!({"uid": uid, "allowed": true});
    match answer.verdict {
        Verdict::Allowed => {}
        Verdict::Changed(patch) => {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(serde_json::to_vec(&patch)?));
        }
        Verdict::Denied {
            code,
            reason,
            message,
        } => {
            response["allowed"] = json!(false);
            response["status"] =
                json!({"status": "Failure", "code": code, "reason": reason, "message": message});
        }
    }
    let warnings: Vec<String> = answer
        .warnings
        .into_iter()
        .take(MOST_WARNINGS)
        .map(|warning| format!("smilax: {warning}"))
        .collect();
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    serde_json::to_vec(&json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}))
}
