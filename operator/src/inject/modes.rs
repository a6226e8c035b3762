//! What a pod's own template may say about who may call it: it may be stricter than its Namespace, and more open only
//! where the Namespace says so.

use std::collections::BTreeMap;

use smilax_compiler::Modes;
use smilax_compiler::keys::values;
use smilax_core::config::{AccessMode, OwnSettings, TlsMode};
use smilax_core::convention::key;

use crate::cluster_view::NamespaceView;

/// Words that `smilax.dev/inject` may be.
pub(super) const ENABLED: &str = "enabled";
/// See [`ENABLED`].
pub(super) const DISABLED: &str = "disabled";

/// What a template asks for, each of it allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnModes {
    pub(super) access: Option<AccessMode>,
    pub(super) tls: Option<TlsMode>,
    pub(super) tls_ports: BTreeMap<u16, TlsMode>,
}

/// Whether an annotation of a pod would get around what its Namespace enforces.
pub(super) fn is_reserved(namespace: &NamespaceView, annotation: &str) -> bool {
    annotation == key::SKIP_INBOUND_PORTS && is_binding(namespace)
}

/// Whether a Namespace is in the mesh with all its pods, and they may not stay out by themselves.
pub(super) fn keeps_pods_in(namespace: &NamespaceView) -> bool {
    namespace.labels.get(key::INJECT).map(String::as_str) == Some(ENABLED) && is_binding(namespace)
}

/// Whether pods of the mesh may not get around the rules of their Namespace by themselves.
pub(super) fn is_binding(namespace: &NamespaceView) -> bool {
    namespace.modes.binds_pods()
}

/// Why it does not count.
pub(super) fn reserved(namespace: &NamespaceView) -> String {
    format!(
        "Namespace {} is closed (access mode {}, TLS mode {}), and its pods cannot opt out of that; remove it, or annotate \
         the Namespace with {}: \"true\"",
        namespace.name,
        namespace.modes.access,
        namespace.modes.tls,
        key::ALLOW_RELAX
    )
}

pub(super) fn access(text: &str, modes: &Modes) -> Result<AccessMode, String> {
    within(values::access_mode(text)?, modes.access, modes)
}

pub(super) fn tls(text: &str, modes: &Modes) -> Result<TlsMode, String> {
    within(values::tls_mode(text)?, modes.tls, modes)
}

/// A list such as `8080=strict,9090=permissive`.
pub(super) fn tls_ports(text: &str, modes: &Modes) -> Result<BTreeMap<u16, TlsMode>, String> {
    values::tls_port_modes(text)?
        .into_iter()
        .map(|(port, own)| Ok((port, within(own, modes.tls, modes)?)))
        .collect()
}

fn within<T: Ord + Copy + std::fmt::Display>(own: T, given: T, modes: &Modes) -> Result<T, String> {
    if own < given && modes.own_settings == OwnSettings::Tighten {
        Err(format!(
            "{own} is more open than the {given} of its Namespace: remove it, or let the Namespace say {}: \"true\"",
            key::ALLOW_RELAX
        ))
    } else {
        Ok(own)
    }
}

/// The list as the proxy reads it.
pub(super) fn list(ports: &BTreeMap<u16, TlsMode>) -> String {
    let entries: Vec<String> = ports
        .iter()
        .map(|(port, mode)| format!("{port}={mode}"))
        .collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(access: AccessMode, tls: TlsMode, own_settings: OwnSettings) -> Modes {
        Modes {
            access,
            tls,
            own_settings,
            ..Modes::default()
        }
    }

    #[test]
    fn a_pod_may_be_stricter_than_its_namespace() {
        let open = Modes::default();
        assert_eq!(access("deny", &open), Ok(AccessMode::Deny));
        assert_eq!(tls("strict", &open), Ok(TlsMode::Strict));
        let ports = tls_ports("8080=strict, 9090=permissive", &open).unwrap();
        assert_eq!(list(&ports), "8080=strict,9090=permissive");
    }

    #[test]
    fn a_pod_may_be_more_open_only_where_its_namespace_says_so() {
        let closed = given(AccessMode::Deny, TlsMode::Strict, OwnSettings::Tighten);
        assert!(access("allow", &closed).is_err());
        assert!(access("audit", &closed).is_err());
        assert!(tls("permissive", &closed).is_err());
        assert!(tls_ports("8080=permissive", &closed).is_err());
        let lenient = given(AccessMode::Deny, TlsMode::Strict, OwnSettings::Decide);
        assert_eq!(access("audit", &lenient), Ok(AccessMode::Audit));
        assert_eq!(tls("permissive", &lenient), Ok(TlsMode::Permissive));
        assert!(
            access("audit", &Modes::default()).is_err(),
            "audit lets more in than allow does"
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_mode() {
        for text in ["8080", "0=strict", "x=strict", "8080=on"] {
            assert!(tls_ports(text, &Modes::default()).is_err(), "{text}");
        }
    }
}
