//! Reading fields for checks: every reader reports what is of the wrong type or missing.

use serde_json::{Map, Value};

use super::{FieldError, Validation};
use crate::host::has_dns_label_characters;

/// Errors and warnings, in the order of the fields.
#[derive(Default)]
pub(super) struct Findings {
    errors: Vec<FieldError>,
    warnings: Vec<String>,
}

impl Findings {
    pub(super) fn error(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError {
            path: path.into(),
            reason: reason.into(),
        });
    }

    pub(super) fn warning(&mut self, path: &str, text: &str) {
        self.warnings.push(format!("{path}: {text}"));
    }

    pub(super) fn into_validation(self) -> Validation {
        Validation {
            errors: self.errors,
            warnings: self.warnings,
        }
    }

    /// A map that must be there.
    pub(super) fn object<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        path: &str,
        name: &str,
        purpose: &str,
    ) -> Option<&'a Map<String, Value>> {
        let path = join(path, name);
        match present(parent, name) {
            None => {
                self.error(path, format!("is missing; write {purpose}"));
                None
            }
            Some(value) => self.as_object(value, &path),
        }
    }

    /// A value that must be a map.
    pub(super) fn as_object<'a>(&mut self, value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.error(path, format!("is {}; write a map", short(value)));
        }
        object
    }

    /// A list, empty when absent; `None` when it is something else.
    pub(super) fn list<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Option<&'a [Value]> {
        match present(parent, name) {
            None => Some(&[]),
            Some(Value::Array(list)) => Some(list),
            Some(other) => {
                self.error(join(path, name), format!("is {}; write a list", short(other)));
                None
            }
        }
    }

    /// A text that may be left out.
    pub(super) fn optional_text<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Option<&'a str> {
        match present(parent, name)? {
            Value::String(text) => Some(text),
            other => {
                self.error(
                    join(path, name),
                    format!("is {}; write text, in quotes if need be", short(other)),
                );
                None
            }
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn text<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Option<&'a str> {
        if present(parent, name).is_none() {
            self.error(join(path, name), "is missing");
            return None;
        }
        let text = self.optional_text(parent, path, name)?;
        if text.is_empty() {
            self.error(join(path, name), "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A text that must be one of a few.
    pub(super) fn one_of<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        path: &str,
        name: &str,
        all: &[&str],
    ) -> Option<&'a str> {
        let text = self.text(parent, path, name)?;
        if all.contains(&text) {
            return Some(text);
        }
        self.error(
            join(path, name),
            format!("is {text:?}; write {}", all.join(" or ")),
        );
        None
    }

    /// The name of an object: a DNS subdomain (RFC 1123).
    pub(super) fn object_name<'a>(&mut self, parent: &'a Map<String, Value>, path: &str) -> Option<&'a str> {
        let name = self.text(parent, path, "name")?;
        if !is_dns_subdomain(name) {
            self.error(
                join(path, "name"),
                format!("{name:?} is not a valid name for an object: {SUBDOMAIN}"),
            );
            return None;
        }
        Some(name)
    }

    /// An API group that must be the one expected, or left out.
    pub(super) fn group(&mut self, parent: &Map<String, Value>, path: &str, name: &str, expected: &str) {
        let group = self.optional_text(parent, path, name).unwrap_or_default();
        if !group.is_empty() && group != expected {
            self.error(
                join(path, name),
                format!("is {group:?}; leave it out or write {expected}"),
            );
        }
    }
}

/// What names of objects look like.
pub(super) const SUBDOMAIN: &str = "at most 253 lower-case letters, digits, hyphens and dots";

/// `IsDNS1123Subdomain` of Kubernetes: a label in it may be as long as the whole, which is not so in DNS.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(has_dns_label_characters)
}

/// A field that is neither absent nor null.
pub(super) fn present<'a>(parent: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    parent.get(name).filter(|value| !value.is_null())
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A value for a message, not longer than a line.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
