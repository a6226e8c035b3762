//! What keys may say. Whoever acts on a value and whoever judges it read it with the same function.

use std::collections::BTreeMap;

use smilax_core::config::{AccessMode, InvalidMode, TlsMode, UnauthenticatedSource};
use smilax_core::{DestinationName, LogFilter};

use super::{PortSet, Quantity, QuantityError};

/// Longest time that draining may be given, in seconds.
const LONGEST_DRAIN: u32 = 3600;
/// Least memory that can be meant, in units of 10⁻⁹ bytes: 1 MiB.
const LEAST_MEMORY: u128 = 1024 * 1024 * 1_000_000_000;

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `enabled` or `disabled`.
    Injection,
    /// `deny`, `allow` or `audit`.
    AccessMode,
    /// `strict` or `permissive`.
    TlsMode,
    /// `8080=strict,9090=permissive`.
    TlsPortModes,
    /// `true` or `false`.
    Boolean,
    /// A JSON list of [`UnauthenticatedSource`].
    Sources,
    /// `kept` or `told`.
    DenialReasons,
    /// `shop/web, billing/*`.
    Destinations,
    /// A quantity of CPU.
    Cpu,
    /// A quantity of memory in which a proxy can run.
    Memory,
    /// A level, or a filter.
    LogFilter,
    /// Seconds, an hour at most.
    DrainSeconds,
    /// Ports and ranges.
    Ports,
    /// The same, but not too many.
    OpaquePorts,
    /// Not judged here.
    Any,
}

/// What of another namespace is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One destination.
    One(DestinationName),
    /// All of them.
    All,
}

impl Values {
    /// Judges a value.
    ///
    /// # Errors
    /// What is wrong with it, and what may be written instead.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Injection => injection(text).map(drop),
            Self::AccessMode => access_mode(text).map(drop),
            Self::TlsMode => tls_mode(text).map(drop),
            Self::TlsPortModes => tls_port_modes(text).map(drop),
            Self::Boolean => boolean(text).map(drop),
            Self::Sources => unauthenticated_sources(text).map(drop),
            Self::DenialReasons => denial_reasons(text).map(drop),
            Self::Destinations => destinations(text).try_for_each(|entry| {
                entry
                    .map(drop)
                    .map_err(|entry| format!("{entry:?} is not of the form namespace/service or namespace/*"))
            }),
            Self::Cpu => cpu(text).map(drop),
            Self::Memory => memory(text).map(drop),
            Self::LogFilter => log_filter(text).map(drop),
            Self::DrainSeconds => drain_seconds(text).map(drop),
            Self::Ports => ports(text).map(drop),
            Self::OpaquePorts => opaque_ports(text).map(drop),
            Self::Any => Ok(()),
        }
    }
}

/// Whether a pod or a Namespace wants to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// It does.
    Enabled,
    /// It stays out.
    Disabled,
}

/// Reads `smilax.dev/inject`. Selectors of the API server compare it letter by letter.
///
/// # Errors
/// Any other word.
pub fn injection(text: &str) -> Result<Injection, String> {
    match text {
        "enabled" => Ok(Injection::Enabled),
        "disabled" => Ok(Injection::Disabled),
        other => Err(format!("{other:?} has no effect: write enabled or disabled")),
    }
}

/// Reads an access mode.
///
/// # Errors
/// Any other word.
pub fn access_mode(text: &str) -> Result<AccessMode, String> {
    text.trim()
        .parse()
        .map_err(|error: InvalidMode| error.to_string())
}

/// Reads a TLS mode.
///
/// # Errors
/// Any other word.
pub fn tls_mode(text: &str) -> Result<TlsMode, String> {
    text.trim()
        .parse()
        .map_err(|error: InvalidMode| error.to_string())
}

