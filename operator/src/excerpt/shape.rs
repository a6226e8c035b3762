//! Which part of an object is kept, decided while it is read.

use std::fmt;

use serde::Deserializer;
use serde::de::{Deserialize as _, DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a value costs beside its text: about what it takes as part of a decoded object.
const NODE: usize = 64;
/// Bytes of a text of the object's identity at most: no name is longer.
const LONGEST_NAME: usize = 1024;
/// Levels of a value at most; null stands for deeper ones, which no kind of object has that is understood. [`serde_json`]
/// gives up at 128, with all of the list that such a value is in.
const DEEPEST: usize = 100;

/// Which part of a value is kept. What is not kept is skipped without being held.
#[derive(Debug)]
pub(crate) enum Shape {
    /// All of it.
    Whole,
    /// A text that says which object it is. It is kept even of an object that is too large.
    Name,
    /// A text, unless it is longer than so many bytes: it is empty then.
    Short(usize),
    /// These members of an object.
    Members(&'static [(&'static str, Self)]),
    /// Members whose names begin with one of these.
    Beginning(&'static [&'static str]),
    /// These members; of the others the first name, which says that there are others.
    Listed(&'static [&'static str]),
    /// This of every element of a list.
    Each(&'static Self),
    /// The first element of a list.
    First,
    /// What takes so many bytes more when it is decoded, whatever is in it.
    Costs(usize, &'static Self),
    /// A member that anybody may fill who must not be able to hide the rest of the object: it takes so many bytes at
    /// most, and none of what the object may take. If it takes more, it is left out.
    Apart(usize, &'static Self),
    /// This of the elements whose member `key` has one of the values.
    Where {
        key: &'static str,
        values: &'static [&'static str],
        each: &'static Self,
    },
    /// This of the elements that have the member.
    With { key: &'static str, each: &'static Self },
}

impl Shape {
    /// What is kept of a member of an object, beside those that are kept already; `None` for nothing.
    fn member(&self, name: &str, kept: &Map<String, Value>) -> Option<&Self> {
        match self {
            Self::Whole => Some(&Self::Whole),
            Self::Members(known) => {
                let mut known = known.iter();
                known.find(|(known, _)| *known == name).map(|(_, shape)| shape)
            }
            Self::Beginning(with) => {
                let begins = with.iter().any(|with| name.starts_with(with));
                begins.then_some(&Self::Whole)
            }
            Self::Listed(known) if known.contains(&name) => Some(&Self::Whole),
            Self::Listed(known) => {
                let has_other = kept.keys().any(|name| !known.contains(&name.as_str()));
                (!has_other).then_some(&Self::Short(0))
            }
            _ => None,
        }
    }

    /// What is kept of the next element of a list, behind so many; `None` when nothing more is.
    fn next_element(&self, kept: usize) -> Option<&Self> {
        match self {
            Self::Whole => Some(&Self::Whole),
            Self::First => (kept == 0).then_some(&Self::Whole),
            Self::Each(each) | Self::Where { each, .. } | Self::With { each, .. } => Some(each),
            _ => None,
        }
    }

    /// Whether an element is kept at all.
    fn keeps(&self, element: &Value) -> bool {
        match self {
            Self::Where { key, values, .. } => values.iter().any(|value| element[*key] == *value),
            Self::With { key, .. } => !element[*key].is_null(),
            _ => true,
        }
    }
}

/// What one object may cost.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    spent: Spent,
    left_out: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    InPart,
    /// Something was left out that should have been kept.
    Whole,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            spent: Spent::InPart,
            left_out: Vec::new(),
        }
    }

    /// Members with a budget of their own that took more.
    pub(super) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether the object costs more than it may.
    pub(super) fn is_spent(&self) -> bool {
        self.spent == Spent::Whole
    }

    fn pay(&mut self, bytes: usize) -> Option<()> {
        match self.left.checked_sub(bytes.saturating_add(NODE)) {
            Some(left) if self.spent == Spent::InPart => {
                self.left = left;
                Some(())
            }
            _ => {
                self.spent = Spent::Whole;
                None
            }
        }
    }
}

/// Reads a value and gives what is kept of it: nothing, where the budget does not suffice.
pub(super) struct Keep<'a> {
    shape: &'a Shape,
    budget: &'a mut Budget,
    /// Levels that may still follow.
    depth: usize,
}

impl<'a> Keep<'a> {
    /// Keeps `shape` of an object or another outermost value.
    pub(super) fn outermost(shape: &'a Shape, budget: &'a mut Budget) -> Self {
        let depth = DEEPEST;
        Self { shape, budget, depth }
    }
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.depth == 0 {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(self.plain(Value::Null));
        }
        let Shape::Costs(bytes, shape) = self.shape else {
            return deserializer.deserialize_any(self);
        };
        self.budget.pay(*bytes);
        Keep { shape, ..self }.deserialize(deserializer)
    }
}

impl Keep<'_> {
    fn plain(self, value: impl Into<Value>) -> Option<Value> {
        self.budget.pay(0).map(|()| value.into())
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.plain(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.plain(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.plain(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.plain(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let text = match self.shape {
            Shape::Name if text.len() <= LONGEST_NAME => return Ok(Some(text.into())),
            Shape::Short(most) if text.len() > *most => "",
            _ => text,
        };
        Ok(self.budget.pay(text.len()).map(|()| text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Self { shape, budget, depth } = self;
        let paid = budget.pay(0);
        let mut kept = Vec::new();
        while let Some(each) = shape.next_element(kept.len()).filter(|_| !budget.is_spent()) {
            let before = budget.left;
            let element = Keep {
                shape: each,
                budget: &mut *budget,
                depth: depth - 1,
            };
            match list.next_element_seed(element)? {
                None => return Ok(paid.map(|()| kept.into())),
                Some(Some(one)) if shape.keeps(&one) => kept.push(one),
                // What is not kept costs nothing.
                Some(_) => budget.left = before,
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(paid.map(|()| kept.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Self { shape, budget, depth } = self;
        let mut kept = Map::new();
        let mut paid = budget.pay(0);
        if matches!(shape, Shape::Members(_)) {
            // The identity of an object that is too large must be found all the same.
            paid = Some(());
        }
        while let Some(name) = members.next_key::<String>()? {
            let Some(of_member) = shape.member(&name, &kept) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let named = match shape {
                // There are few of those.
                Shape::Members(_) => Some(()),
                _ => budget.pay(name.len()),
            };
            let depth = depth - 1;
            let value = if let Shape::Apart(bytes, shape) = of_member {
                let mut apart = Budget::new(*bytes);
                let value = members.next_value_seed(Keep {
                    shape,
                    budget: &mut apart,
                    depth,
                })?;
                if apart.is_spent() {
                    budget.left_out.push(name);
                    continue;
                }
                value
            } else {
                members.next_value_seed(Keep {
                    shape: of_member,
                    budget: &mut *budget,
                    depth,
                })?
            };
            if let (Some(()), Some(value)) = (named, value) {
                kept.insert(name, value);
            }
        }
        Ok(paid.map(|()| kept.into()))
    }
}

#[cfg(test)]
mod tests;
