//! Where proxies reach the operator.

use std::net::SocketAddr;

use smilax_core::Workload;
use smilax_core::convention::{OPERATOR_ACCOUNT, WORKLOAD_PORT, WORKLOAD_SERVICE};
use smilax_core::workload_connection::OperatorEndpoint;

use crate::index::Index;
use crate::model::Addressing;

/// The operator's Service, once it has addresses.
pub(crate) fn endpoint(index: &Index) -> Option<OperatorEndpoint> {
    let namespace = index.settings().installation.as_deref()?;
    let service = index.contents(namespace)?.services.get(WORKLOAD_SERVICE)?;
    let Addressing::Virtual(addresses) = &service.addressing else {
        return None;
    };
    Some(OperatorEndpoint {
        addresses: addresses
            .iter()
            .map(|&address| SocketAddr::new(address, WORKLOAD_PORT))
            .collect(),
        workload: Workload::new(namespace, OPERATOR_ACCOUNT),
    })
}
