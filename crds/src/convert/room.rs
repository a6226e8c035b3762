//! Whether the annotations of an object have room for what a version has no field for.
//!
//! The API server limits the annotations of an object, and checks converted ones too: one that has more would make a
//! whole list fail. Such an object is refused when it is written. If it is stored all the same, versions that cannot
//! hold it show it without what does not fit, marked with [`INCOMPLETE`], and writing that back is refused.

use serde_json::{Map, Value};

use super::{Completeness, INCOMPLETE, Kind, Reason, Version, WEIGHTS, annotation, convert, text};
use super::{EMPTY_RULES, MATCHES, ROOT_MATCHES, SPEC};
use crate::validate::FieldError;

/// Bytes of all keys and values (`TotalAnnotationSizeLimitB` of the API server).
pub const MOST_ANNOTATIONS: usize = 256 * 1024;

/// Why an object cannot be written: in some version it would be incomplete, or it is what such a version shows.
pub fn room(object: &Value) -> Option<FieldError> {
    let fields = object.as_object()?;
    let (group, _) = text(fields, "apiVersion").split_once('/')?;
    let kind = Kind::find(group, text(fields, "kind"))?;
    if annotation::get(fields, INCOMPLETE).is_some() {
        return Some(FieldError {
            path: format!("metadata.annotations[{INCOMPLETE}]"),
            reason: Reason::Incomplete.to_string(),
        });
    }
    if certainly_fits(fields) {
        return None;
    }
    let cannot_hold = |version: &&Version| {
        let converted = convert(object.clone(), &format!("{group}/{version}"));
        match converted {
            Ok(converted) => converted.completeness == Completeness::Incomplete,
            Err(error) => matches!(error.reason, Reason::NoRoom { .. }),
        }
    };
    let version = kind.versions().iter().find(cannot_hold)?;
    Some(FieldError {
        path: "metadata.annotations".to_owned(),
        reason: format!(
            "have no room for what {group}/{version} has no field for; in all they hold {MOST_ANNOTATIONS} bytes. Shorten \
             them, kubectl.kubernetes.io/last-applied-configuration among them (kubectl apply --server-side does not \
             write it), or write less beside them"
        ),
    })
}

/// Whether even all of the object, written into an annotation, would fit. Quotation marks are escaped there.
fn certainly_fits(object: &Map<String, Value>) -> bool {
    let content: usize = object
        .iter()
        .filter(|(field, _)| *field != "metadata")
        .map(|(_, value)| 2 * length(value))
        .sum();
    size(object) + content + 1024 <= MOST_ANNOTATIONS
}

/// Bytes of a value as JSON.
fn length(value: &Value) -> usize {
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX / 4,
    }
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes of the annotations, as the API server counts them.
pub(super) fn size(object: &Map<String, Value>) -> usize {
    let annotations = object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    annotations
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

/// Holds a converted object to the limit: what was stored is shown without what does not fit, what is being written is
/// refused.
pub(super) fn fit(object: &mut Map<String, Value>, from: Version) -> Result<Completeness, Reason> {
    let size = size(object);
    if size <= MOST_ANNOTATIONS {
        return Ok(Completeness::Whole);
    }
    if from != Version::STORED {
        return Err(Reason::NoRoom { size });
    }
    for slot in [WEIGHTS, MATCHES, ROOT_MATCHES, SPEC, EMPTY_RULES] {
        annotation::set(object, slot, None)?;
    }
    annotation::set(object, INCOMPLETE, Some(Reason::Incomplete.to_string()))?;
    // Others make room for the mark that protects them.
    while self::size(object) > MOST_ANNOTATIONS {
        let Some(longest) = longest(object) else { break };
        annotation::remove(object, &longest);
    }
    Ok(Completeness::Incomplete)
}

fn longest(object: &Map<String, Value>) -> Option<String> {
    let annotations = object.get("metadata")?.get("annotations")?.as_object()?;
    annotations
        .iter()
        .filter(|(key, _)| *key != INCOMPLETE)
        .max_by_key(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .map(|(key, _)| key.clone())
}
