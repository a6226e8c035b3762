//! Values of arguments that are more than one word. What is not of its form is named with its variable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use smilax_core::config::TlsMode;
use smilax_core::convention::variable;
use smilax_core::signature;
use smilax_core::workload_connection::KeyId;

use crate::redirect::{InvalidPorts, PortRanges};
use crate::settings::SettingsError;

/// Ports and ranges, separated by commas.
pub(super) fn ports(name: &'static str, value: &str) -> Result<PortRanges, SettingsError> {
    value
        .parse()
        .map_err(|error: InvalidPorts| SettingsError::Invalid {
            name,
            value: value.to_owned(),
            reason: error.to_string(),
        })
}

/// A mode; an empty variable asks for none.
pub(super) fn mode<T: FromStr>(name: &'static str, value: &str) -> Result<Option<T>, SettingsError>
where
    T::Err: std::fmt::Display,
{
    match value.trim() {
        "" => Ok(None),
        mode => mode
            .parse()
            .map(Some)
            .map_err(|error: T::Err| SettingsError::Invalid {
                name,
                value: value.to_owned(),
                reason: error.to_string(),
            }),
    }
}

/// Modes of single ports.
pub(super) fn port_modes(value: &str) -> Result<BTreeMap<u16, TlsMode>, SettingsError> {
    let invalid = |reason: String| SettingsError::Invalid {
        name: variable::TLS_PORT_MODES,
        value: value.to_owned(),
        reason,
    };
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (port, mode) = part
                .split_once('=')
                .ok_or_else(|| invalid(format!("{part:?} is not of the form 8080=strict")))?;
            let port = port
                .trim()
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| invalid(format!("{port:?} is not a port")))?;
            let mode = mode
                .trim()
                .parse::<TlsMode>()
                .map_err(|error| invalid(error.to_string()))?;
            Ok((port, mode))
        })
        .collect()
}

/// An empty variable is one that was not set: injection writes all of them.
pub(super) fn json<T: serde::de::DeserializeOwned + Default>(
    name: &'static str,
    value: &str,
) -> Result<T, SettingsError> {
    if value.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(value).map_err(|error| SettingsError::Invalid {
        name,
        value: value.to_owned(),
        reason: error.to_string(),
    })
}

/// Addresses, separated by commas.
pub(super) fn addresses(value: &str) -> Result<Vec<IpAddr>, SettingsError> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse().map_err(|_| SettingsError::Invalid {
                name: variable::POD_IPS,
                value: value.to_owned(),
                reason: format!("{part:?} is not an address; separate addresses with commas"),
            })
        })
        .collect()
}

/// Keys of roots.
pub(super) fn anchors(value: &str) -> Result<BTreeSet<KeyId>, SettingsError> {
    signature::parse_anchors(value).map_err(|reason| SettingsError::Invalid {
        name: variable::TRUST_ANCHORS,
        value: value.to_owned(),
        reason,
    })
}
