//! Where the configuration comes from, and which one is in force.
//!
//! ```text
//! mounted file, stream ─► Source::consider ─► Apply   ─► table swapped, saved as last good
//!                                         ├─► Reject  ─► the one in force stays; told once
//!                                         └─► Older   ─► the one in force stays; nobody minds
//! ```
//!
//! The operator's stream brings the same configurations sooner than kubelet does. What lies in the mount may be behind,
//! and never leads back to it.

pub mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use smilax_core::config::{DecodeError, Destination};
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, TRUST_BUNDLE_KEY};
use smilax_core::table::LowerError;
use smilax_core::workload_connection::{OperatorEndpoint, TrustBundle};
use smilax_core::{PodView, ProxyConfig, Revision, RouteTable, TrustDomain, packed};

use crate::operator_connection::conversation::Refusal;
use crate::settings::ConfigLocation;

/// File of the last good configuration in the state directory.
const LAST_GOOD: &str = "last-good.json";
/// Bytes of a configuration at most: several times what a ConfigMap holds.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Characters of a path or reason that the operator is told at most.
const MOST_TOLD: usize = 2000;

/// Which configuration is in force, and why another is not.
#[derive(Debug, Default)]
pub struct Source {
    pod: PodView,
    applied: Option<Applied>,
    /// What was found behind addresses that it does not name.
    found: Vec<Arc<[Destination]>>,
    /// The newest of each origin, where it is not usable.
    rejected: BTreeMap<Origin, Rejected>,
}

/// How a configuration came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Mounted by kubelet.
    Mount,
    /// From the operator, over the workload connection.
    Stream,
    /// Kept by a proxy of this pod before it ended.
    Kept,
}

/// A configuration in force.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place in the order.
    pub revision: Revision,
    /// As it was read: packed, if it was.
    pub content: Arc<[u8]>,
    /// How it came here; the mount as soon as it holds the same.
    pub origin: Origin,
    /// When it came into force, in seconds since the epoch.
    pub at: u64,
    /// Where it says that the operator is reached.
    pub operator: Option<OperatorEndpoint>,
    /// The trust domain that it names.
    pub trust_domain: TrustDomain,
}

#[derive(Clone, Debug)]
struct Rejected {
    content: Vec<u8>,
    rejection: Rejection,
    at: u64,
}

/// What to do about a configuration that was read.
#[derive(Debug)]
pub enum Step {
    /// It is in force already.
    Unchanged,
    /// It is in force from now on.
    Apply(Box<RouteTable>),
    /// It is not acceptable; the one in force stays.
    Reject(Rejection),
    /// The same, and this was said already.
    RejectAgain,
    /// It is older than what came another way. That is late, and no mistake.
    Older,
}

/// Why a configuration is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Not a configuration.
    #[error("{path}: {reason}")]
    Malformed {
        /// Path of the field.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// It asks for what this version lacks.
    #[error("{0}")]
    MissingFeature(String),
    /// A field cannot be honoured.
    #[error("{path}: {reason}")]
    Unusable {
        /// Path of the field.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// It is older than the one in force.
    #[error(
        "revision {found} is older than {applied}, which is in force; old content comes back under a new revision"
    )]
    Stale {
        /// Of what was read.
        found: Revision,
        /// Of what is in force.
        applied: Revision,
    },
}

/// What is in force, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Of the configuration in force; absent when there is none.
    pub revision: Option<Revision>,
    /// When it came into force, in seconds since the epoch.
    pub applied_at: Option<u64>,
    /// Why the newest one that was read is not in force; absent when it is.
    pub rejection: Option<RejectionStatus>,
}

/// Why a configuration is not in force, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectionStatus {
    /// One word of few.
    pub reason: &'static str,
    /// What is wrong, and where.
    pub message: String,
    /// When it was refused, in seconds since the epoch.
    pub at: u64,
}

impl Rejection {
    /// One word of few, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Malformed { .. } => "malformed",
            Self::MissingFeature(_) => "missing_feature",
            Self::Unusable { .. } => "unusable",
            Self::Stale { .. } => "stale",
        }
    }
}

