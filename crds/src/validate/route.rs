use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use smilax_core::pattern::{Anchors, MOST_OF_GROUP, PatternError, measured, path_fault};

use super::field::{Findings, join, present, short};
use crate::convert::Version;
use crate::specs::{MAX_HEADERS, MAX_MATCHES, METHODS};

pub(super) fn check_http(object: &Map<String, Value>, version: Version, found: &mut Findings) {
    if version < Version::V1Alpha3 {
        return check_matches(object, "matches", found);
    }
    let beside = present(object, "matches").is_some();
    let spec = match present(object, "spec") {
        None if beside => {
            found.warning("matches", "is deprecated here; write it under spec");
            return check_matches(object, "matches", found);
        }
        None => return found.error("spec", "is missing; write matches"),
        Some(spec) => spec,
    };
    let Some(spec) = found.as_object(spec, "spec") else {
        return;
    };
    match (present(spec, "matches").is_some(), beside) {
        (false, true) => {
            found.warning("matches", "is deprecated here; write it under spec");
            check_matches(object, "matches", found);
        }
        (true, true) => {
            found.warning("matches", "has no effect beside spec.matches");
            check_matches(spec, "spec.matches", found);
        }
        (_, false) => check_matches(spec, "spec.matches", found),
    }
}

fn check_matches(parent: &Map<String, Value>, path: &str, found: &mut Findings) {
    let parent_path = path
        .strip_suffix("matches")
        .unwrap_or_default()
        .trim_end_matches('.');
    let Some(matches) = found.list(parent, parent_path, "matches") else {
        return;
    };
    if matches.is_empty() {
        found.warning(path, "is empty, so no request belongs to this group");
    }
    if matches.len() > MAX_MATCHES {
        let count = matches.len();
        return found.error(
            path,
            format!(
                "has {count} matches; at most {MAX_MATCHES} can be in one group, divide them over several"
            ),
        );
    }
    let mut expressions = Expressions::default();
    let mut first = BTreeMap::new();
    for (index, http_match) in matches.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(http_match) = found.as_object(http_match, &path) else {
            continue;
        };
        if let Some(name) = found.text(http_match, &path, "name") {
            let earlier = *first.entry(name).or_insert(index);
            if earlier != index {
                found.error(
                    join(&path, "name"),
                    format!("{name:?} is already the name of match {earlier}; TrafficTargets refer to matches by name"),
                );
            }
        }
        if let Some(pattern) = found.optional_text(http_match, &path, "pathRegex") {
            let path = join(&path, "pathRegex");
            expressions.check(pattern, Anchors::Start, &path, found);
            if let Some(fault) = path_fault(pattern) {
                found.warning(&path, &fault.to_string());
            }
        }
        check_methods(http_match, &path, found);
        if let Some(headers) = present(http_match, "headers") {
            check_headers(headers, &join(&path, "headers"), &mut expressions, found);
        }
        if expressions.size > MOST_OF_GROUP {
            return;
        }
    }
}

/// The expressions of a group, each of which counts once.
#[derive(Default)]
struct Expressions {
    known: BTreeSet<String>,
    size: usize,
}

impl Expressions {
    /// Checks one, unless those before it are too large in all already.
    fn check(&mut self, pattern: &str, anchors: Anchors, path: &str, found: &mut Findings) {
        if self.size > MOST_OF_GROUP {
            return;
        }
        let measure = measured(pattern, anchors);
        if self.known.insert(anchors.around(pattern)) {
            self.size += measure.as_ref().map_or_else(PatternError::size, |size| *size);
        }
        if let Err(error) = measure {
            // The engine shows where the fault is over several lines; the last one says what it is.
            let text = error.to_string();
            let reason = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            found.error(
                path,
                format!("{pattern:?} is not a regular expression that can be used: {reason}"),
            );
        }
        if self.size > MOST_OF_GROUP {
            found.error(
                path,
                format!(
                    "the regular expressions up to here take more than {} KiB when compiled; write shorter ones, repeat \
                     less in them, or divide the matches over several groups",
                    MOST_OF_GROUP / 1024
                ),
            );
        }
    }
}

fn check_methods(http_match: &Map<String, Value>, path: &str, found: &mut Findings) {
    let Some(methods) = found.list(http_match, path, "methods") else {
        return;
    };
    for (index, method) in methods.iter().enumerate() {
        let path = format!("{path}.methods[{index}]");
        let Some(text) = method.as_str() else {
            found.error(path, format!("is {}; write a method such as GET", short(method)));
            continue;
        };
        let capitals = text.to_ascii_uppercase();
        if METHODS.contains(&text) {
            continue;
        }
        if METHODS.contains(&capitals.as_str()) {
            found.error(
                path,
                format!("{text:?} is not a method, they are case-sensitive; write {capitals}"),
            );
        } else {
            found.error(
                path,
                format!(
                    "{text:?} is not a known method; write one of {}",
                    METHODS.join(", ")
                ),
            );
        }
    }
}

fn check_headers(headers: &Value, path: &str, expressions: &mut Expressions, found: &mut Findings) {
    let count = match headers {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if count > MAX_HEADERS {
        return found.error(
            path,
            format!("has {count} headers; a match can have at most {MAX_HEADERS}"),
        );
    }
    match headers {
        Value::Object(map) => {
            for (name, value) in map {
                check_header(name, value, &format!("{path}.{name}"), expressions, found);
            }
        }
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let Some(map) = found.as_object(element, &path) else {
                    continue;
                };
                if map.len() != 1 {
                    let count = map.len();
                    found.error(
                        &path,
                        format!("has {count} headers; write one per element of the list, or one map of all"),
                    );
                }
                for (name, value) in map {
                    check_header(name, value, &format!("{path}.{name}"), expressions, found);
                }
            }
        }
        other => found.error(
            path,
            format!("is {}; write a map of names to regular expressions", short(other)),
        ),
    }
}

fn check_header(name: &str, value: &Value, path: &str, expressions: &mut Expressions, found: &mut Findings) {
    if !is_token(name) {
        let reason = if name.starts_with(':') {
            "a name such as :path belongs to HTTP/2; use pathRegex, methods or the header host"
        } else {
            "names consist of letters, digits and hyphens"
        };
        found.error(
            path,
            format!("{name:?} is not a valid name for a header: {reason}"),
        );
    }
    match value {
        Value::String(pattern) => expressions.check(pattern, Anchors::Both, path, found),
        other => found.error(path, format!("is {}; put it in quotes", short(other))),
    }
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

pub(super) fn check_ports(object: &Map<String, Value>, found: &mut Findings) {
    // A route without spec, or without ports, means all ports.
    let Some(spec) = present(object, "spec").and_then(|spec| found.as_object(spec, "spec")) else {
        return;
    };
    let Some(matches) = present(spec, "matches").and_then(|it| found.as_object(it, "spec.matches")) else {
        return;
    };
    let Some(ports) = found.list(matches, "spec.matches", "ports") else {
        return;
    };
    for (index, port) in ports.iter().enumerate() {
        let valid = port.as_i64().is_some_and(|port| (1..=65535).contains(&port));
        if !valid {
            let path = format!("spec.matches.ports[{index}]");
            found.error(
                path,
                format!("is {}; write a number from 1 to 65535", short(port)),
            );
        }
    }
}
