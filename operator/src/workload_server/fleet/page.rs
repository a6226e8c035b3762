//! What `GET /fleet` of the admin port answers on loopback, for `smilax proxy-status`, which forwards a port:
//!
//! ```json
//! {
//!   "0f4a…": {
//!     "workload": {"namespace": "shop", "account": "web"}, "pod": "web-1", "version": "0.1.0",
//!     "bundle": 7, "revision": "2.6", "wanted": "2.7",
//!     "rejected": [{"revision": "2.7"}, "destinations[0].ports[0]: port 80 appears twice"],
//!     "learned": [{"kind": "TrafficSplit", "namespace": "bank", "name": "web", "generation": 4}],
//!     "certificate": {"issuer": "…", "notAfter": 1764115200},
//!     "since": 1764111600, "changed": 1764111630, "connected": true
//!   }
//! }
//! ```
//!
//! By the UID of the pod: what its proxy told, here or to another replica, and `wanted`, the revision that is stored for
//! its account; null where there is none. `rejected` is null unless something is rejected that nothing later has
//! replaced. `learned` are the objects that it enforces because it looked up addresses. `since` is when its stream began, `changed` when the revision in force or the rejection became another, both
//! in seconds since the epoch. `connected` says whether its stream ends at this replica: each replica knows its own
//! proxies first, and the one that leads hears of the others.

use std::collections::BTreeMap;

use serde::Serialize;
use smilax_core::{Revision, Workload};

use super::report::{Fleet, Report};

/// A proxy as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    #[serde(flatten)]
    report: Report,
    wanted: Option<Revision>,
    connected: bool,
}

/// Every proxy that is known. `stored` tells the revision that is stored for a workload; it is asked once for each.
pub fn page(
    known: Fleet,
    connected: &Fleet,
    stored: impl Fn(&Workload) -> Option<Revision>,
) -> BTreeMap<Box<str>, Shown> {
    let mut wanted: BTreeMap<Workload, Option<Revision>> = BTreeMap::new();
    let shown = known.0.into_iter().map(|(uid, mut report)| {
        if report.outstanding().is_none() {
            report.rejected = None;
        }
        let wanted = *wanted
            .entry(report.workload.clone())
            .or_insert_with(|| stored(&report.workload));
        let connected = connected.0.contains_key(&uid);
        let shown = Shown {
            report,
            wanted,
            connected,
        };
        (uid, shown)
    });
    shown.collect()
}
