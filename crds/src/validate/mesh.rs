use std::net::IpAddr;

use serde_json::{Map, Value};

use super::binding::check_trust_domain;
use super::field::{Findings, join, present, short};
use crate::host::is_dns_label;
use crate::mesh::NAME;

const MODES: [(&str, &[&str]); 4] = [
    ("accessMode", &["deny", "allow", "audit"]),
    ("tlsMode", &["strict", "permissive"]),
    ("pathRegexMode", &["prefix", "full"]),
    ("headerRegexMode", &["full", "search"]),
];

pub(super) fn check(object: &Map<String, Value>, found: &mut Findings) {
    let name = object
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Value::as_str);
    if name.is_some_and(|name| name != NAME) {
        found.error(
            "metadata.name",
            format!("the only MeshConfig is the one named {NAME}"),
        );
    }
    let Some(spec) = present(object, "spec").and_then(|spec| found.as_object(spec, "spec")) else {
        return;
    };
    // The cluster's domain is looked up in DNS; the trust domain is a part of SPIFFE ids.
    let is_dns = |domain: &str| domain.len() <= 253 && domain.split('.').all(is_dns_label);
    let cluster = found.optional_text(spec, "spec", "clusterDomain");
    let trust = found.optional_text(spec, "spec", "trustDomain");
    for (field, domain) in [
        ("clusterDomain", cluster.filter(|domain| !is_dns(domain))),
        (
            "trustDomain",
            trust.filter(|domain| check_trust_domain(domain).is_err()),
        ),
    ] {
        if let Some(domain) = domain {
            found.error(
                format!("spec.{field}"),
                format!("{domain:?} is not a domain; write one such as cluster.local"),
            );
        }
    }
    if let Some(sources) = found.list(spec, "spec", "unauthenticatedSources") {
        for (index, source) in sources.iter().enumerate() {
            check_source(source, &format!("spec.unauthenticatedSources[{index}]"), found);
        }
    }
    for (field, values) in MODES {
        if present(spec, field).is_some() {
            found.one_of(spec, "spec", field, values);
        }
    }
}

fn check_source(source: &Value, path: &str, found: &mut Findings) {
    let Some(source) = found.as_object(source, path) else {
        return;
    };
    let Some(cidrs) = found.list(source, path, "cidrs") else {
        return;
    };
    if cidrs.is_empty() {
        found.error(
            join(path, "cidrs"),
            "is empty; write address ranges such as 10.0.0.0/8",
        );
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        if !cidr.as_str().is_some_and(is_cidr) {
            found.error(
                format!("{path}.cidrs[{index}]"),
                format!(
                    "{} is not an address range; write one such as 10.0.0.0/8",
                    short(cidr)
                ),
            );
        }
    }
}

/// An address, a slash, and a number of bits that the address has.
fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
}
