//! Answers of the API server, lists and events of watches, rewritten as they are read.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Value, json};

use super::shape::{Budget, Keep, Shape};
use super::{Answers, Excerpt};

/// What may be said beside objects: continuation of a list, a failure.
const REMARKS: usize = 64 * 1024;

/// Reads one answer after the other from `from`, and writes them to `to` with the excerpt of each object. One object is
/// held at a time, and of that only its excerpt.
///
/// An answer that is one object keeps its identity at least. A list leaves out objects that are too large. A watch tells that they are gone: what was known of them before is not
/// true any more.
///
/// # Errors
/// What cannot be read, is cut off, or cannot be written.
pub(super) fn transcode(
    excerpt: &Excerpt,
    answers: Answers,
    mut from: impl BufRead,
    mut to: impl Write,
) -> io::Result<()> {
    while begins(&mut from)? {
        let mut reader = Deserializer::from_reader(&mut from);
        match answers {
            Answers::Collections => reader.deserialize_map(Answer { excerpt, to: &mut to })?,
            Answers::Objects => {
                let (object, _) = excerpt.of(&mut reader)?;
                write!(to, "{object}")?;
            }
        }
        to.write_all(b"\n")?;
        to.flush()?;
    }
    Ok(())
}

/// Whether another answer follows.
fn begins(from: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let spaces = buffer
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        let all = buffer.len();
        from.consume(spaces);
        if spaces < all {
            return Ok(true);
        }
    }
}

/// A list, or an event of a watch.
struct Answer<'a, W> {
    excerpt: &'a Excerpt,
    to: &'a mut W,
}

impl<'de, W: Write> Visitor<'de> for Answer<'_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an event of a watch")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { excerpt, to } = self;
        let mut before = "{";
        let mut event = None;
        let mut remarks = Budget::new(REMARKS);
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "items" => {
                    write!(to, "{before}\"items\":").map_err(A::Error::custom)?;
                    members.next_value_seed(Items {
                        excerpt,
                        to: &mut *to,
                    })?;
                }
                // The kind of an event comes before its object, and what it says may depend on that.
                "type" => {
                    event = members.next_value::<Option<String>>()?;
                    continue;
                }
                "object" => {
                    let kind = event.take().unwrap_or_default();
                    let (kind, object) = members.next_value_seed(Object { excerpt, kind })?;
                    write!(to, "{before}\"type\":{},\"object\":{object}", Value::from(kind))
                        .map_err(A::Error::custom)?;
                }
                _ => {
                    let keep = Keep::outermost(&Shape::Whole, &mut remarks);
                    let value = members.next_value_seed(keep)?.unwrap_or_default();
                    write!(to, "{before}{}:{value}", Value::from(name)).map_err(A::Error::custom)?;
                }
            }
            before = ",";
        }
        let end = if before == "{" { "{}" } else { "}" };
        to.write_all(end.as_bytes()).map_err(A::Error::custom)
    }
}

/// The object of an event.
struct Object<'a> {
    excerpt: &'a Excerpt,
    kind: String,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = (String, Value);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Self { excerpt, kind } = self;
        if kind == "ERROR" {
            let mut budget = Budget::new(REMARKS);
            let keep = Keep::outermost(&Shape::Whole, &mut budget);
            return Ok((kind, keep.deserialize(deserializer)?.unwrap_or_default()));
        }
        let (object, size) = excerpt.of(deserializer)?;
        let kind = match size {
            Size::Usual => kind,
            Size::TooLarge => "DELETED".to_owned(),
        };
        Ok((kind, object))
    }
}

/// The objects of a list.
struct Items<'a, W> {
    excerpt: &'a Excerpt,
    to: &'a mut W,
}

impl<'de, W: Write> DeserializeSeed<'de> for Items<'_, W> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Items<'_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.to.write_all(b"[]").map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut before = "[";
        while let Some((object, size)) = list.next_element_seed(One(self.excerpt))? {
            if size == Size::Usual {
                write!(self.to, "{before}{object}").map_err(A::Error::custom)?;
                before = ",";
            }
        }
        let end = if before == "[" { "[]" } else { "]" };
        self.to.write_all(end.as_bytes()).map_err(A::Error::custom)
    }
}

/// Whether an object is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Usual,
    TooLarge,
}

struct One<'a>(&'a Excerpt);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = (Value, Size);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.of(deserializer)
    }
}

impl Excerpt {
    fn of<'de, D: serde::Deserializer<'de>>(&self, deserializer: D) -> Result<(Value, Size), D::Error> {
        let mut budget = Budget::new(self.bytes);
        let keep = Keep::outermost(&self.shape, &mut budget);
        let object = keep.deserialize(deserializer)?.unwrap_or_else(|| json!({}));
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        if !budget.left_out().is_empty() {
            tracing::warn!(
                kind = self.kind,
                namespace = text("namespace"),
                name = text("name"),
                members = budget.left_out().join(", "),
                "members of the object are too large to be taken in; as far as the mesh is concerned they are empty. Make them smaller"
            );
        }
        if !budget.is_spent() {
            return Ok((object, Size::Usual));
        }
        tracing::warn!(
            kind = self.kind,
            namespace = text("namespace"),
            name = text("name"),
            most = self.bytes,
            "the object is too large to be taken in; as far as the mesh is concerned it does not exist. Make it smaller"
        );
        Ok((object, Size::TooLarge))
    }
}

#[cfg(test)]
mod tests;
