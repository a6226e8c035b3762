//! ConfigMaps that we write.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use smilax_core::convention::{
    CONFIG_MAP_PREFIX, PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY, config_map_name,
};

use super::{Named, Seen, named};
use crate::controller::state::{Inner, State};
use crate::controller::stored::{Content, Presence, StoredMap, StoredPolicy};

/// Annotation: the account that a ConfigMap is for.
pub(crate) const ACCOUNT: &str = "smilax.dev/account";

/// Reads a ConfigMap, and judges it before the state is locked. What it proves not to hold is not kept: a list of thousands
/// that somebody else wrote is held as their names.
pub(super) fn map(state: &State, object: &ConfigMap) -> Named<StoredMap> {
    let mut read = named(object, stored_map(object));
    state.prepare_map(&read.namespace, &read.name, &mut read.value);
    read
}

pub(super) fn maps(inner: &mut Inner, seen: Seen<Named<StoredMap>>) {
    // Of another name, it is none of ours whatever its labels say, and the operator may not delete it.
    let is_ours = |one: &Named<StoredMap>| one.name.starts_with(CONFIG_MAP_PREFIX);
    match seen {
        Seen::Applied(one) | Seen::Deleted(one) if !is_ours(&one) => {}
        Seen::Applied(one) => {
            let before = inner.set_map(&one.namespace, &one.name, Some(one.value.clone()));
            // Our own writes come back here too; only what somebody else changed is worth a look.
            if before.is_none_or(|before| !before.same_content(&one.value)) {
                inner.index.mark(&one.namespace);
            }
        }
        Seen::Deleted(one) => {
            inner.set_map(&one.namespace, &one.name, None);
            inner.forget_prepared(&one.namespace, &one.value);
            inner.index.mark(&one.namespace);
        }
        Seen::All(all) => {
            let all = all.into_iter().filter(is_ours);
            inner.reset_maps(all.map(|one| (one.namespace.to_string(), one.name.to_string(), one.value)));
            inner.mark_all();
        }
    }
}

/// What we compare of a ConfigMap.
pub fn stored_map(object: &ConfigMap) -> StoredMap {
    let (data, binary) = (object.data.as_ref(), object.binary_data.as_ref());
    let text = |key| data.and_then(|data| data.get(key)).map(String::as_str);
    let (bundle, signature) = (text(TRUST_BUNDLE_KEY), text(SIGNATURE_KEY));
    let plain = text(POLICY_KEY);
    let packed = binary.and_then(|binary| binary.get(PACKED_POLICY_KEY));
    let all = data.map_or(0, BTreeMap::len) + binary.map_or(0, BTreeMap::len);
    let ours = [bundle, signature, plain].iter().flatten().count() + usize::from(packed.is_some());
    let both = plain.is_some() && packed.is_some();
    let policy = match (plain, packed) {
        (Some(plain), _) => StoredPolicy::Text(plain.into()),
        (None, Some(packed)) => StoredPolicy::Packed(packed.0.as_slice().into()),
        (None, None) => StoredPolicy::default(),
    };
    let content = Content {
        policy,
        bundle: bundle.unwrap_or_default().into(),
        signature: signature.unwrap_or_default().into(),
    };
    StoredMap {
        // One that nobody can change any more would be in force for ever.
        foreign: object.immutable == Some(true) || all > ours || both,
        presence: match &object.metadata.deletion_timestamp {
            None => Presence::There,
            Some(_) => Presence::Ending,
        },
        resource_version: object.resource_version().unwrap_or_default(),
        ..StoredMap::of(account_of(object), content)
    }
}

/// The account that a ConfigMap is named after. A name that was cut needs the annotation to tell; one that does not fit
/// tells nothing.
fn account_of(object: &ConfigMap) -> String {
    let name = object.name_any();
    let by_name = name.strip_prefix("smilax-").unwrap_or_default();
    let noted = object.annotations().get(ACCOUNT).map(String::as_str);
    [noted, Some(by_name)]
        .into_iter()
        .flatten()
        .find(|account| config_map_name(account) == name)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use smilax_core::Revision;
    use smilax_core::packed::{self, Form};

    use super::*;

    fn map(data: &[(&str, &str)], binary: &[(&str, &[u8])]) -> StoredMap {
        stored_map(&ConfigMap {
            data: (!data.is_empty()).then(|| {
                data.iter()
                    .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                    .collect()
            }),
            binary_data: (!binary.is_empty()).then(|| {
                binary
                    .iter()
                    .map(|&(key, value)| (key.to_owned(), ByteString(value.to_vec())))
                    .collect()
            }),
            ..ConfigMap::default()
        })
    }

    fn packed_policy() -> Vec<u8> {
        match packed::form(&format!(
            r#"{{"revision":"4.7","x":"{}"}}"#,
            "x".repeat(packed::MOST_STORED)
        )) {
            Ok(Form::Packed(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn policy(map: &StoredMap) -> &StoredPolicy {
        &map.content.as_ref().unwrap().policy
    }

    #[test]
    fn s27_a_packed_policy_stays_packed_and_only_its_revision_is_read() {
        let bytes = packed_policy();
        let stored = map(&[], &[(PACKED_POLICY_KEY, &bytes)]);
        assert_eq!(*policy(&stored), StoredPolicy::Packed(bytes.as_slice().into()));
        assert_eq!(stored.revision, Some(Revision { term: 4, counter: 7 }));
        assert!(!stored.foreign);
        assert!(map(&[(POLICY_KEY, "{}")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
        assert!(map(&[("other", "mine")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
    }

    #[test]
    fn what_is_damaged_has_no_revision() {
        for bytes in [&b"garbage"[..], &[0x1f, 0x8b], &[]] {
            assert_eq!(map(&[], &[(PACKED_POLICY_KEY, bytes)]).revision, None);
        }
    }

    #[test]
    fn a_trust_bundle_is_read_beside_the_policy_in_either_form_and_is_not_foreign() {
        let bytes = packed_policy();
        let beside_packed = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[(PACKED_POLICY_KEY, &bytes)]);
        let beside_text = map(&[(POLICY_KEY, "{}"), (TRUST_BUNDLE_KEY, "{1}")], &[]);
        let alone = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[]);
        for stored in [beside_packed, beside_text, alone] {
            assert!(stored.bundle() == "{1}" && !stored.foreign);
        }
    }

    #[test]
    fn text_alone_is_not_foreign_and_any_other_key_is() {
        assert!(!map(&[(POLICY_KEY, "{}")], &[]).foreign);
        assert!(!map(&[], &[]).foreign);
        assert!(map(&[("other", "mine")], &[]).foreign);
        assert!(map(&[(POLICY_KEY, "{}"), ("other", "mine")], &[]).foreign);
        assert!(map(&[(POLICY_KEY, "{}")], &[("other", b"mine")]).foreign);
    }
}
