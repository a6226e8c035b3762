//! Texts that stand in printer columns, where a list would show only its first element.

use smilax_core::SpiffeId;

use crate::model::{Binding, RoutePorts, Rules, Split, Target};

/// Bytes of a column at most: what is cut off is in the object itself.
const LONGEST: usize = 256;

pub(super) fn backends(split: &Split) -> String {
    joined(
        split
            .backends
            .iter()
            .map(|backend| format!("{}={}", backend.service, backend.weight)),
    )
}

/// `shop/web shop/batch`; bindings as `IdentityBinding/shop/batch`.
pub(super) fn sources(target: &Target) -> String {
    joined(target.sources.iter().map(|source| {
        let namespace = source.namespace.as_deref().unwrap_or(&target.meta.namespace);
        match source.kind.as_str() {
            "ServiceAccount" => format!("{namespace}/{}", source.name),
            kind => format!("{kind}/{namespace}/{}", source.name),
        }
    }))
}

/// `HTTPRouteGroup/api[read] TCPRoute/db`.
pub(super) fn rules(target: &Target) -> String {
    match &target.rules {
        Rules::Nothing => "none".to_owned(),
        Rules::Everything => "all".to_owned(),
        Rules::Listed(rules) => joined(rules.iter().map(|rule| {
            if rule.matches.is_empty() {
                format!("{}/{}", rule.kind, rule.name)
            } else {
                format!("{}/{}[{}]", rule.kind, rule.name, rule.matches.join(","))
            }
        })),
    }
}

/// `app=web,tier=front`, `sa/web`, and SPIFFE ids.
pub(super) fn identities(binding: &Binding) -> String {
    let labels = binding.labels.iter().map(|labels| {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(",")
    });
    let account = binding.account.iter().map(|account| format!("sa/{account}"));
    let ids = binding.ids.iter().flatten().map(SpiffeId::to_string);
    joined(labels.chain(account).chain(ids))
}

pub(super) fn ports(ports: &RoutePorts) -> String {
    match ports {
        RoutePorts::All => "all".to_owned(),
        RoutePorts::Listed(ports) => joined(ports.iter().map(i64::to_string)),
    }
}

pub(super) fn joined(words: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for word in words {
        if text.len() + word.len() > LONGEST {
            text.push_str(" ...");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word);
    }
    text
}
