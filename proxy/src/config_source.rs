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

mod files;
mod rejection;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use smilax_core::config::{DecodeError, Destination};
use smilax_core::pattern::Compiled;
use smilax_core::table::LowerError;
use smilax_core::workload_connection::OperatorEndpoint;
use smilax_core::{PodView, ProxyConfig, Revision, RouteTable, TrustDomain, packed};

use crate::operator_connection::conversation::Refusal;

pub use files::{
    Mount, kept_bundle, last_good, read, read_bundle, read_from, read_mount, replace, save, save_bundle,
};
pub use rejection::Rejection;

/// Which configuration is in force, and why another is not.
#[derive(Debug, Default)]
pub struct Source {
    pod: PodView,
    applied: Option<Applied>,
    /// What was found behind addresses that it does not name.
    found: Vec<Arc<[Destination]>>,
    /// Expressions of the table in force, which the next one need not compile again.
    compiled: Compiled,
    /// The newest of each origin, where it is not usable.
    rejected: BTreeMap<Origin, Rejected>,
    /// The newest generation of a bundle that was mounted.
    mounted_bundle: u64,
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
        let refusals = self
            .rejected
            .values()
            .filter_map(|rejected| Some((revision_of(&rejected.content)?, rejected.rejection.refusal()?)));
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

    /// Refuses a configuration for what lies beside it. What is in force stays so, also if it is the same.
    pub fn refuse(&mut self, content: Vec<u8>, rejection: Rejection, origin: Origin, at: u64) -> Step {
        self.reject(content, rejection, origin, at)
    }

    /// Decides about the generation of a mounted bundle. It may be behind what the stream brought, and never behind what was
    /// mounted before: somebody put an earlier ConfigMap back then, even where the policy is the same.
    ///
    /// # Errors
    /// [`Rejection::StaleBundle`].
    pub fn consider_bundle(&mut self, found: u64) -> Result<(), Rejection> {
        if found < self.mounted_bundle {
            return Err(Rejection::StaleBundle {
                found,
                mounted: self.mounted_bundle,
            });
        }
        self.mounted_bundle = found;
        Ok(())
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

    fn lower(&mut self, content: &[u8]) -> Result<(ProxyConfig, RouteTable), Rejection> {
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
                let table = RouteTable::lower_with(&config, &self.pod, found, &mut self.compiled)
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

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests;
