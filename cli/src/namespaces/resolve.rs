//! What is in force in a namespace, from the objects that decide it. Pure: the operator resolves modes with the same functions.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use smilax_compiler::index::Settings;
use smilax_compiler::keys::{self, Membership};
use smilax_compiler::modes::{self, Modes};
use smilax_core::convention::key;

use crate::mesh;
use crate::world::text;

/// What is in force in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) name: String,
    pub(super) injection: Setting,
    pub(super) tls: Setting,
    pub(super) access: Setting,
    pub(super) destinations: Vec<Setting>,
    /// Labels and annotations without effect.
    pub(super) faults: Vec<String>,
}

/// A value, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A label of the Namespace.
    Label,
    /// An annotation of the Namespace.
    Annotation,
    /// An annotation of this ServiceAccount.
    Account(String),
    /// The mesh, as [`mesh::Origin`] has it.
    Mesh(mesh::Origin),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => f.write_str("label"),
            Self::Annotation => f.write_str("annotation"),
            Self::Account(name) => write!(f, "ServiceAccount {name}"),
            Self::Mesh(mesh::Origin::MeshConfig) => f.write_str("MeshConfig"),
            Self::Mesh(mesh::Origin::Installation) => f.write_str("installation"),
            Self::Mesh(mesh::Origin::Default) => f.write_str("default"),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.value, self.origin)
    }
}

/// What is in force in every namespace among these objects, by name.
pub(super) fn resolve(objects: &[Value]) -> Vec<InForce> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let settings = mesh::settings(objects);
    let mut all: Vec<InForce> = of_kind("Namespace")
        .map(|namespace| {
            let name = text(namespace, "/metadata/name");
            let accounts = of_kind("ServiceAccount").filter(|one| text(one, "/metadata/namespace") == name);
            one(objects, &settings, namespace, accounts)
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn one<'a>(
    objects: &[Value],
    settings: &Settings,
    namespace: &Value,
    accounts: impl Iterator<Item = &'a Value>,
) -> InForce {
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(namespace["metadata"]["annotations"].clone()).unwrap_or_default();
    let label = namespace["metadata"]["labels"][key::INJECT].as_str();
    let membership = Membership::labelled(label);
    let (modes, _) = Modes::of(settings, &annotations);
    let mode = |key, value: String, field, flag| Setting {
        value,
        origin: match modes::origin(&annotations, key) {
            modes::Origin::Namespace => Origin::Annotation,
            modes::Origin::Mesh => Origin::Mesh(mesh::origin(objects, field, flag)),
        },
    };
    let own = annotations
        .get(key::DESTINATIONS)
        .map(|list| (list.as_str(), Origin::Annotation));
    let of_accounts = accounts.filter_map(|account| {
        let list = account["metadata"]["annotations"][key::DESTINATIONS].as_str()?;
        Some((list, Origin::Account(text(account, "/metadata/name").to_owned())))
    });
    InForce {
        name: text(namespace, "/metadata/name").to_owned(),
        injection: match membership {
            Membership::Joined => Setting {
                value: "enabled".to_owned(),
                origin: Origin::Label,
            },
            Membership::Apart => Setting {
                value: "disabled".to_owned(),
                origin: match label {
                    Some("disabled") => Origin::Label,
                    _ => Origin::Mesh(mesh::Origin::Default),
                },
            },
        },
        tls: mode(key::TLS_MODE, modes.tls.to_string(), "tlsMode", "--tls-mode="),
        access: mode(
            key::ACCESS_MODE,
            modes.access.to_string(),
            "accessMode",
            "--access-mode=",
        ),
        destinations: own
            .into_iter()
            .chain(of_accounts)
            .map(|(list, origin)| Setting {
                value: list.to_owned(),
                origin,
            })
            .collect(),
        faults: keys::judge("Namespace", namespace, membership)
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
