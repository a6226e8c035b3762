//! The answer to a ConversionReview (apiextensions.k8s.io/v1).
//!
//! The API server sends all objects of a list at once, and whoever reads the list gets none of them when the answer is a
//! failure. So each object is read, converted and written by itself: one tree is in memory at any time, and an object that
//! cannot be shown in the version asked for is shown without its content, instead of failing its neighbours.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::stub::Head;
use super::{Completeness, convert};
use crate::census::census;

const API_VERSION: &str = "apiextensions.k8s.io/v1";
/// What follows the objects.
const END: &[u8] = b"]}}";

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionAnswer {
    /// A ConversionReview with its response.
    pub body: Vec<u8>,
    /// What it says.
    pub outcome: ConversionOutcome,
}

/// What became of the objects of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionOutcome {
    /// All are in the version that was asked for.
    Converted,
    /// So many of them are shown without what this version has no room for.
    Incomplete(usize),
    /// None is.
    Failed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default, rename = "desiredAPIVersion")]
    desired: Cow<'a, str>,
    #[serde(borrow, default)]
    objects: Option<&'a RawValue>,
}

/// Answers a ConversionReview: all its objects in the version asked for, in their order, or a failure that names the
/// object that cannot be converted. Whatever is JSON gets an answer.
///
/// # Errors
/// When `body` is not JSON.
pub fn conversion_review(body: &[u8]) -> Result<ConversionAnswer, serde_json::Error> {
    let review: &RawValue = serde_json::from_slice(body)?;
    let mut uid = Cow::default();
    Ok(convert_all(review.get(), &mut uid).unwrap_or_else(|message| {
        let mut body = begin(&uid, &json!({ "status": "Failure", "message": message }));
        body.extend_from_slice(END);
        ConversionAnswer {
            body,
            outcome: ConversionOutcome::Failed,
        }
    }))
}

/// The answer up to its objects.
fn begin(uid: &str, result: &Value) -> Vec<u8> {
    let uid = json!(uid);
    format!(
        r#"{{"apiVersion":"{API_VERSION}","kind":"ConversionReview","response":{{"uid":{uid},"result":{result},"convertedObjects":["#
    )
    .into_bytes()
}

/// Bytes that answering `body` takes: the answer, and the dearest of the objects that are read one after another.
pub fn conversion_memory(body: &[u8]) -> usize {
    let mut dearest = 0;
    if let Ok(Review {
        request: Some(request),
        ..
    }) = serde_json::from_slice(body)
        && let Ok(Request {
            objects: Some(objects),
            ..
        }) = serde_json::from_str(request.get())
    {
        let _ = each(objects, |object| {
            let memory = census(object.get().as_bytes()).affordable();
            dearest = dearest.max(memory.unwrap_or_default());
            Ok(())
        });
    }
    2 * body.len() + 2 * dearest
}

/// The answer when nothing fails; `uid` is set in any case, if there is one.
fn convert_all<'a>(review: &'a str, uid: &mut Cow<'a, str>) -> Result<ConversionAnswer, String> {
    let not_answered = || format!("only ConversionReview of {API_VERSION} is answered");
    let review: Review<'_> = serde_json::from_str(review).map_err(|_| not_answered())?;
    if (&*review.api_version, &*review.kind) != (API_VERSION, "ConversionReview") {
        return Err(not_answered());
    }
    let request = review.request.map_or("{}", RawValue::get);
    let request: Request<'_> =
        serde_json::from_str(request).map_err(|error| format!("request cannot be read: {error}"))?;
    *uid = request.uid;
    if request.desired.is_empty() {
        return Err("request.desiredAPIVersion is missing".to_owned());
    }
    let mut body = begin(uid, &json!({ "status": "Success" }));
    let mut incomplete = 0;
    if let Some(objects) = request.objects {
        let mut number = 0_usize;
        each(objects, |_| {
            number += 1;
            Ok(())
        })?;
        let company = if number > 1 {
            Company::Others
        } else {
            Company::Alone
        };
        // Mostly a little longer than the question; growing would take twice the room for a moment.
        body.reserve(objects.get().len() * 5 / 4);
        let empty = body.len();
        each(objects, |object| {
            if body.len() > empty {
                body.push(b',');
            }
            match convert_one(object.get(), &request.desired, company, &mut body)? {
                Completeness::Whole => {}
                Completeness::Incomplete => incomplete += 1,
            }
            Ok(())
        })?;
    }
    body.extend_from_slice(END);
    let outcome = match incomplete {
        0 => ConversionOutcome::Converted,
        incomplete => ConversionOutcome::Incomplete(incomplete),
    };
    Ok(ConversionAnswer { body, outcome })
}

/// Whether a failure concerns other objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Company {
    Alone,
    Others,
}

fn convert_one(
    json: &str,
    desired: &str,
    company: Company,
    written: &mut Vec<u8>,
) -> Result<Completeness, String> {
    let whole = census(json.as_bytes())
        .affordable()
        .map_err(|excess| excess.to_string())
        .and_then(|_| serde_json::from_str::<Value>(json).map_err(|error| error.to_string()));
    let reason = match whole {
        Ok(object) => match convert(object, desired) {
            Ok(converted) => {
                serde_json::to_writer(written, &converted.object).map_err(|error| error.to_string())?;
                return Ok(converted.completeness);
            }
            Err(error) => error.to_string(),
        },
        Err(reason) => reason,
    };
    // What is stored is read in the storage version, alone too where it is watched. What comes from another version and
    // alone is being written, and refused.
    match Head::read(json) {
        Some(head) if head.can_become(desired) && (company == Company::Others || head.is_stored()) => {
            head.write(desired, &reason, written);
            Ok(Completeness::Incomplete)
        }
        _ => Err(reason),
    }
}

/// Does something with each item of a list, none of which is kept.
fn each<'a>(list: &'a RawValue, visit: impl FnMut(&'a RawValue) -> Result<(), String>) -> Result<(), String> {
    let mut failed = None;
    let items = Items {
        visit,
        failed: &mut failed,
    };
    let read = items.deserialize(&mut serde_json::Deserializer::from_str(list.get()));
    match (failed, read) {
        (Some(message), _) => Err(message),
        (None, Err(_)) => Err("request.objects must be a list".to_owned()),
        (None, Ok(())) => Ok(()),
    }
}

struct Items<'f, F> {
    visit: F,
    failed: &'f mut Option<String>,
}

impl<'de, F: FnMut(&'de RawValue) -> Result<(), String>> DeserializeSeed<'de> for Items<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&'de RawValue) -> Result<(), String>> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if let Err(message) = (self.visit)(item) {
                *self.failed = Some(message);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
