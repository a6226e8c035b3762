//! Whom a server must prove to be, as far as a caller is told.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::Workload;

/// Stands for every account of a namespace where an account is written. No ServiceAccount can have this name, and a proxy
/// that does not know the form finds it at nobody, so that it refuses to connect rather than connect in plaintext.
const ANY_ACCOUNT: &str = "*";

/// Whom a server must prove to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Workload", into = "Workload")]
pub enum ExpectedIdentity {
    /// This workload.
    Workload(Workload),
    /// Any workload of a namespace: what a caller is told that the policy of the destination does not name.
    Namespace(Arc<str>),
}

impl ExpectedIdentity {
    /// Whether a server that has proven to be `proven` is meant.
    pub fn is_met_by(&self, proven: &Workload) -> bool {
        match self {
            Self::Workload(workload) => workload == proven,
            Self::Namespace(namespace) => *namespace == proven.namespace,
        }
    }

    /// The same without the account.
    #[must_use]
    pub fn without_account(&self) -> Self {
        match self {
            Self::Workload(workload) => Self::Namespace(workload.namespace.clone()),
            Self::Namespace(namespace) => Self::Namespace(namespace.clone()),
        }
    }
}

impl From<Workload> for ExpectedIdentity {
    fn from(workload: Workload) -> Self {
        if &*workload.account == ANY_ACCOUNT {
            Self::Namespace(workload.namespace)
        } else {
            Self::Workload(workload)
        }
    }
}

impl From<ExpectedIdentity> for Workload {
    fn from(expected: ExpectedIdentity) -> Self {
        match expected {
            ExpectedIdentity::Workload(workload) => workload,
            ExpectedIdentity::Namespace(namespace) => Self::new(namespace, ANY_ACCOUNT),
        }
    }
}

impl fmt::Display for ExpectedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
            Self::Namespace(namespace) => write!(f, "{namespace}/{ANY_ACCOUNT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Workload {
        Workload::new("shop", "web")
    }

    #[test]
    fn a_workload_is_met_by_itself_alone() {
        let expected = ExpectedIdentity::from(web());
        assert!(expected.is_met_by(&web()));
        assert!(!expected.is_met_by(&Workload::new("shop", "api")));
    }

    #[test]
    fn without_its_account_any_of_its_namespace_is_met_and_no_other() {
        let expected = ExpectedIdentity::from(web()).without_account();
        assert!(expected.is_met_by(&web()));
        assert!(expected.is_met_by(&Workload::new("shop", "api")));
        assert!(!expected.is_met_by(&Workload::new("bank", "web")));
    }

    #[test]
    fn both_forms_are_read_as_they_are_written() {
        for expected in [
            ExpectedIdentity::from(web()),
            ExpectedIdentity::Namespace("shop".into()),
        ] {
            let text = serde_json::to_string(&expected).unwrap();
            assert_eq!(serde_json::from_str::<ExpectedIdentity>(&text).unwrap(), expected);
        }
    }

    /// A proxy that does not know the form of a namespace reads a workload that nobody can prove to be.
    #[test]
    fn an_older_proxy_reads_an_account_that_no_pod_can_have() {
        let text = serde_json::to_string(&ExpectedIdentity::Namespace("shop".into())).unwrap();
        assert_eq!(text, r#"{"namespace":"shop","account":"*"}"#);
        let read: Workload = serde_json::from_str(&text).unwrap();
        assert_ne!(read, web());
    }
}