/// Reads a list such as `8080=strict,9090=permissive`.
///
/// # Errors
/// The first entry of another form.
pub fn tls_port_modes(text: &str) -> Result<BTreeMap<u16, TlsMode>, String> {
    entries(text)
        .map(|entry| {
            let (port, mode) = entry
                .split_once('=')
                .ok_or_else(|| format!("{entry:?} is not of the form port=mode, such as 8080=strict"))?;
            let number = port
                .trim()
                .parse()
                .ok()
                .filter(|&port: &u16| port > 0)
                .ok_or_else(|| format!("{port:?} is not a port from 1 to 65535"))?;
            Ok((number, tls_mode(mode)?))
        })
        .collect()
}

/// Reads `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// Reads callers without an identity.
///
/// # Errors
/// Text that is no such list.
pub fn unauthenticated_sources(text: &str) -> Result<Vec<UnauthenticatedSource>, String> {
    let sources: Vec<UnauthenticatedSource> = serde_json::from_str(text.trim()).map_err(|error| {
        format!(r#"it is not a JSON list such as [{{"cidrs": ["10.0.0.0/8"], "ports": [8080]}}]: {error}"#)
    })?;
    match sources
        .iter()
        .flat_map(|source| &source.ports)
        .find(|&&port| port == 0)
    {
        Some(_) => Err("0 is not a port: write 1 to 65535, or leave ports out for all".to_owned()),
        None => Ok(sources),
    }
}

/// Reads whether callers are told why they are refused.
///
/// # Errors
/// Any other word.
pub fn denial_reasons(text: &str) -> Result<&'static str, String> {
    ["kept", "told"]
        .into_iter()
        .find(|word| *word == text.trim())
        .ok_or_else(|| format!("{text:?} is neither kept nor told"))
}

/// Reads Services of other namespaces; `Err` carries an entry of another form.
pub fn destinations(text: &str) -> impl Iterator<Item = Result<(String, Wanted), String>> {
    entries(text).map(|entry| match entry.split_once('/') {
        Some((namespace, "*")) if !namespace.is_empty() => Ok((namespace.to_owned(), Wanted::All)),
        _ => match entry.parse::<DestinationName>() {
            Ok(name) => Ok((name.namespace.to_string(), Wanted::One(name))),
            Err(_) => Err(entry.to_owned()),
        },
    })
}

/// Reads a quantity of CPU.
///
/// # Errors
/// Text that is none above zero.
pub fn cpu(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|error: QuantityError| error.to_string())
}

/// Reads a quantity of memory.
///
/// # Errors
/// Text that is none, or so little that a unit was forgotten: no container starts in it.
pub fn memory(text: &str) -> Result<Quantity, String> {
    let quantity: Quantity = text.parse().map_err(|error: QuantityError| error.to_string())?;
    if quantity.nano() < LEAST_MEMORY {
        return Err(format!(
            "{text:?} is less than 1Mi, in which no container starts: write a unit, such as 64Mi"
        ));
    }
    Ok(quantity)
}

/// Reads a log filter.
///
/// # Errors
/// Text that is none.
pub fn log_filter(text: &str) -> Result<LogFilter, String> {
    text.parse()
        .map_err(|error: smilax_core::log_filter::LogFilterError| error.to_string())
}

/// Reads how long draining may take.
///
/// # Errors
/// What is no number, or more than an hour.
pub fn drain_seconds(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|&seconds| seconds <= LONGEST_DRAIN)
        .ok_or_else(|| format!("{text:?} is not a number of seconds from 0 to {LONGEST_DRAIN}"))
}

/// Reads ports and ranges.
///
/// # Errors
/// The first entry that is neither.
pub fn ports(text: &str) -> Result<PortSet, String> {
    text.parse().map_err(|error: super::PortsError| error.to_string())
}

/// Reads ports that are carried as bytes.
///
/// # Errors
/// As [`ports`], and too many.
pub fn opaque_ports(text: &str) -> Result<PortSet, String> {
    PortSet::opaque(text).map_err(|error| error.to_string())
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}
