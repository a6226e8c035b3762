//! Names of objects as people write them.

use std::str::FromStr;

/// Kinds with the names that kubectl knows them by: plural, singular, short.
pub(crate) const KINDS: [(&str, [&str; 3]); 6] = [
    ("TrafficSplit", ["trafficsplits", "trafficsplit", "ts"]),
    ("TrafficTarget", ["traffictargets", "traffictarget", "tt"]),
    ("HTTPRouteGroup", ["httproutegroups", "httproutegroup", "htr"]),
    ("TCPRoute", ["tcproutes", "tcproute", "tr"]),
    ("UDPRoute", ["udproutes", "udproute", "ur"]),
    ("IdentityBinding", ["identitybindings", "identitybinding", "ib"]),
];

/// An SMI object of some namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (kind, name) = written
            .split_once('/')
            .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
            .ok_or("write KIND/NAME, for example trafficsplit/web, and its namespace with -n")?;
        let lower = kind.to_ascii_lowercase();
        // kubectl takes trafficsplits.split.smi-spec.io too.
        let resource = lower.split('.').next().unwrap_or_default();
        let known = KINDS.iter().find(|(_, names)| names.contains(&resource));
        let (kind, _) = known.ok_or_else(|| {
            let all: Vec<String> = KINDS
                .iter()
                .map(|(_, [_, singular, short])| format!("{singular} ({short})"))
                .collect();
            format!("{kind:?} is not an SMI kind: write one of {}", all.join(", "))
        })?;
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}
