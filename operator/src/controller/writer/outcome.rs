//! What became of a write, and what follows from that.

use std::time::Duration;

use tokio::time::timeout;

use super::Writer;
use super::retry::{Cause, Failed};
use crate::controller::integrity::SignError;

/// How long one API call may take.
const CALL: Duration = Duration::from_secs(5);

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The API server took it.
    Written,
    /// What is stored says the same.
    Unchanged,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    TimedOut,
    #[error(transparent)]
    Unsigned(#[from] SignError),
    #[error("{0}")]
    Api(#[from] kube::Error),
}

impl Writer {
    /// Counts what became of a write, and remembers the namespace of one that is to be tried again.
    pub(super) fn account(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        result: Result<Outcome, WriteError>,
        failed: &mut Failed,
    ) {
        let outcome = match result {
            Ok(Outcome::Unchanged) => return,
            Ok(Outcome::Written) => "written",
            // Gone, or of a namespace that is going: there is nothing left to write to.
            Err(WriteError::Api(kube::Error::Api(status))) if is_moot(&status) => {
                tracing::debug!(kind, namespace, name, reason = status.message, "write dropped");
                "dropped"
            }
            Err(WriteError::Api(kube::Error::Api(status))) if status.is_conflict() => {
                tracing::debug!(kind, namespace, name, "somebody else wrote first; looking again");
                failed.entry(namespace.to_owned()).or_insert(Cause::Overtaken);
                "conflict"
            }
            Err(error) => {
                tracing::warn!(kind, namespace, name, %error, "write failed; it is tried again");
                failed.insert(namespace.to_owned(), Cause::Refused);
                "failed"
            }
        };
        self.metrics.writes.with_label_values(&[kind, outcome]).inc();
    }
}

pub(super) async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match timeout(CALL, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(WriteError::TimedOut),
    }
}

pub(super) fn is_conflict<T>(result: &Result<T, WriteError>) -> bool {
    matches!(result, Err(WriteError::Api(kube::Error::Api(status))) if status.is_conflict())
}

pub(super) fn is_moot(status: &kube::core::Status) -> bool {
    let terminating = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating");
    status.code == 404 || terminating
}
