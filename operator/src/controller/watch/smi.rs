//! SMI objects, with the status that is stored of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DynamicObject;
use smilax_compiler::ingest;
use smilax_compiler::model::RouteGroup;
use smilax_compiler::status::Stored;

use super::Seen;
use crate::controller::kinds::{SmiKind, Watched};
use crate::controller::measuring::Known;
use crate::controller::state::{Inner, ObjectKey, StoredObject};

/// An SMI object.
pub(super) struct SmiObject {
    key: ObjectKey,
    stored: StoredObject,
    raw: serde_json::Value,
}

pub(super) fn object(kind: SmiKind, object: &DynamicObject) -> SmiObject {
    SmiObject {
        key: (
            kind,
            object.namespace().unwrap_or_default().into(),
            object.name_any().into(),
        ),
        stored: stored_object(object),
        // What was read as JSON is written as JSON.
        raw: serde_json::to_value(object).unwrap_or_default(),
    }
}

pub(super) fn objects(kind: SmiKind, inner: &mut Inner, seen: Seen<SmiObject>) {
    match seen {
        Seen::Applied(SmiObject { key, stored, raw }) => {
            let before = inner.objects.remove(&key);
            keep(inner, &key, stored, before.as_ref());
            set_smi(kind, inner, &key, Some(&raw));
        }
        Seen::Deleted(SmiObject { key, .. }) => {
            inner.objects.remove(&key);
            set_smi(kind, inner, &key, None);
        }
        Seen::All(all) => {
            let before: BTreeMap<ObjectKey, StoredObject> =
                inner.objects.extract_if(.., |key, _| key.0 == kind).collect();
            let mut raws = Vec::new();
            for SmiObject { key, stored, raw } in all {
                keep(inner, &key, stored, before.get(&key));
                raws.push((key, raw));
            }
            reset_smi(kind, inner, raws);
        }
    }
}

/// Keeps the stored status of an object. Our own writes come back too; only a status that somebody else changed is worth a
/// look, also when nobody watched while it was.
fn keep(inner: &mut Inner, key: &ObjectKey, stored: StoredObject, before: Option<&StoredObject>) {
    let is_same =
        |before: &StoredObject| before.conditions == stored.conditions && before.columns == stored.columns;
    if !before.is_some_and(is_same) {
        inner.index.mark(&key.1);
    }
    inner.objects.insert(key.clone(), stored);
}

/// Takes an SMI object into the index, or takes it out.
macro_rules! set {
    ($index:expr, $key:expr, $raw:expr, $set:ident, $ingest:path) => {
        $index.$set(&$key.1, $key.2.clone(), $raw.map($ingest))
    };
}

fn set_smi(kind: SmiKind, inner: &mut Inner, key: &ObjectKey, raw: Option<&serde_json::Value>) {
    let index = &mut inner.index;
    match kind {
        SmiKind::TrafficSplit => set!(index, key, raw, set_split, ingest::split),
        SmiKind::HttpRouteGroup => set_group(inner, key, raw.map(ingest::route_group)),
        SmiKind::TrafficTarget => set!(index, key, raw, set_target, ingest::traffic_target),
        SmiKind::IdentityBinding => set!(index, key, raw, set_binding, ingest::identity_binding),
        SmiKind::TcpRoute => set!(index, key, raw, set_tcp_route, ingest::port_route),
        SmiKind::UdpRoute => set!(index, key, raw, set_udp_route, ingest::port_route),
    }
}

/// A group is measured before it is taken in; that it is gone is known at once. One that is known already comes back when
/// only its status was written, and nothing is measured then.
fn set_group(inner: &mut Inner, (_, namespace, name): &ObjectKey, group: Option<RouteGroup>) {
    if let Some(group) = group {
        let contents = inner.index.contents(namespace);
        let known = contents.and_then(|contents| contents.groups.get(name));
        if known == Some(&group) {
            inner.measuring.remove(namespace, name);
            return;
        }
        inner.measuring.add(namespace, name, group, Known::Before);
    } else {
        inner.measuring.remove(namespace, name);
        inner.index.set_group(namespace, name.clone(), None);
    }
}

fn reset_groups(inner: &mut Inner, all: Vec<(Arc<str>, Arc<str>, RouteGroup)>) {
    let first = inner.is_unlisted(Watched::Smi(SmiKind::HttpRouteGroup));
    let unknown = inner.measuring.clear();
    let mut kept = Vec::new();
    for (namespace, name, group) in all {
        let contents = inner.index.contents(&namespace);
        let before = contents.and_then(|contents| contents.groups.get(&name));
        if let Some(before) = before {
            kept.push((namespace.clone(), name.clone(), before.clone()));
        }
        if before != Some(&group) {
            // A list that comes before the groups of the first were measured makes nothing known.
            let key = (namespace.clone(), name.clone());
            let known = if first || before.is_none() && unknown.contains(&key) {
                Known::Nothing
            } else {
                Known::Before
            };
            inner.measuring.add(&namespace, &name, group, known);
        }
    }
    inner.index.reset_groups(kept);
}

