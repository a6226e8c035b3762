//! Conversion between the versions of a kind, over raw objects: whatever is not understood stays as it is.
//!
//! Every conversion goes through the hub version v1alpha4. Labels and annotations aside, metadata is never touched;
//! lists are never reordered and strings never rewritten. What the target version has no place for is kept in
//! annotations, and given back on the way back as long as it still corresponds to the object. An annotation about a field
//! stays as it is on a part of an object that lacks this field, and none is added there: the API server converts such
//! parts to compare which fields the managers of a server-side apply own.
//!
//! | annotation | on | holds |
//! |---|---|---|
//! | [`WEIGHTS`] | TrafficSplit, v1alpha2 and up | the quantities that were written in v1alpha1 |
//! | [`MATCHES`] | TrafficSplit, below v1alpha3 | `spec.matches` |
//! | [`ROOT_MATCHES`] | HTTPRouteGroup, below v1alpha3 | the matches beside `spec`, or that there are only these |
//! | [`SPEC`] | TCPRoute, below v1alpha4 | `spec`, whose ports older versions lack |
//! | [`EMPTY_RULES`] | TrafficTarget | what the absence of rules means, where the version says otherwise |
//! | [`INCOMPLETE`] | any, in a version that is not stored | why not all of the object is shown; writing it is refused |

mod annotation;
mod review;
mod room;
mod route;
mod split;
mod stub;
mod target;

use std::fmt;

use serde_json::{Map, Value};

pub use review::{ConversionAnswer, ConversionOutcome, conversion_memory, conversion_review};
pub use room::{MOST_ANNOTATIONS, room};

/// The quantities that were written in v1alpha1, as a list of `[service, weight]`.
pub const WEIGHTS: &str = "conversion.smilax.dev/weights";
/// The `spec.matches` of a TrafficSplit.
pub const MATCHES: &str = "conversion.smilax.dev/matches";
/// The matches beside the `spec` of an HTTPRouteGroup; `only` when `spec` has none and these are where older versions
/// have them.
pub const ROOT_MATCHES: &str = "conversion.smilax.dev/root-matches";
/// The `spec` of a TCPRoute.
pub const SPEC: &str = "conversion.smilax.dev/spec";
/// `allow` or `deny`, see [`crate::access::EMPTY_RULES_ANNOTATION`].
pub const EMPTY_RULES: &str = crate::access::EMPTY_RULES_ANNOTATION;

/// On an object of which a version does not show everything.
pub const INCOMPLETE: &str = "conversion.smilax.dev/incomplete";

/// An object in the version that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The object.
    pub object: Value,
    /// What its owner should know about the conversion.
    pub warnings: Vec<String>,
    /// Whether it can be written back.
    pub completeness: Completeness,
}

/// Whether a converted object holds all of what it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It does.
    Whole,
    /// Its annotations have no room for the rest. It is marked with [`INCOMPLETE`].
    Incomplete,
}

/// An object that cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}")]
pub struct ConvertError {
    /// Kind, namespace and name, as far as they are known.
    pub object: String,
    /// Why not.
    pub reason: Reason,
}

/// Why an object cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not a JSON object.
    #[error("is not an object")]
    NotAnObject,
    /// A kind that has no versions to convert between.
    #[error("apiVersion {api_version:?} and kind {kind:?} name no kind that Smilax converts")]
    UnknownKind {
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
    },
    /// A version that this kind does not have.
    #[error("{0:?} is not a version of this kind; its versions are {1}")]
    UnknownVersion(String, String),
    /// An annotation that is not what a conversion wrote.
    #[error("annotation {annotation} must hold {expected}; remove it, or write what it was")]
    Annotation {
        /// Its key.
        annotation: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// Metadata that cannot carry annotations.
    #[error("metadata.annotations must be a map for annotation {0} to be kept")]
    Metadata(&'static str),
    /// A part of an object, on its way back.
    #[error(
        "this version cannot hold all of the object, so what it shows cannot be written back; read and write it as \
         v1alpha4"
    )]
    Incomplete,
    /// Annotations that would be more than the API server stores.
    #[error(
        "metadata.annotations would take {size} bytes with what v1alpha4 has no field for, and may take {MOST_ANNOTATIONS}; \
         shorten them, or write it as v1alpha4"
    )]
    NoRoom {
        /// What they would take.
        size: usize,
    },
}

/// An SMI version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1Alpha1,
    V1Alpha2,
    V1Alpha3,
    V1Alpha4,
}

/// A kind with several versions, or with one that is its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TrafficSplit,
    TrafficTarget,
    HttpRouteGroup,
    TcpRoute,
    /// IdentityBinding and UDPRoute have nothing to convert.
    HubOnly,
}

