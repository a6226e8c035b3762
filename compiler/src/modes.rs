//! What a namespace lets in: settings of the mesh, then its own annotations.

use std::collections::BTreeMap;

use smilax_core::config::{AccessMode, OwnSettings, TlsMode, UnauthenticatedSource};
use smilax_core::convention::key;

use crate::index::Settings;
use crate::keys::{Key, values};
use crate::model::Pod;

pub use crate::model::InboundUdp;

/// Modes of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// What becomes of calls that nothing allows.
    pub access: AccessMode,
    /// What becomes of calls from outside the mesh.
    pub tls: TlsMode,
    /// What pods may change about it.
    pub own_settings: OwnSettings,
    /// Callers without an identity that are let in all the same.
    pub unauthenticated_sources: Vec<UnauthenticatedSource>,
}

/// An annotation of a namespace that cannot be read, and so leaves things as the mesh has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    /// Which.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Who decides a mode of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its own annotation.
    Namespace,
    /// The settings of the mesh.
    Mesh,
}

/// Who decides what this annotation is about, in a namespace with these annotations.
pub fn origin(annotations: &BTreeMap<String, String>, key: &str) -> Origin {
    let readable = annotations
        .get(key)
        .is_some_and(|text| Key::named(key).is_some_and(|known| known.values.check(text).is_ok()));
    if readable { Origin::Namespace } else { Origin::Mesh }
}

impl Modes {
    /// The modes of a namespace with these annotations.
    pub fn of(settings: &Settings, annotations: &BTreeMap<String, String>) -> (Self, Vec<BadAnnotation>) {
        let mut bad = Vec::new();
        let access = read(annotations, key::ACCESS_MODE, &mut bad, values::access_mode);
        let tls = read(annotations, key::TLS_MODE, &mut bad, values::tls_mode);
        let relax = read(annotations, key::ALLOW_RELAX, &mut bad, values::boolean);
        let relax = relax.map(|relax| {
            if relax {
                OwnSettings::Decide
            } else {
                OwnSettings::Tighten
            }
        });
        let sources = read(
            annotations,
            key::UNAUTHENTICATED_SOURCES,
            &mut bad,
            values::unauthenticated_sources,
        );
        let modes = Self {
            access: access.unwrap_or(settings.access_mode),
            tls: tls.unwrap_or(settings.tls_mode),
            own_settings: relax.unwrap_or_default(),
            unauthenticated_sources: settings
                .unauthenticated_sources
                .iter()
                .cloned()
                .chain(sources.unwrap_or_default())
                .collect(),
        };
        (modes, bad)
    }

    /// The access mode of a pod whose own template asks for one.
    pub fn access_of(&self, own: Option<AccessMode>) -> AccessMode {
        match (own, self.own_settings) {
            (None, _) => self.access,
            (Some(own), OwnSettings::Decide) => own,
            (Some(own), OwnSettings::Tighten) => own.max(self.access),
        }
    }

    /// What such a pod does with UDP: where nothing is let in without a right, and no right to it can be given, it is
    /// dropped.
    pub fn inbound_udp(&self, own: Option<AccessMode>) -> InboundUdp {
        match self.access_of(own) {
            AccessMode::Deny => InboundUdp::Drop,
            AccessMode::Allow | AccessMode::Audit => InboundUdp::Open,
        }
    }

    /// Whether pods must not get around by themselves what the namespace enforces.
    pub fn binds_pods(&self) -> bool {
        self.is_enforced() && self.own_settings == OwnSettings::Tighten
    }

    /// Whether callers are to send plaintext to a port of a pod, whatever the mode is. A pod without a sidecar may ask for
    /// that, unless pods must not loosen what the namespace enforces: whoever may patch a pod may ask in its name.
    pub fn take_plaintext(&self, pod: &Pod, port: u16) -> bool {
        pod.skips_inbound(port) || !self.binds_pods() && pod.asks_for_plaintext(port)
    }

    /// Whether calls are refused that could be let in: what pods must not get around by themselves.
    pub fn is_enforced(&self) -> bool {
        self.tls == TlsMode::Strict || self.access == AccessMode::Deny
    }
}

fn read<T>(
    annotations: &BTreeMap<String, String>,
    key: &'static str,
    bad: &mut Vec<BadAnnotation>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let text = annotations.get(key)?;
    read(text.trim())
        .map_err(|reason| bad.push(BadAnnotation { key, reason }))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> (Modes, Vec<&'static str>) {
        let annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings {
            access_mode: AccessMode::Deny,
            ..Settings::default()
        };
        let (modes, bad) = Modes::of(&settings, &annotations);
        (modes, bad.into_iter().map(|one| one.key).collect())
    }

    #[test]
    fn a_namespace_decides_before_the_mesh() {
        assert_eq!(of(&[]).0.access, AccessMode::Deny);
        let (modes, bad) = of(&[(key::ACCESS_MODE, "allow"), (key::TLS_MODE, "strict")]);
        assert_eq!((modes.access, modes.tls), (AccessMode::Allow, TlsMode::Strict));
        assert!(bad.is_empty());
    }

    #[test]
    fn what_cannot_be_read_leaves_things_as_the_mesh_has_them() {
        for (annotation, value) in [
            (key::ACCESS_MODE, "Allow"),
            (key::TLS_MODE, "none"),
            (key::ALLOW_RELAX, "yes"),
            (key::UNAUTHENTICATED_SOURCES, "10.0.0.0/8"),
            (
                key::UNAUTHENTICATED_SOURCES,
                r#"[{"cidrs": ["10.0.0.0/8"], "ports": [0]}]"#,
            ),
        ] {
            let (modes, bad) = of(&[(annotation, value)]);
            assert_eq!(modes, of(&[]).0, "{value}");
            assert_eq!(bad, [annotation]);
        }
    }

    #[test]
    fn an_annotation_decides_if_it_can_be_read() {
        let of = |value: &str| {
            origin(
                &[(key::TLS_MODE.to_owned(), value.to_owned())].into(),
                key::TLS_MODE,
            )
        };
        assert_eq!(of("strict"), Origin::Namespace);
        assert_eq!(of("Strict"), Origin::Mesh);
        assert_eq!(origin(&BTreeMap::new(), key::TLS_MODE), Origin::Mesh);
    }

    #[test]
    fn callers_without_identity_are_let_in_by_address() {
        let (modes, _) = of(&[(key::UNAUTHENTICATED_SOURCES, r#"[{"cidrs": ["10.0.0.0/8"]}]"#)]);
        assert_eq!(modes.unauthenticated_sources.len(), 1);
    }
}
