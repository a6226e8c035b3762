//! How far each proxy is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY};
use smilax_core::workload_connection::{CertificateInfo, Subject};
use smilax_core::{ObjectRef, ProxyConfig, Revision, Workload};

use super::tampering::Mounts;
use crate::output::as_rfc3339;
use crate::sidecars;
use crate::world::text;

/// What a replica of the operator knows of every proxy, by the UID of its pod.
pub(crate) type Page = BTreeMap<String, Report>;

/// What a proxy told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    #[serde(default)]
    pub(crate) version: String,
    /// Revision of the configuration in force.
    #[serde(default)]
    pub(crate) revision: Option<Revision>,
    /// What it did not take into force last, and why.
    #[serde(default)]
    pub(crate) rejected: Option<(Subject, String)>,
    #[serde(default)]
    pub(crate) certificate: Option<CertificateInfo>,
    /// When its stream began, in seconds since the epoch.
    #[serde(default)]
    pub(crate) since: u64,
    /// When what it has in force, or what it rejected, last changed, in seconds since the epoch.
    #[serde(default)]
    pub(crate) changed: Option<u64>,
    /// What it enforces because it looked up addresses.
    #[serde(default)]
    pub(crate) learned: Vec<ObjectRef>,
    /// Whether its stream ends at this replica. An operator that does not say so knows of those only.
    #[serde(default = "yes")]
    pub(crate) connected: bool,
}

fn yes() -> bool {
    true
}

/// Revision of the newest configuration of each account.
pub(crate) type Wanted = BTreeMap<Workload, Revision>;

/// Where a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum State {
    /// It enforces the newest configuration.
    Synced,
    /// It enforces an older one.
    Stale,
    /// It refuses the newest one and enforces an older one.
    Rejected,
    /// Somebody but the operator wrote what it mounts. It goes on with what it had, and with what the operator tells it.
    Tampered,
    /// No replica of the operator hears it; it enforces what it had, and what its mount brings.
    Disconnected,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proxy {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) account: String,
    pub(crate) version: String,
    /// In force, as far as it told.
    pub(crate) revision: Option<Revision>,
    /// The newest.
    pub(crate) wanted: Option<Revision>,
    pub(crate) state: State,
    /// Since when, in seconds since the epoch, as far as that is known.
    #[serde(serialize_with = "as_rfc3339")]
    pub(crate) since: Option<u64>,
    /// Why the newest, or what is mounted, is refused.
    pub(crate) reason: Option<String>,
    /// When its certificate runs out, in seconds since the epoch.
    #[serde(serialize_with = "as_rfc3339")]
    pub(crate) certificate_expires: Option<u64>,
    /// Objects of other namespaces that it enforces because it looked up addresses.
    pub(crate) learned: Vec<ObjectRef>,
    /// Node of its pod.
    pub(crate) node: String,
}

impl State {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::Stale => "Stale",
            Self::Rejected => "Rejected",
            Self::Tampered => "Tampered",
            Self::Disconnected => "Disconnected",
        }
    }
}

/// Every pod with a proxy, by namespace and name, with what the replicas heard of it.
pub(crate) fn proxies(pods: &[Value], pages: Vec<Page>, wanted: &Wanted, mounts: &Mounts) -> Vec<Proxy> {
    let reports = merged(pages);
    let mut all: Vec<Proxy> = pods
        .iter()
        .filter(|pod| sidecars::sidecar_of(pod).is_some())
        .filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"))
        .map(|pod| proxy(pod, reports.get(text(pod, "/metadata/uid")), wanted, mounts))
        .collect();
    all.sort_by(|a, b| (&a.namespace, &a.pod).cmp(&(&b.namespace, &b.pod)));
    all
}

/// Of what several replicas heard, that of the one where the stream ends counts, then the latest.
fn merged(pages: Vec<Page>) -> Page {
    let mut all = Page::new();
    for (uid, report) in pages.into_iter().flatten() {
        let key = |report: &Report| (report.connected, report.since, report.revision);
        match all.get(&uid) {
            Some(known) if key(known) >= key(&report) => {}
            _ => {
                all.insert(uid, report);
            }
        }
    }
    all
}

fn proxy(pod: &Value, report: Option<&Report>, wanted: &Wanted, mounts: &Mounts) -> Proxy {
    let namespace = text(pod, "/metadata/namespace").to_owned();
    let account = match text(pod, "/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    let workload = Workload::new(namespace.as_str(), account);
    let tampering = mounts.tampering(pod, &workload);
    // What somebody else wrote there is wanted by nobody.
    let wanted = wanted.get(&workload).filter(|_| tampering.is_none()).copied();
    let state = match tampering {
        Some(_) => State::Tampered,
        None => state(report, wanted),
    };
    let rejected = report.and_then(|report| match &report.rejected {
        Some((Subject::Revision(_), reason)) if state == State::Rejected => Some(reason.clone()),
        _ => None,
    });
    let version = report.map_or("", |report| report.version.as_str());
    Proxy {
        pod: text(pod, "/metadata/name").to_owned(),
        account: account.to_owned(),
        version: if version.is_empty() {
            sidecars::version_of(pod).unwrap_or_default().to_owned()
        } else {
            version.to_owned()
        },
        revision: report.and_then(|report| report.revision),
        wanted,
        state,
        since: report.and_then(|report| match state {
            // Nobody noted when it went.
            State::Disconnected => None,
            _ => Some(report.changed.unwrap_or(report.since)),
        }),
        reason: tampering.or(rejected),
        certificate_expires: report
            .and_then(|report| report.certificate.as_ref())
            .map(|certificate| certificate.not_after),
        learned: report.map(|report| report.learned.clone()).unwrap_or_default(),
        node: text(pod, "/spec/nodeName").to_owned(),
        namespace,
    }
}

fn state(report: Option<&Report>, wanted: Option<Revision>) -> State {
    let Some(report) = report.filter(|report| report.connected) else {
        return State::Disconnected;
    };
    if report.revision.is_some() && report.revision >= wanted {
        return State::Synced;
    }
    match report.rejected {
        Some((Subject::Revision(rejected), _)) if Some(rejected) >= wanted => State::Rejected,
        _ => State::Stale,
    }
}

/// The configuration in a ConfigMap of the operator's; `None` in one that holds none.
///
/// # Errors
/// One that is not of the operator's form.
pub(crate) fn newest(map: &Value) -> anyhow::Result<Option<ProxyConfig>> {
    let Some(content) = content(map)? else {
        return Ok(None);
    };
    Ok(Some(smilax_core::config::decode(&content)?))
}

fn content(map: &Value) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(text) = map["data"][POLICY_KEY].as_str() {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    let packed = &map["binaryData"][PACKED_POLICY_KEY];
    if packed.is_null() {
        return Ok(None);
    }
    let bytes: k8s_openapi::ByteString = serde_json::from_value(packed.clone())?;
    Ok(Some(bytes.0))
}
