//! What a JSON text takes once it is read into a [`serde_json::Value`], counted before anything is made of it.
//!
//! One pass over the bytes, with a stack of bounded depth. The count is exact for valid JSON. Of anything else,
//! [`serde_json`] reads no more than what was counted, since it stops at the first error.

/// Nesting of the deepest object that is read. Kubernetes' own stay below 30; [`serde_json`] gives up at 128, and lists
/// and watches put a few levels around each object.
pub const DEEPEST: usize = 64;

/// The most that one object may take. A pod of ordinary shape takes half of it when it is as large as the API server stores
/// it.
pub const MOST_OF_OBJECT: usize = 24 * 1024 * 1024;
/// The most that an object may take for each of its bytes, beyond [`SMALL`]. Ordinary ones take 8 to 12.
const MOST_FOR_BYTE: usize = 16;
/// What an object may take of whatever shape it is.
const SMALL: usize = 4 * 1024 * 1024;

/// Size of a [`serde_json::Value`] in its list.
const VALUE: usize = 32;
/// A node of the tree that holds the members of a map: room for eleven, whether they are used or not.
const NODE: usize = 640;
/// Members that lie in one node without further ones.
const MEMBERS_OF_NODE: usize = 11;
/// Part in the nodes of a large map, which are half full.
const MEMBER: usize = 125;
/// The least that an allocator gives.
const SMALLEST: usize = 32;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Length of the text.
    pub bytes: usize,
    /// Values of any type, the outermost among them.
    pub values: usize,
    /// Bytes on the heap while and after they are read.
    pub memory: usize,
    /// Whether the text was counted to its end.
    pub nesting: Nesting,
}

/// How deep values lie in each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nesting {
    /// At most [`DEEPEST`].
    #[default]
    Bounded,
    /// Deeper: counting ended there.
    TooDeep,
}

#[derive(Clone, Copy)]
enum Shape {
    Map,
    List,
}

/// A map or list whose end was not seen yet.
#[derive(Clone, Copy)]
struct Open {
    shape: Shape,
    entries: usize,
}

/// Counts the values in `json`.
pub fn census(json: &[u8]) -> Census {
    let mut counted = Census {
        bytes: json.len(),
        ..Census::default()
    };
    let mut open: Vec<Open> = Vec::with_capacity(DEEPEST);
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let length = string_length(json.get(at..).unwrap_or_default());
                at += length + 1;
                counted.memory += allocated(length);
                counted.enter(&mut open);
            }
            b'{' | b'[' => {
                counted.enter(&mut open);
                if open.len() == DEEPEST {
                    counted.nesting = Nesting::TooDeep;
                    break;
                }
                let shape = if *byte == b'{' { Shape::Map } else { Shape::List };
                open.push(Open { shape, entries: 0 });
            }
            b'}' | b']' => counted.memory += open.pop().map_or(0, Open::memory),
            b':' => {
                if let Some(Open {
                    shape: Shape::Map,
                    entries,
                }) = open.last_mut()
                {
                    *entries += 1;
                    counted.values += 1;
                }
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                at += scalar_length(json.get(at..).unwrap_or_default());
                counted.enter(&mut open);
            }
        }
    }
    counted.memory += open.into_iter().map(Open::memory).sum::<usize>();
    counted
}

/// Why an object is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Nested too deep.
    #[error("is nested more than {DEEPEST} levels deep; write fewer levels")]
    Nesting,
    /// More or smaller values than there is memory for.
    #[error(
        "has {values} JSON values, which take {} KiB to read; the limit is {} KiB for its size. Write fewer and larger \
         values, or several objects",
        memory / 1024,
        limit / 1024
    )]
    Memory {
        /// How many it has.
        values: usize,
        /// What they take.
        memory: usize,
        /// What they may take.
        limit: usize,
    },
}

impl Census {
    /// What one object takes.
    ///
    /// # Errors
    /// [`Excess`] when it must not be read.
    pub fn affordable(self) -> Result<usize, Excess> {
        let Self {
            bytes,
            values,
            memory,
            nesting,
        } = self;
        let limit = (SMALL + MOST_FOR_BYTE * bytes).min(MOST_OF_OBJECT);
        match nesting {
            Nesting::TooDeep => Err(Excess::Nesting),
            Nesting::Bounded if memory > limit => Err(Excess::Memory {
                values,
                memory,
                limit,
            }),
            Nesting::Bounded => Ok(memory),
        }
    }

    /// A value begins. In a map the colon before it was counted, and what has none is a key.
    fn enter(&mut self, open: &mut [Open]) {
        match open.last_mut() {
            None => {
                self.values += 1;
                self.memory += VALUE;
            }
            Some(Open {
                shape: Shape::List,
                entries,
            }) => {
                self.values += 1;
                *entries += 1;
            }
            Some(Open {
                shape: Shape::Map, ..
            }) => {}
        }
    }
}

impl Open {
    /// What holds its entries. A list doubles when it is full, and for a moment has its old room and the new one.
    fn memory(self) -> usize {
        match (self.shape, self.entries) {
            (_, 0) => 0,
            (Shape::Map, members) if members <= MEMBERS_OF_NODE => NODE,
            (Shape::Map, members) => NODE + members * MEMBER,
            (Shape::List, entries) => entries.next_power_of_two().max(4) * VALUE * 3 / 2,
        }
    }
}

/// Bytes before the quotation mark that ends a string.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Bytes of a number or word behind its first one.
fn scalar_length(rest: &[u8]) -> usize {
    rest.iter()
        .position(|byte| {
            matches!(
                byte,
                b'"' | b'{' | b'[' | b'}' | b']' | b':' | b',' | b' ' | b'\n' | b'\r' | b'\t'
            )
        })
        .unwrap_or(rest.len())
}

fn allocated(length: usize) -> usize {
    match length {
        0 => 0,
        length => (length + 8).next_multiple_of(16).max(SMALLEST),
    }
}

#[cfg(test)]
mod tests;
