use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::headers::Headers;
use crate::object::{Malformed, RawObject, read, resource, write};
use crate::status::Status;

/// Methods that a match may list, `*` for any.
pub const METHODS: [&str; 10] = [
    "*", "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Most matches in a group.
pub const MAX_MATCHES: usize = 128;
/// Most headers in a match.
pub const MAX_HEADERS: usize = 32;

/// A named group of HTTP matches (specs.smi-spec.io/v1alpha4, the storage version).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HTTPRouteGroup {
    /// Name, namespace, labels and annotations.
    pub metadata: ObjectMeta,
    /// What the user asked for. Empty when `malformed` is set.
    pub spec: HTTPRouteGroupSpec,
    /// Deprecated place of the matches, beside `spec`; read [`HTTPRouteGroup::effective_matches`] instead.
    pub matches: Option<Vec<HttpMatch>>,
    /// What became of it.
    pub status: Option<Status>,
    /// Why `spec` could not be understood, if so.
    pub malformed: Option<Malformed>,
}

/// The matches of a group. Shape of v1alpha3 and v1alpha4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["matches"]))]
pub struct HTTPRouteGroupSpec {
    /// Kinds of requests, each with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub matches: Option<Vec<HttpMatch>>,
}

/// Requests that have a path, a method and headers as written. What is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct HttpMatch {
    /// Name by which TrafficTargets refer to this match, unique in its group.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Regular expression for the path, without the query. Anchored at the start, not at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path_regex: Option<String>,
    /// Methods, in capitals; `*` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("items" = { "type": "string", "enum": METHODS }))]
    pub methods: Option<Vec<String>>,
    /// Headers and a regular expression for the whole value of each: a map, or a list of maps with one entry each.
    /// All of them must match.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
}

impl HTTPRouteGroup {
    /// A group with this name and these matches, without namespace.
    pub fn new(name: &str, matches: Vec<HttpMatch>) -> Self {
        let spec = HTTPRouteGroupSpec {
            matches: Some(matches),
        };
        let mut group = Self {
            spec,
            ..Self::default()
        };
        group.metadata.name = Some(name.to_owned());
        group
    }

    /// The matches that count: those of `spec` if it has any field of that name, otherwise those beside it.
    pub fn effective_matches(&self) -> &[HttpMatch] {
        if self.malformed.is_some() {
            return &[];
        }
        self.spec
            .matches
            .as_deref()
            .or(self.matches.as_deref())
            .unwrap_or_default()
    }
}

impl HttpMatch {
    /// The methods that match; `None` when any does.
    pub fn methods(&self) -> Option<&[String]> {
        self.methods
            .as_deref()
            .filter(|methods| !methods.is_empty() && !methods.iter().any(|method| method == "*"))
    }
}

impl<'de> Deserialize<'de> for HTTPRouteGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut raw = RawObject::deserialize(deserializer)?;
        let (spec, malformed) = raw.take_spec::<HTTPRouteGroupSpec>();
        let (matches, malformed_root) = read(std::mem::take(&mut raw.matches));
        let status = raw.take_status();
        // Matches beside `spec` are looked at only when `spec` has none, and so are their faults.
        let malformed = malformed.or(malformed_root.filter(|_| spec.matches.is_none()));
        Ok(Self {
            metadata: raw.metadata,
            spec,
            matches,
            status,
            malformed,
        })
    }
}

impl Serialize for HTTPRouteGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let matches = serde_json::to_value(&self.matches).map_err(serde::ser::Error::custom)?;
        let root = [("matches", matches)];
        write(
            serializer,
            self,
            &self.spec,
            self.malformed.as_ref(),
            &root,
            self.status.as_ref(),
        )
    }
}

resource!(
    HTTPRouteGroup,
    super::GROUP,
    "v1alpha4",
    "httproutegroups",
    NamespaceResourceScope
);

#[cfg(test)]
mod tests;
