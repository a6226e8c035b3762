//! Who may call a workload.

use smilax_core::Workload;
use smilax_core::config::{AccessMode, InboundPolicy, OwnSettings, TlsMode};

use crate::index::Index;
use crate::plan::NamespacePlan;

/// The policies that pods of an account may be under. None when nothing restricts calls to them.
pub(crate) fn inbound(index: &mut Index, workload: &Workload) -> Vec<InboundPolicy> {
    let plan = index.plan(&workload.namespace);
    let general = general(&plan, workload);
    let unrestricted = general.access == Some(AccessMode::Allow)
        && general.tls == Some(TlsMode::Permissive)
        && general.unauthenticated_sources.is_empty()
        && general.targets.is_empty()
        && plan.access.by_labels.is_empty();
    if unrestricted {
        return Vec::new();
    }
    let by_labels = plan
        .access
        .by_labels
        .iter()
        .map(|(labels, targets)| InboundPolicy {
            pod_selector: labels.clone(),
            own_settings: OwnSettings::Tighten,
            targets: targets.clone(),
            ..InboundPolicy::default()
        });
    std::iter::once(general).chain(by_labels).collect()
}

fn general(plan: &NamespacePlan, workload: &Workload) -> InboundPolicy {
    InboundPolicy {
        access: Some(plan.modes.access),
        tls: Some(plan.modes.tls),
        own_settings: plan.modes.own_settings,
        unauthenticated_sources: plan.modes.unauthenticated_sources.clone(),
        targets: plan
            .access
            .by_account
            .get(&workload.account)
            .cloned()
            .unwrap_or_default(),
        ..InboundPolicy::default()
    }
}