fn reset_smi(kind: SmiKind, inner: &mut Inner, all: Vec<(ObjectKey, serde_json::Value)>) {
    /// Reads each object and says where it belongs.
    fn read<T>(
        all: Vec<(ObjectKey, serde_json::Value)>,
        ingest: fn(&serde_json::Value) -> T,
    ) -> impl Iterator<Item = (Arc<str>, Arc<str>, T)> {
        all.into_iter()
            .map(move |((_, namespace, name), raw)| (namespace, name, ingest(&raw)))
    }
    let index = &mut inner.index;
    match kind {
        SmiKind::TrafficSplit => index.reset_splits(read(all, ingest::split)),
        SmiKind::HttpRouteGroup => reset_groups(inner, read(all, ingest::route_group).collect()),
        SmiKind::TrafficTarget => index.reset_targets(read(all, ingest::traffic_target)),
        SmiKind::IdentityBinding => index.reset_bindings(read(all, ingest::identity_binding)),
        SmiKind::TcpRoute => index.reset_tcp_routes(read(all, ingest::port_route)),
        SmiKind::UdpRoute => index.reset_udp_routes(read(all, ingest::port_route)),
    }
}

/// What we compare of an SMI object.
pub fn stored_object(object: &DynamicObject) -> StoredObject {
    let status = &object.data["status"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| Stored {
            kind: text(&one["type"]),
            status: text(&one["status"]),
            reason: text(&one["reason"]),
            message: text(&one["message"]),
            observed_generation: one["observedGeneration"].as_i64(),
            last_transition: text(&one["lastTransitionTime"]),
        });
    let columns = status.as_object().into_iter().flatten();
    StoredObject {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        conditions: conditions.collect(),
        observed_generation: status["observedGeneration"].as_i64(),
        columns: columns
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use smilax_compiler::index::Settings;

    use super::*;
    use crate::controller::state::State;

    fn split(status: &Value) -> SmiObject {
        let object = json!({
            "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
            "metadata": {"name": "web", "namespace": "shop", "uid": "1", "generation": 1},
            "spec": {"service": "web", "backends": [{"service": "web-v1", "weight": 1}]},
            "status": status,
        });
        super::object(SmiKind::TrafficSplit, &serde_json::from_value(object).unwrap())
    }

    /// Whether a second list, with this status, is a reason to look at the namespace.
    fn is_looked_at(first: &Value, second: &Value) -> bool {
        let state = State::new(Settings::default());
        state.read(|inner| {
            let list = |inner: &mut Inner, status| {
                objects(SmiKind::TrafficSplit, inner, Seen::All(vec![split(status)]));
            };
            list(inner, first);
            inner.index.take_dirty();
            list(inner, second);
            !inner.index.take_dirty().is_empty()
        })
    }

    fn group(path: &str, status: &Value) -> SmiObject {
        let object = json!({
            "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
            "metadata": {"name": "web", "namespace": "shop", "uid": "1", "generation": 1},
            "spec": {"matches": [{"name": "one", "pathRegex": path}]},
            "status": status,
        });
        super::object(SmiKind::HttpRouteGroup, &serde_json::from_value(object).unwrap())
    }

    #[test]
    fn s1_a_group_whose_status_alone_was_written_is_not_measured_again() {
        let state = State::new(Settings::default());
        state.read(|inner| {
            let see = |inner: &mut Inner, path, status: &Value| {
                let seen = Seen::Applied(group(path, status));
                objects(SmiKind::HttpRouteGroup, inner, seen);
                inner.measuring.is_waiting()
            };
            assert!(see(inner, "/a", &json!({})));
            let taken = inner.measuring.take().unwrap();
            let (namespace, name) = inner.measuring.finish().unwrap();
            inner.index.set_group(&namespace, name, Some(taken));
            assert!(!see(inner, "/a", &json!({"matches": "one"})));
            assert!(see(inner, "/b", &json!({"matches": "one"})));
            assert!(!see(inner, "/a", &json!({})), "what waits is not wanted any more");
        });
    }

    #[test]
    fn a_status_that_changed_while_nobody_watched_is_looked_at() {
        let backends = |text: &str| json!({"backends": text});
        assert!(!is_looked_at(&backends("web-v1=1"), &backends("web-v1=1")));
        assert!(is_looked_at(&backends("web-v1=1"), &json!({})));
    }
}
