//! ConfigMaps that we write.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use smilax_core::convention::{
    CONFIG_MAP_PREFIX, PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY, config_map_name,
};
use smilax_core::packed;
use smilax_core::signature::Digest;

use super::{Named, Seen, named};
use crate::controller::state::{Inner, State};
use crate::controller::stored::{Standing, StoredMap};

/// Annotation: the account that a ConfigMap is for.
pub(crate) const ACCOUNT: &str = "smilax.dev/account";

/// Reads a ConfigMap, and verifies it before the state is locked.
pub(super) fn map(state: &State, object: &ConfigMap) -> Named<StoredMap> {
    let read = named(object, stored_map(object));
    state.prepare_map(&read.namespace, &read.value);
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
    let bundle = data.and_then(|data| data.get(TRUST_BUNDLE_KEY));
    let signature = data.and_then(|data| data.get(SIGNATURE_KEY));
    let keys = data.map_or(0, BTreeMap::len) + binary.map_or(0, BTreeMap::len)
        - usize::from(bundle.is_some())
        - usize::from(signature.is_some());
    let plain = data.and_then(|data| data.get(POLICY_KEY));
    let packed = binary.and_then(|binary| binary.get(PACKED_POLICY_KEY));
    let policy = match (plain, packed) {
        (Some(plain), _) => plain.clone(),
        (None, Some(packed)) => unpacked(&packed.0),
        (None, None) => String::new(),
    };
    let policy_digest = match (plain, packed) {
        (Some(plain), _) => Digest::of(plain.as_bytes()),
        (None, Some(packed)) => Digest::of(&packed.0),
        (None, None) => Digest::of(b""),
    };
    let wrong_form = packed.is_some() != packed::is_long(&policy);
    StoredMap {
        // One that nobody can change any more would be in force for ever.
        foreign: object.immutable == Some(true)
            || keys > 1
            || keys == 1 && (wrong_form || plain.is_none() && packed.is_none()),
        account: account_of(object),
        policy,
        policy_digest,
        bundle: bundle.cloned().unwrap_or_default(),
        signature: signature.cloned().unwrap_or_default(),
        standing: Standing::Unchecked,
        resource_version: object.resource_version().unwrap_or_default(),
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

/// What cannot be read is no policy, and so it is written again.
fn unpacked(packed: &[u8]) -> String {
    packed::unpack(packed)
        .ok()
        .and_then(|text| String::from_utf8(text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use smilax_core::packed::Form;

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

    #[test]
    fn a_packed_policy_is_read_and_is_not_foreign() {
        let policy = "x".repeat(packed::MOST_STORED + 1);
        let Ok(Form::Packed(bytes)) = packed::form(&policy) else {
            panic!("it is kept as text")
        };
        let stored = map(&[], &[(PACKED_POLICY_KEY, &bytes)]);
        assert!(stored.policy == policy && !stored.foreign);
        assert!(map(&[(POLICY_KEY, "{}")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
        assert!(map(&[("other", "mine")], &[(PACKED_POLICY_KEY, &bytes)]).foreign);
    }

    #[test]
    fn what_was_packed_by_hand_or_damaged_is_put_right() {
        for bytes in [&b"garbage"[..], &[0x1f, 0x8b], &[]] {
            let stored = map(&[], &[(PACKED_POLICY_KEY, bytes)]);
            assert!(stored.policy.is_empty() && stored.foreign);
        }
    }

    #[test]
    fn a_trust_bundle_is_read_beside_the_policy_in_either_form_and_is_not_foreign() {
        let policy = "x".repeat(packed::MOST_STORED + 1);
        let Ok(Form::Packed(bytes)) = packed::form(&policy) else {
            panic!("it is kept as text")
        };
        let stored = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[(PACKED_POLICY_KEY, &bytes)]);
        assert!(stored.bundle == "{1}" && stored.policy == policy && !stored.foreign);
        let beside = map(&[(POLICY_KEY, "{}"), (TRUST_BUNDLE_KEY, "{1}")], &[]);
        assert!(beside.bundle == "{1}" && beside.policy == "{}" && !beside.foreign);
        let alone = map(&[(TRUST_BUNDLE_KEY, "{1}")], &[]);
        assert!(alone.bundle == "{1}" && alone.policy.is_empty() && !alone.foreign);
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
