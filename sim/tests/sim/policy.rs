//! Policies as the leader writes them.

use smilax_core::convention::OPERATOR_ACCOUNT;
use smilax_core::workload_connection::OperatorEndpoint;
use smilax_core::{ProxyConfig, Revision, Workload};
use smilax_sim::plan::{ACCOUNTS, Content};

use crate::network::SERVICE;

/// Namespace of the operator.
pub(crate) const INSTALLATION: &str = "smilax-system";
/// Namespace of everybody else.
pub(crate) const NAMESPACE: &str = "shop";

/// Bytes of a long policy: several times what a stream may have under way, or a packet holds.
const LONG: usize = 100_000;

/// The account of this number; pods run under them in turn.
pub(crate) fn account(number: usize) -> Workload {
    Workload::new(NAMESPACE, ["web", "db"][number % ACCOUNTS])
}

/// Where the operator is.
pub(crate) fn operator() -> OperatorEndpoint {
    OperatorEndpoint {
        addresses: vec![SERVICE],
        workload: Workload::new(INSTALLATION, OPERATOR_ACCOUNT),
    }
}

/// Text of a policy.
pub(crate) fn text(workload: &Workload, revision: Revision, content: Content) -> String {
    let mut config = ProxyConfig {
        revision,
        operator: Some(operator()),
        ..ProxyConfig::empty(workload.clone())
    };
    match content {
        Content::Short => {}
        Content::Long => config.cluster_domain = "x".repeat(LONG),
        Content::Bad => config.requires = vec!["teleport".to_owned()],
    }
    serde_json::to_string(&config).unwrap()
}