/// Gives `object` in the version `desired_api_version` (`group/version`) of its kind.
///
/// # Errors
/// [`ConvertError`], naming the object, when its kind or one of the versions is unknown, or when an annotation that
/// holds a part of it was changed by hand: converting without it could widen what the object allows.
pub fn convert(object: Value, desired_api_version: &str) -> Result<Converted, ConvertError> {
    let name = describe(&object);
    converted(object, desired_api_version).map_err(|reason| ConvertError { object: name, reason })
}

fn converted(object: Value, desired_api_version: &str) -> Result<Converted, Reason> {
    let Value::Object(mut object) = object else {
        return Err(Reason::NotAnObject);
    };
    let api_version = text(&object, "apiVersion").to_owned();
    let kind_name = text(&object, "kind").to_owned();
    let (group, from) = api_version.split_once('/').unwrap_or_default();
    let Some(kind) = Kind::find(group, &kind_name) else {
        return Err(Reason::UnknownKind {
            api_version,
            kind: kind_name,
        });
    };
    let from = kind
        .version(from)
        .ok_or_else(|| kind.unknown(group, &api_version))?;
    let to = desired_api_version
        .split_once('/')
        .filter(|(desired_group, _)| *desired_group == group)
        .and_then(|(_, version)| kind.version(version))
        .ok_or_else(|| kind.unknown(group, desired_api_version))?;

    let mut warnings = Vec::new();
    let mut completeness = Completeness::Whole;
    if from != to {
        if from == Version::STORED {
            // Written by hand: an object that is stored is whole.
            annotation::set(&mut object, INCOMPLETE, None)?;
        } else if annotation::get(&object, INCOMPLETE).is_some() {
            return Err(Reason::Incomplete);
        }
        match kind {
            Kind::TrafficSplit => {
                split::to_hub(&mut object, from, &mut warnings)?;
                split::from_hub(&mut object, to)?;
            }
            Kind::TrafficTarget => {
                target::to_hub(&mut object, from)?;
                target::from_hub(&mut object, to)?;
            }
            Kind::HttpRouteGroup => {
                route::http_to_hub(&mut object, from)?;
                route::http_from_hub(&mut object, to)?;
            }
            Kind::TcpRoute => {
                route::tcp_to_hub(&mut object, from)?;
                route::tcp_from_hub(&mut object, to)?;
            }
            Kind::HubOnly => {}
        }
        object.insert("apiVersion".to_owned(), desired_api_version.into());
        completeness = room::fit(&mut object, from)?;
    }
    ensure_metadata(&mut object);
    Ok(Converted {
        object: Value::Object(object),
        warnings,
        completeness,
    })
}

/// The API server refuses a converted object without metadata (apiextensions-apiserver, `restoreObjectMeta`), though it
/// sends such objects: for a server-side apply it converts what is left of an object without the fields that a manager
/// owns, and whoever owns a label owns `metadata` there.
fn ensure_metadata(object: &mut Map<String, Value>) {
    let metadata = object.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
}

impl Kind {
    pub(crate) fn find(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            (crate::split::GROUP, "TrafficSplit") => Self::TrafficSplit,
            (crate::access::GROUP, "TrafficTarget") => Self::TrafficTarget,
            (crate::specs::GROUP, "HTTPRouteGroup") => Self::HttpRouteGroup,
            (crate::specs::GROUP, "TCPRoute") => Self::TcpRoute,
            (crate::access::GROUP, "IdentityBinding") | (crate::specs::GROUP, "UDPRoute") => Self::HubOnly,
            _ => return None,
        })
    }

    pub(crate) fn version(self, name: &str) -> Option<Version> {
        self.versions()
            .iter()
            .copied()
            .find(|version| version.name() == name)
    }

    fn versions(self) -> &'static [Version] {
        match self {
            Self::HubOnly => &[Version::V1Alpha4],
            _ => &[
                Version::V1Alpha1,
                Version::V1Alpha2,
                Version::V1Alpha3,
                Version::V1Alpha4,
            ],
        }
    }

    fn unknown(self, group: &str, api_version: &str) -> Reason {
        let known: Vec<_> = self
            .versions()
            .iter()
            .map(|version| format!("{group}/{}", version.name()))
            .collect();
        Reason::UnknownVersion(api_version.to_owned(), known.join(", "))
    }
}

impl Version {
    /// The version that the API server stores.
    pub(crate) const STORED: Self = Self::V1Alpha4;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "v1alpha1",
            Self::V1Alpha2 => "v1alpha2",
            Self::V1Alpha3 => "v1alpha3",
            Self::V1Alpha4 => "v1alpha4",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind, namespace and name of an object, for messages.
pub(crate) fn describe(object: &Value) -> String {
    let part = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let kind = part("/kind").unwrap_or("object");
    let name = part("/metadata/name")
        .or_else(|| part("/metadata/generateName"))
        .unwrap_or("without name");
    match part("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

pub(crate) fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The `spec` of an object, if it is a map.
fn spec_of(object: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    object.get_mut("spec").and_then(Value::as_object_mut)
}

#[cfg(test)]
mod alone;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod tests;
