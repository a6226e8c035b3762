//! What all kinds have in common: reading an object without ever failing, writing it, naming it for `kube`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::bounded::Bounded;
use crate::census::{Excess, Nesting};
use crate::status::Status;

/// A `spec` that could not be understood. The object it was found in has an empty `spec` instead, which grants and
/// shifts nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with it, with the offending value.
    pub reason: String,
    /// The `spec` as it was read; null below the levels that are read.
    pub spec: Value,
}

/// An object as it lies in the API server, before its parts are understood.
#[derive(Deserialize)]
pub(crate) struct RawObject {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Bounded,
    /// The deprecated place of an `HTTPRouteGroup`'s matches.
    #[serde(default)]
    pub(crate) matches: Bounded,
    #[serde(default)]
    status: Bounded,
}

impl RawObject {
    /// Takes the specification out: what it says, or why it cannot be read. A missing one is the default.
    pub(crate) fn take_spec<S: DeserializeOwned + Default>(&mut self) -> (S, Option<Malformed>) {
        read(std::mem::take(&mut self.spec))
    }

    /// Takes the status out. One that cannot be read counts as none: the operator writes it anew.
    pub(crate) fn take_status(&mut self) -> Option<Status> {
        serde_json::from_value(self.status.value.take()).unwrap_or_default()
    }
}

/// Reads `value`; what is missing or null is the default, what cannot be read is the default and the reason.
pub(crate) fn read<T: DeserializeOwned + Default>(read: Bounded) -> (T, Option<Malformed>) {
    let Bounded { value, nesting } = read;
    if value.is_null() {
        return (T::default(), None);
    }
    if nesting == Nesting::TooDeep {
        let malformed = Malformed {
            reason: Excess::Nesting.to_string(),
            spec: value,
        };
        return (T::default(), Some(malformed));
    }
    match T::deserialize(&value) {
        Ok(understood) => (understood, None),
        Err(error) => {
            let malformed = Malformed {
                reason: error.to_string(),
                spec: value,
            };
            (T::default(), Some(malformed))
        }
    }
}

/// Writes an object with its API version and kind, in the order people expect. `root` are fields beside `spec`.
pub(crate) fn write<S: Serializer, K: kube::Resource<DynamicType = ()>>(
    serializer: S,
    object: &K,
    spec: &impl Serialize,
    malformed: Option<&Malformed>,
    root: &[(&'static str, Value)],
    status: Option<&Status>,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("apiVersion", &K::api_version(&()))?;
    map.serialize_entry("kind", &K::kind(&()))?;
    map.serialize_entry("metadata", object.meta())?;
    match malformed {
        Some(malformed) => map.serialize_entry("spec", &malformed.spec)?,
        None => map.serialize_entry("spec", spec)?,
    }
    for (field, value) in root.iter().filter(|(_, value)| !value.is_null()) {
        map.serialize_entry(field, value)?;
    }
    if let Some(status) = status {
        map.serialize_entry("status", status)?;
    }
    map.end()
}

/// Defines a kind: the object around a specification, and its `kube::Resource`.
macro_rules! kind {
    (
        $(#[$doc:meta])*
        $kind:ident { spec: $spec:ty, group: $group:expr, version: $version:literal, plural: $plural:literal, scope: $scope:ty }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $kind {
            /// Name, namespace, labels and annotations.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What the user asked for. Empty when `malformed` is set.
            pub spec: $spec,
            /// What became of it.
            pub status: Option<crate::status::Status>,
            /// Why `spec` could not be understood, if so.
            pub malformed: Option<crate::object::Malformed>,
        }

        impl $kind {
            /// An object with this name and specification, without namespace.
            pub fn new(name: &str, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.name = Some(name.to_owned());
                object
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut raw = crate::object::RawObject::deserialize(deserializer)?;
                let (spec, malformed) = raw.take_spec();
                let status = raw.take_status();
                Ok(Self { metadata: raw.metadata, spec, status, malformed })
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let malformed = self.malformed.as_ref();
                crate::object::write(serializer, self, &self.spec, malformed, &[], self.status.as_ref())
            }
        }

        crate::object::resource!($kind, $group, $version, $plural, $scope);
    };
}

/// Implements `kube::Resource` for a kind.
macro_rules! resource {
    ($kind:ident, $group:expr, $version:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use {kind, resource};
