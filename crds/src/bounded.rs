//! Reading JSON of any shape without failing on its depth.
//!
//! The schema of an HTTPRouteGroup cannot say how deep its headers are nested. [`serde_json`] gives up at 128 levels, with
//! all of a list or watch that such an object is in: one object of one tenant would hide everybody's.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::census::{DEEPEST, Nesting};

/// A value whose deeper parts are null.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounded {
    pub(crate) value: Value,
    pub(crate) nesting: Nesting,
}

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut nesting = Nesting::Bounded;
        let within = Within {
            depth: DEEPEST,
            nesting: &mut nesting,
        };
        let value = within.deserialize(deserializer)?;
        Ok(Self { value, nesting })
    }
}

/// Reads a value that may have so many levels.
struct Within<'n> {
    depth: usize,
    nesting: &'n mut Nesting,
}

impl Within<'_> {
    fn inner(&mut self) -> Within<'_> {
        Within {
            depth: self.depth - 1,
            nesting: self.nesting,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > 0 {
            return deserializer.deserialize_any(self);
        }
        // Not read, and so not counted against the limit of the deserializer.
        IgnoredAny::deserialize(deserializer)?;
        *self.nesting = Nesting::TooDeep;
        Ok(Value::Null)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.inner())?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::specs::HTTPRouteGroup;

    fn group(headers: &str) -> String {
        let group = json!({
            "metadata": { "name": "g" },
            "spec": { "matches": [{ "name": "m", "headers": "here" }] },
        });
        group.to_string().replace(r#""here""#, headers)
    }

    #[test]
    fn s26_headers_nested_without_end_hide_no_other_group_from_a_watch() {
        for depth in [100, 150, 10_000] {
            let deep = group(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
            let list = format!("[{},{deep},{}]", group("{}"), group("{}"));
            let groups: Vec<HTTPRouteGroup> = serde_json::from_str(&list).expect("the list is read");
            assert!(groups[0].malformed.is_none() && groups[2].malformed.is_none());
            let malformed = groups[1].malformed.as_ref().expect("is malformed");
            assert!(malformed.reason.contains("64 levels"), "{}", malformed.reason);
            assert!(groups[1].effective_matches().is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_not_too_deep_is_read_as_it_is(
            value in prop_oneof![Just(json!({"a": [1, -1, 1.5, "x", null, true, {"b": {}}]})), "\\PC{0,9}".prop_map(Value::from)]
        ) {
            let read: Bounded = serde_json::from_str(&value.to_string()).expect("reads");
            prop_assert_eq!(&read.value, &value);
            prop_assert_eq!(read.nesting, Nesting::Bounded);
            prop_assert_eq!(serde_json::from_value::<Bounded>(value).expect("reads"), read);
        }
    }
}
