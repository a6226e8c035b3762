use serde_json::{Map, Value};

use super::field::{Findings, join, present, short};
use super::namespace;
use crate::access::{EMPTY_RULES_ANNOTATION, GROUP, Port};
use crate::convert::Version;
use crate::host::is_dns_label;

const SUBJECTS: &[&str] = &["ServiceAccount", "IdentityBinding"];
const ROUTES: &[&str] = &["HTTPRouteGroup", "TCPRoute", "UDPRoute"];

pub(super) fn check(object: &Map<String, Value>, version: Version, found: &mut Findings) {
    let (fields, path, rules) = if version == Version::V1Alpha1 {
        (object, "", "specs")
    } else {
        let Some(spec) = found.object(object, "", "spec", "destination, sources and rules") else {
            return;
        };
        (spec, "spec", "rules")
    };
    let own = namespace(object);
    if let Some(destination) = found.object(fields, path, "destination", "whose pods are called") {
        check_destination(destination, &join(path, "destination"), own, found);
    }
    if let Some(sources) = found.list(fields, path, "sources") {
        check_sources(sources, &join(path, "sources"), version, found);
    }
    if let Some(list) = found.list(fields, path, rules) {
        let path = join(path, rules);
        if list.is_empty() {
            check_no_rules(object, &path, version, found);
        }
        for (index, rule) in list.iter().enumerate() {
            check_rule(rule, &format!("{path}[{index}]"), found);
        }
    }
}

fn check_destination(destination: &Map<String, Value>, path: &str, own: Option<&str>, found: &mut Findings) {
    check_subject(destination, path, found);
    if let (Some(named), Some(own)) = (found.optional_text(destination, path, "namespace"), own)
        && !named.is_empty()
        && named != own
    {
        found.error(
            join(path, "namespace"),
            format!("is {named:?}; a TrafficTarget protects only its own namespace {own:?}, create it in {named:?}"),
        );
    }
    if let Some(port) = present(destination, "port") {
        let path = join(path, "port");
        if serde_json::from_value(port.clone())
            .ok()
            .and_then(|port: Port| port.number())
            .is_none()
        {
            found.error(
                path,
                format!("is {}; write a number from 1 to 65535", short(port)),
            );
        } else {
            found.warning(
                &path,
                "is deprecated; it still restricts the rules to this port, better name a TCPRoute",
            );
        }
    }
}

fn check_sources(sources: &[Value], path: &str, version: Version, found: &mut Findings) {
    if sources.is_empty() {
        if version >= Version::V1Alpha3 {
            found.error(
                path,
                "must name at least one caller; to let nobody call, annotate the workload's pods or its Namespace with smilax.dev/access-mode: deny",
            );
        } else {
            found.warning(path, "is empty, so this TrafficTarget lets nobody call");
        }
    }
    for (index, source) in sources.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(source) = found.as_object(source, &path) else {
            continue;
        };
        check_subject(source, &path, found);
        match found
            .optional_text(source, &path, "namespace")
            .filter(|namespace| !namespace.is_empty())
        {
            Some(namespace) if !is_dns_label(namespace) => {
                found.error(
                    join(&path, "namespace"),
                    format!("{namespace:?} is not a valid name for a namespace"),
                );
            }
            None if present(source, "namespace").is_none_or(|it| it == "") => {
                found.warning(
                    &join(&path, "namespace"),
                    "is missing and means the namespace of the TrafficTarget",
                );
            }
            _ => {}
        }
        if present(source, "port").is_some() {
            found.warning(&join(&path, "port"), "is deprecated and without effect");
        }
    }
}

fn check_subject(subject: &Map<String, Value>, path: &str, found: &mut Findings) {
    found.group(subject, path, "group", GROUP);
    found.one_of(subject, path, "kind", SUBJECTS);
    found.object_name(subject, path);
}

fn check_no_rules(object: &Map<String, Value>, path: &str, version: Version, found: &mut Findings) {
    let annotations = object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let meaning = annotations
        .and_then(|all| all.get(EMPTY_RULES_ANNOTATION))
        .and_then(Value::as_str);
    match (version >= Version::V1Alpha3, meaning) {
        (true, Some("allow")) | (false, Some("allow") | None) => {
            found.warning(
                path,
                "is empty, so the sources may call everything; name routes to say what they may",
            );
        }
        (false, Some("deny")) => found.warning(path, "is empty, so this TrafficTarget allows nothing"),
        _ => found.error(
            path,
            "must name at least one HTTPRouteGroup, TCPRoute or UDPRoute that sources may call",
        ),
    }
}

fn check_rule(rule: &Value, path: &str, found: &mut Findings) {
    let Some(rule) = found.as_object(rule, path) else {
        return;
    };
    let kind = found.one_of(rule, path, "kind", ROUTES);
    found.object_name(rule, path);
    let Some(matches) = found.list(rule, path, "matches") else {
        return;
    };
    if present(rule, "matches").is_none() {
        return;
    }
    let path = join(path, "matches");
    if kind.is_some_and(|kind| kind != "HTTPRouteGroup") {
        found.warning(
            &path,
            "has no effect: only the matches of an HTTPRouteGroup have names",
        );
    } else if matches.is_empty() {
        found.warning(
            &path,
            "is empty, which means every match of the group; leave it out to say so",
        );
    }
    for (index, name) in matches.iter().enumerate() {
        if name.as_str().is_none_or(str::is_empty) {
            found.error(
                format!("{path}[{index}]"),
                format!("is {}; write the name of a match", short(name)),
            );
        }
    }
}
