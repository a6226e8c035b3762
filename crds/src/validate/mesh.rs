use serde_json::{Map, Value};

use super::field::{Findings, is_dns_subdomain, present};
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
    for field in ["clusterDomain", "trustDomain"] {
        if let Some(domain) = found.optional_text(spec, "spec", field)
            && !is_dns_subdomain(domain)
        {
            found.error(
                format!("spec.{field}"),
                format!("{domain:?} is no domain; write one such as cluster.local"),
            );
        }
    }
    for (field, values) in MODES {
        if present(spec, field).is_some() {
            found.one_of(spec, "spec", field, values);
        }
    }
}