impl Applied {
    /// The configuration as text.
    pub fn text(&self) -> Vec<u8> {
        let unpacked = packed::is_packed(&self.content)
            .then(|| packed::unpack(&self.content).ok())
            .flatten();
        unpacked.unwrap_or_else(|| self.content.to_vec())
    }
}

impl Source {
    /// For this pod, with nothing in force.
    pub fn new(pod: PodView) -> Self {
        Self {
            pod,
            ..Self::default()
        }
    }

    /// Takes the labels that the pod has now. The configuration in force may mean something else for them.
    pub fn set_labels(&mut self, labels: BTreeMap<String, String>) -> Option<RouteTable> {
        if self.pod.labels == labels {
            return None;
        }
        self.pod.labels = labels;
        let content = Arc::clone(&self.applied.as_ref()?.content);
        Some(self.lower(&content).ok()?.1)
    }

    /// Takes what was found behind addresses that the configuration does not name. The one in force means more with it.
    pub fn set_found(&mut self, found: Vec<Arc<[Destination]>>) -> Option<RouteTable> {
        self.found = found;
        let content = Arc::clone(&self.applied.as_ref()?.content);
        Some(self.lower(&content).ok()?.1)
    }

    /// Why the newest configuration is not in force, where it says which one it is.
    pub fn refusal(&self) -> Option<(Revision, Refusal)> {
        let refusals = self.rejected.values().filter_map(Rejected::refusal);
        refusals.max_by_key(|(revision, _)| *revision)
    }

    /// Decides about a configuration that was read at `at`, in seconds since the epoch.
    pub fn consider(&mut self, read: Result<Vec<u8>, String>, origin: Origin, at: u64) -> Step {
        let content = match read {
            Ok(content) => content,
            Err(reason) => return self.reject(Vec::new(), Rejection::Unreadable(reason), origin, at),
        };
        if let Some(applied) = &mut self.applied {
            if *applied.content == *content {
                if origin == Origin::Mount {
                    applied.origin = origin;
                }
                self.rejected.remove(&origin);
                return Step::Unchanged;
            }
            // Only the mount itself can be said to go back.
            let late = (origin, applied.origin) != (Origin::Mount, Origin::Mount);
            if late && revision_of(&content).is_some_and(|revision| revision < applied.revision) {
                self.rejected.remove(&origin);
                return Step::Older;
            }
        }
        match self.lower(&content) {
            Ok((config, table)) => {
                self.rejected.clear();
                self.applied = Some(Applied {
                    revision: table.revision,
                    content: content.into(),
                    origin,
                    at,
                    operator: config.operator,
                    trust_domain: config.trust_domain,
                });
                Step::Apply(Box::new(table))
            }
            Err(rejection) => self.reject(content, rejection, origin, at),
        }
    }

    /// The configuration in force.
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// What is in force, for people.
    pub fn status(&self) -> Status {
        Status {
            revision: self.applied.as_ref().map(|applied| applied.revision),
            applied_at: self.applied.as_ref().map(|applied| applied.at),
            rejection: self
                .rejected
                .values()
                .max_by_key(|rejected| rejected.at)
                .map(|rejected| RejectionStatus {
                    reason: rejected.rejection.reason(),
                    message: rejected.rejection.to_string(),
                    at: rejected.at,
                }),
        }
    }

    fn lower(&self, content: &[u8]) -> Result<(ProxyConfig, RouteTable), Rejection> {
        let config = smilax_core::decode(content).map_err(|error| match error {
            DecodeError::Malformed { path, reason } => Rejection::Malformed { path, reason },
            missing @ DecodeError::MissingFeature { .. } => Rejection::MissingFeature(missing.to_string()),
        })?;
        match &self.applied {
            Some(applied) if config.revision < applied.revision => Err(Rejection::Stale {
                found: config.revision,
                applied: applied.revision,
            }),
            _ => {
                let found = self.found.iter().map(|found| &**found);
                let table = RouteTable::lower_with(&config, &self.pod, found)
                    .map_err(|LowerError { path, reason }| Rejection::Unusable { path, reason })?;
                Ok((config, table))
            }
        }
    }

