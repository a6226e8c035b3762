//! What is shown of an object that cannot be shown in a version: which one it is, and why there is no more.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{INCOMPLETE, Kind, Version};

/// Labels that are longer are left out.
const MOST_LABELS: usize = 64 * 1024;
/// Characters of a reason; a longer one is cut off.
const MOST_REASON: usize = 512;

/// The beginning of an object, copied as it is written: nothing of it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow, default)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    pub(super) fn read(object: &'a str) -> Option<Self> {
        serde_json::from_str(object).ok()
    }

    /// Whether it is in the version that is stored.
    pub(super) fn is_stored(&self) -> bool {
        self.api_version.ends_with(Version::STORED.name())
    }

    /// Whether its kind has the version `desired`, and its own.
    pub(super) fn can_become(&self, desired: &str) -> bool {
        let version = |api_version: &str| {
            let (group, version) = api_version.split_once('/')?;
            Kind::find(group, &self.kind)?.version(version)?;
            Some(group.to_owned())
        };
        let group = version(&self.api_version);
        group.is_some() && group == version(desired)
    }

    pub(super) fn write(&self, desired: &str, reason: &str, written: &mut Vec<u8>) {
        let reason: String = reason.chars().take(MOST_REASON).collect();
        let begin = format!(
            r#"{{"apiVersion":{},"kind":{},"metadata":{{"annotations":{}"#,
            json!(desired),
            json!(self.kind),
            json!({ INCOMPLETE: reason })
        );
        written.extend_from_slice(begin.as_bytes());
        let Metadata {
            name,
            namespace,
            uid,
            labels,
        } = &self.metadata;
        let labels = labels.filter(|labels| labels.get().len() <= MOST_LABELS);
        for (field, value) in [
            ("name", Some(*name)),
            ("namespace", *namespace),
            ("uid", *uid),
            ("labels", labels),
        ] {
            if let Some(value) = value {
                written.extend_from_slice(format!(r#","{field}":"#).as_bytes());
                written.extend_from_slice(value.get().as_bytes());
            }
        }
        written.extend_from_slice(b"}}");
    }
}
