use serde_json::{Map, Value};

use super::field::{Findings, SUBDOMAIN, is_dns_subdomain, present, short};

const SCHEMES: &str = "spec.schemes";

pub(super) fn check(object: &Map<String, Value>, found: &mut Findings) {
    let Some(spec) = found.object(object, "", "spec", "schemes") else {
        return;
    };
    let Some(schemes) = found.object(spec, "spec", "schemes", "how workloads are recognised") else {
        return;
    };
    let selector = present(schemes, "podLabelSelector");
    let account = present(schemes, "serviceAccount");
    let ids = present(schemes, "spiffeIdentities");
    if selector.is_none() && account.is_none() && ids.is_none() {
        found.error(
            SCHEMES,
            "must hold podLabelSelector, serviceAccount or spiffeIdentities",
        );
    }
    if selector.is_some() && account.is_some() {
        found.error(
            SCHEMES,
            "podLabelSelector and serviceAccount exclude each other; write one of them, or two IdentityBindings",
        );
    }
    if let Some(selector) = selector {
        check_selector(selector, found);
    }
    if account.is_some()
        && let Some(name) = found.text(schemes, SCHEMES, "serviceAccount")
        && !is_dns_subdomain(name)
    {
        found.error(
            "spec.schemes.serviceAccount",
            format!("{name:?} is not a valid name for a ServiceAccount: {SUBDOMAIN}"),
        );
    }
    if ids.is_some()
        && let Some(ids) = found.list(schemes, SCHEMES, "spiffeIdentities")
    {
        if ids.is_empty() {
            found.error(
                "spec.schemes.spiffeIdentities",
                "must hold at least one SPIFFE id, or be left out",
            );
        }
        for (index, id) in ids.iter().enumerate() {
            if let Err(reason) = check_spiffe_id(id.as_str().unwrap_or_default()) {
                let path = format!("spec.schemes.spiffeIdentities[{index}]");
                let example = "write one such as spiffe://cluster.local/ns/shop/sa/web";
                found.error(
                    path,
                    format!("{} is not a SPIFFE id: {reason}; {example}", short(id)),
                );
            }
        }
    }
}

fn check_selector(selector: &Value, found: &mut Findings) {
    const PATH: &str = "spec.schemes.podLabelSelector";
    let Some(selector) = found.as_object(selector, PATH) else {
        return;
    };
    let Some(labels) = found.object(selector, PATH, "matchLabels", "the labels that pods must have") else {
        return;
    };
    if labels.is_empty() {
        found.error(
            format!("{PATH}.matchLabels"),
            "must hold at least one label: none would mean every pod",
        );
    }
    for (label, value) in labels {
        if !value.is_string() {
            found.error(
                format!("{PATH}.matchLabels.{label}"),
                format!("is {}; put it in quotes", short(value)),
            );
        }
    }
}

/// Checks a SPIFFE id (SPIFFE-ID section 2), whose scheme may be left out.
fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    let rest = id.strip_prefix("spiffe://").unwrap_or(id);
    let (domain, path) = rest
        .split_once('/')
        .map_or((rest, None), |(domain, path)| (domain, Some(path)));
    if id.len() > 2048 {
        return Err("it is longer than 2048 bytes");
    }
    check_trust_domain(domain)?;
    for segment in path.into_iter().flat_map(|path| path.split('/')) {
        if segment.is_empty() || segment == "." || segment == ".." {
            return Err("its path has an empty or relative part");
        }
        if !segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        {
            return Err("its path may hold letters, digits, dots, hyphens and underscores");
        }
    }
    Ok(())
}

/// Checks a trust domain (SPIFFE-ID section 2.1), which is no DNS name.
pub(super) fn check_trust_domain(domain: &str) -> Result<(), &'static str> {
    if domain.is_empty() || domain.len() > 255 {
        return Err("its trust domain must have 1 to 255 characters");
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if domain.bytes().all(plain) {
        Ok(())
    } else {
        Err("its trust domain may hold lower-case letters, digits, dots, hyphens and underscores")
    }
}