    fn reject(&mut self, content: Vec<u8>, rejection: Rejection, origin: Origin, at: u64) -> Step {
        let known = self
            .rejected
            .values()
            .any(|known| known.content == content && known.rejection == rejection);
        let rejected = Rejected {
            content,
            rejection: rejection.clone(),
            at,
        };
        if known {
            self.rejected.entry(origin).or_insert(rejected);
            return Step::RejectAgain;
        }
        self.rejected.insert(origin, rejected);
        Step::Reject(rejection)
    }
}

impl Rejected {
    fn refusal(&self) -> Option<(Revision, Refusal)> {
        let (path, reason) = match &self.rejection {
            Rejection::Malformed { path, reason } | Rejection::Unusable { path, reason } => {
                (path.as_str(), reason)
            }
            Rejection::MissingFeature(reason) => ("requires", reason),
            // Nobody waits for what is older than what is in force, and what cannot be read has no number.
            Rejection::Unreadable(_) | Rejection::Stale { .. } => return None,
        };
        let refusal = Refusal {
            path: shortened(path),
            reason: shortened(reason),
        };
        Some((revision_of(&self.content)?, refusal))
    }
}

/// The beginning of what may quote a configuration: the operator takes no long messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The number of a configuration, packed or not, that may be of no other use.
fn revision_of(content: &[u8]) -> Option<Revision> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        revision: Revision,
    }
    let numbered: Numbered = if packed::is_packed(content) {
        serde_json::from_slice(&packed::unpack(content).ok()?).ok()?
    } else {
        serde_json::from_slice(content).ok()?
    };
    Some(numbered.revision)
}

/// Reads the configuration from where it lies.
///
/// # Errors
/// A reason for people.
pub fn read_from(location: &ConfigLocation) -> Result<Vec<u8>, String> {
    match location {
        ConfigLocation::File(file) => read(file),
        // kubelet removes what it has replaced, so a version may go while it is looked at; the next one is there then.
        ConfigLocation::Directory(directory) => read_version(directory).or_else(|_| read_version(directory)),
    }
}

/// The trust bundle that lies beside the policy; nothing when there is none.
///
/// # Errors
/// The reason why it cannot be used.
pub fn read_bundle(directory: &Path) -> Result<Option<TrustBundle>, String> {
    let version = fs::canonicalize(directory.join("..data")).unwrap_or_else(|_| directory.to_owned());
    let file = version.join(TRUST_BUNDLE_KEY);
    if !file.exists() {
        return Ok(None);
    }
    let content = read(&file)?;
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// Reads from one version of a mounted ConfigMap: kubelet swaps the `..data` link, and only then the links beside it.
fn read_version(directory: &Path) -> Result<Vec<u8>, String> {
    let version = fs::canonicalize(directory.join("..data")).unwrap_or_else(|_| directory.to_owned());
    let packed = version.join(PACKED_POLICY_KEY);
    let plain = version.join(POLICY_KEY);
    if !plain.exists() && packed.exists() {
        return read(&packed);
    }
    read(&plain)
}

/// Reads a file; a reason for people when that is not possible.
///
/// # Errors
/// The reason.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let file = fs::File::open(path).map_err(told)?;
    let length = file.metadata().map_err(told)?.len();
    if length > MOST_BYTES {
        return Err(format!(
            "{} has {length} bytes; at most {MOST_BYTES} are read",
            path.display()
        ));
    }
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut content).map_err(told)?;
    Ok(content)
}

/// Where the last good configuration is kept.
pub fn last_good(state_directory: &Path) -> PathBuf {
    state_directory.join(LAST_GOOD)
}

/// Keeps the last good configuration, readable for the proxy alone. A crash leaves the old one or the new one.
///
/// # Errors
/// When the directory cannot be written.
pub fn save(state_directory: &Path, content: &[u8]) -> io::Result<()> {
    let path = last_good(state_directory);
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(beside, path)
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests;
