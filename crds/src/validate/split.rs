use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field::{Findings, join, present, short};
use super::namespace;
use crate::convert::Version;
use crate::host::{check_root, is_dns_label};
use crate::quantity::Quantity;
use crate::specs;
use crate::split::{MAX_WEIGHT, Weight};

/// What is known of a weight that is no error.
#[derive(Clone, Copy, PartialEq)]
enum Share {
    None,
    Some,
}

pub(super) fn check(object: &Map<String, Value>, version: Version, found: &mut Findings) {
    let Some(spec) = found.object(object, "", "spec", "service and backends") else {
        return;
    };
    if let Some(root) = found
        .optional_text(spec, "spec", "service")
        .or(Some(""))
        .filter(|_| is_text(spec))
    {
        // Without a namespace yet, whatever namespace the root names may turn out to be its own.
        let named = root.split('.').nth(1).unwrap_or_default();
        if let Err(error) = check_root(root, namespace(object).unwrap_or(named)) {
            found.error("spec.service", error.to_string());
        }
    }
    if let Some(backends) = found.list(spec, "spec", "backends") {
        check_backends(backends, version, found);
    }
    if version >= Version::V1Alpha3
        && let Some(matches) = found.list(spec, "spec", "matches")
    {
        for (index, reference) in matches.iter().enumerate() {
            let path = format!("spec.matches[{index}]");
            let Some(reference) = found.as_object(reference, &path) else {
                continue;
            };
            found.group(reference, &path, "apiGroup", specs::GROUP);
            found.one_of(reference, &path, "kind", &["HTTPRouteGroup"]);
            found.object_name(reference, &path);
        }
    }
}

/// Whether the root is text or absent, so that it was not reported already.
fn is_text(spec: &Map<String, Value>) -> bool {
    present(spec, "service").is_none_or(Value::is_string)
}

fn check_backends(backends: &[Value], version: Version, found: &mut Findings) {
    if backends.is_empty() {
        return found.error(
            "spec.backends",
            "must name at least one Service that receives traffic",
        );
    }
    let mut first = BTreeMap::new();
    let mut shares = Vec::new();
    for (index, backend) in backends.iter().enumerate() {
        let path = format!("spec.backends[{index}]");
        let Some(backend) = found.as_object(backend, &path) else {
            continue;
        };
        if let Some(service) = found.text(backend, &path, "service") {
            if !is_dns_label(service) {
                found.error(
                    join(&path, "service"),
                    format!(
                        "{service:?} must be a DNS label, the name of a Service of the same namespace: at most 63 \
                         lower-case letters, digits and hyphens"
                    ),
                );
            }
            if let Some(earlier) = first.insert(service, index) {
                first.insert(service, earlier);
                found.error(
                    join(&path, "service"),
                    format!("{service:?} is already spec.backends[{earlier}]; write it once, with the sum of the weights"),
                );
            }
        }
        shares.push(check_weight(backend, &join(&path, "weight"), version, found));
    }
    if shares.iter().all(|share| *share == Some(Share::None)) {
        found.warning(
            "spec.backends",
            "all weights are 0, so traffic goes to the root Service as without a split",
        );
    }
}

fn check_weight(
    backend: &Map<String, Value>,
    path: &str,
    version: Version,
    found: &mut Findings,
) -> Option<Share> {
    let weight = match present(backend, "weight") {
        None if version == Version::V1Alpha1 => {
            found.warning(path, "is missing and counts as 0");
            return Some(Share::None);
        }
        None => {
            found.error(path, "is missing; write 0 or a positive whole number");
            return None;
        }
        Some(weight) => weight,
    };
    if version == Version::V1Alpha1 {
        return check_quantity(weight, path, found);
    }
    let weight: Weight = serde_json::from_value(weight.clone()).unwrap_or_default();
    match weight.get() {
        Ok(0) => Some(Share::None),
        Ok(_) => Some(Share::Some),
        Err(error) => {
            found.error(path, error.to_string());
            None
        }
    }
}

fn check_quantity(weight: &Value, path: &str, found: &mut Findings) -> Option<Share> {
    let Some(quantity) = Quantity::read(weight) else {
        found.error(
            path,
            format!(
                "{} is not a quantity; write a number such as 1 or 500m",
                short(weight)
            ),
        );
        return None;
    };
    let milli = quantity.milli();
    if milli < 0 {
        found.error(
            path,
            format!(
                "weight {} is negative; write 0 or a positive quantity",
                short(weight)
            ),
        );
        return None;
    }
    if milli > i128::from(MAX_WEIGHT) * 1000 {
        let weight = short(weight);
        found.error(
            path,
            format!("weight {weight} is above {MAX_WEIGHT}; weights are relative, divide all of them by the same number"),
        );
        return None;
    }
    Some(if milli == 0 { Share::None } else { Share::Some })
}
