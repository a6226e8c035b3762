//! The headers of a match, which two wire forms exist for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Headers as they were written: a list of maps with one entry each (SMI's SDK), or one map (SMI's documents).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(Value);

/// A header that must be present with a value that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderMatch {
    /// Name in lower case.
    pub name: String,
    /// Regular expression for the value.
    pub regex: String,
}

/// Headers of neither wire form. A match with such headers matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeaders {
    /// Neither a list nor a map.
    #[error("headers are {0}; write a map of names to regular expressions")]
    Shape(String),
    /// An element of the list is no map.
    #[error("headers[{index}] is {value}; write a map with one entry")]
    Element {
        /// Position in the list.
        index: usize,
        /// What is there.
        value: String,
    },
    /// A value is no string.
    #[error("the value of header {name} is {value}; put it in quotes")]
    Value {
        /// Name of the header.
        name: String,
        /// What is there.
        value: String,
    },
}

impl Headers {
    /// Headers in the form of SMI's documents, from a map of names to regular expressions.
    pub fn from_map<N: Into<String>, R: Into<String>>(entries: impl IntoIterator<Item = (N, R)>) -> Self {
        let map: Map<_, _> = entries
            .into_iter()
            .map(|(name, regex)| (name.into(), Value::String(regex.into())))
            .collect();
        Self(if map.is_empty() {
            Value::Null
        } else {
            Value::Object(map)
        })
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// The headers in one form: names in lower case, in the order of a list and in alphabetical order of a map. A name
    /// that comes more than once must match each time.
    pub fn canonical(&self) -> Result<Vec<HeaderMatch>, InvalidHeaders> {
        match &self.0 {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => entries(map).collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(index, element)| match element {
                    Value::Object(map) => entries(map).collect::<Result<Vec<_>, _>>(),
                    other => Err(InvalidHeaders::Element {
                        index,
                        value: other.to_string(),
                    }),
                })
                .collect::<Result<Vec<_>, _>>()
                .map(|all| all.into_iter().flatten().collect()),
            other => Err(InvalidHeaders::Shape(other.to_string())),
        }
    }
}

fn entries(map: &Map<String, Value>) -> impl Iterator<Item = Result<HeaderMatch, InvalidHeaders>> {
    let mut sorted: Vec<_> = map.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted.into_iter().map(|(name, value)| match value {
        Value::String(regex) => Ok(HeaderMatch {
            name: name.to_ascii_lowercase(),
            regex: regex.clone(),
        }),
        other => Err(InvalidHeaders::Value {
            name: name.clone(),
            value: other.to_string(),
        }),
    })
}

impl JsonSchema for Headers {
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Both a list and a map: a structural schema can only say so by not naming a type.
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxItems": super::MAX_HEADERS,
            "maxProperties": super::MAX_HEADERS,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(headers: Value) -> Result<Vec<(String, String)>, InvalidHeaders> {
        let all = Headers(headers).canonical()?;
        Ok(all
            .into_iter()
            .map(|header| (header.name, header.regex))
            .collect())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|&(name, regex)| (name.to_owned(), regex.to_owned()))
            .collect()
    }

    #[test]
    fn a_list_of_maps_and_a_map_mean_the_same() {
        let expected = Ok(pairs(&[("a", "x"), ("b", "y")]));
        assert_eq!(read(json!([{ "A": "x" }, { "b": "y" }])), expected);
        assert_eq!(read(json!({ "A": "x", "b": "y" })), expected);
    }

    #[test]
    fn a_name_that_comes_twice_is_kept_twice() {
        assert_eq!(
            read(json!([{ "a": "x.*" }, { "A": ".*y" }])),
            Ok(pairs(&[("a", "x.*"), ("a", ".*y")]))
        );
    }

    #[test]
    fn what_is_of_neither_form_is_an_error_and_never_no_constraint() {
        assert!(matches!(read(json!("a: x")), Err(InvalidHeaders::Shape(_))));
        assert!(matches!(
            read(json!(["a"])),
            Err(InvalidHeaders::Element { index: 0, .. })
        ));
        assert!(matches!(
            read(json!({ "a": 1 })),
            Err(InvalidHeaders::Value { .. })
        ));
    }
}
