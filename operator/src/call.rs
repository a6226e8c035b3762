//! Calls of the API server: each has an end.

use std::future::Future;
use std::time::Duration;

use kube::api::PostParams;
use tokio::time::timeout;

/// Field manager of everything that is written here.
pub(crate) const MANAGER: &str = "smilax-operator";
/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);

/// A write in the name of [`MANAGER`].
pub(crate) fn as_manager() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// A call that did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{what} {name}: no answer within {} s", CALL.as_secs())]
    Time { what: &'static str, name: String },
    #[error("{what} {name}: {source}")]
    Api {
        what: &'static str,
        name: String,
        source: Box<kube::Error>,
    },
}

impl CallError {
    /// Whether the API server answered with this code.
    pub(crate) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == code))
    }
}

pub(crate) async fn call<T>(
    what: &'static str,
    name: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(CallError::Api {
            what,
            name: name.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(CallError::Time {
            what,
            name: name.to_owned(),
        }),
    }
}
