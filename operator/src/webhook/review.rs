//! `admission.k8s.io/v1` AdmissionReview, as far as it is used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
/// Most warnings of one answer; kubectl prints each.
const MOST_WARNINGS: usize = 20;

/// The question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) operation: Operation,
    #[serde(default)]
    pub(super) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
}

/// What kind of object it is about.
#[derive(Debug, Deserialize)]
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

/// Reads a review.
pub(super) fn read(body: &[u8]) -> Result<Request, ReviewError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Review {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
        request: Option<Request>,
    }
    let Review {
        api_version,
        kind,
        request,
    } = serde_json::from_slice(body)?;
    match request {
        Some(request) if api_version == API_VERSION && kind == "AdmissionReview" => {
            if request.uid.is_empty() {
                Err(ReviewError::NoUid)
            } else {
                Ok(request)
            }
        }
        _ => Err(ReviewError::OtherKind { api_version, kind }),
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
