//! A weight that can be read whatever an older mesh let pass.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The largest weight that Smilax carries out.
pub const MAX_WEIGHT: u32 = u32::MAX;

/// Weight of a backend. Older CRDs let negative numbers and fractions pass, so everything is read and
/// [`Weight::get`] says what it is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Not written. Counts as zero.
    #[default]
    Missing,
    /// A whole number, perhaps out of range.
    Whole(i64),
    /// Anything else: a fraction, a string, a number beyond 64 bits.
    Other(Value),
}

/// A weight that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWeight {
    /// Below zero.
    #[error("weight {0} is negative; write 0 or a positive whole number")]
    Negative(i64),
    /// Above [`MAX_WEIGHT`].
    #[error("weight {0} is above {MAX_WEIGHT}; weights are relative, divide all of them by the same number")]
    TooLarge(i64),
    /// Not a whole number.
    #[error("weight {0} is not a whole number; multiply all weights until each is whole")]
    NotWhole(String),
}

impl Weight {
    /// The weight to carry out; a missing one is zero.
    pub fn get(&self) -> Result<u32, InvalidWeight> {
        match *self {
            Self::Missing => Ok(0),
            Self::Whole(weight) if weight < 0 => Err(InvalidWeight::Negative(weight)),
            Self::Whole(weight) => u32::try_from(weight).map_err(|_| InvalidWeight::TooLarge(weight)),
            Self::Other(ref value) => Err(InvalidWeight::NotWhole(value.to_string())),
        }
    }

    /// Whether no weight is written.
    pub fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

impl From<u32> for Weight {
    fn from(weight: u32) -> Self {
        Self::Whole(i64::from(weight))
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match value.as_i64() {
            Some(weight) => Self::Whole(weight),
            None if value.is_null() => Self::Missing,
            None => Self::Other(value),
        })
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_unit(),
            Self::Whole(weight) => serializer.serialize_i64(*weight),
            Self::Other(value) => value.serialize(serializer),
        }
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> Cow<'static, str> {
        "Weight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
    }

    fn inline_schema() -> bool {
        true
    }
}
