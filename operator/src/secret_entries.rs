//! A Secret as entries of bytes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What lies in a Secret.
pub(crate) fn entries(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.unwrap_or_default();
    data.into_iter()
        .map(|(entry, ByteString(bytes))| (entry, bytes))
        .collect()
}

/// The Secret `name` with these entries. `meta` is that of the one that it replaces.
pub(crate) fn opaque(name: &str, entries: BTreeMap<String, Vec<u8>>, meta: ObjectMeta) -> Secret {
    let data = entries
        .into_iter()
        .map(|(entry, bytes)| (entry, ByteString(bytes)));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            managed_fields: None,
            ..meta
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    }
}
