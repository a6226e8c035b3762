use super::{AccessTable, Target, TlsPolicy};
use crate::config::{AccessTarget, ContainerPort, InboundPolicy, OwnSettings, PortMatch};
use crate::matching::{Matcher, MatcherError};
use crate::pattern::Patterns;
use crate::pod::PodView;
use crate::table::LowerError;

/// Lowers the policies that a pod is under; their expressions are to fit into `patterns`.
///
/// # Errors
/// [`LowerError`] naming the first field that cannot be honoured, of any policy, whether or not it selects this pod.
pub fn lower(
    policies: &[InboundPolicy],
    pod: &PodView,
    patterns: &mut Patterns<'_>,
) -> Result<AccessTable, LowerError> {
    let mut targets = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let lowered = policy
            .targets
            .iter()
            .enumerate()
            .map(|(target_index, target)| {
                let path = format!("inbound[{index}].targets[{target_index}]");
                lower_target(target, pod, &path, patterns)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if pod.is_selected_by(&policy.pod_selector) {
            targets.extend(lowered);
        }
    }
    let selected: Vec<&InboundPolicy> = policies
        .iter()
        .filter(|policy| pod.is_selected_by(&policy.pod_selector))
        .collect();
    let access = selected
        .iter()
        .filter_map(|policy| policy.access)
        .max()
        .unwrap_or_default();
    let general = selected
        .iter()
        .filter_map(|policy| policy.tls)
        .max()
        .unwrap_or_default();
    let mut tls = TlsPolicy {
        general,
        own: pod.tls,
        own_ports: pod.tls_ports.clone(),
        own_decides: selected
            .iter()
            .any(|policy| policy.own_settings == OwnSettings::Decide),
        ..TlsPolicy::default()
    };
    for (&port, &mode) in selected.iter().flat_map(|policy| &policy.tls_ports) {
        let known = tls.ports.entry(port).or_insert(mode);
        *known = (*known).max(mode);
    }
    Ok(AccessTable {
        mode: match pod.access {
            Some(own) if tls.own_decides => own,
            Some(own) => own.max(access),
            None => access,
        },
        tls,
        unauthenticated: selected
            .iter()
            .flat_map(|policy| &policy.unauthenticated_sources)
            .cloned()
            .collect(),
        read_headers: targets.iter().flat_map(Target::header_names).collect(),
        targets: targets.into(),
    })
}

fn lower_target(
    target: &AccessTarget,
    pod: &PodView,
    path: &str,
    patterns: &mut Patterns<'_>,
) -> Result<Target, LowerError> {
    let matcher = |(index, one)| {
        Matcher::new(one, patterns).map_err(|MatcherError { field, error }| LowerError {
            path: format!("{path}.http[{index}].{field}"),
            reason: error.to_string(),
        })
    };
    let http = target
        .http
        .as_ref()
        .map(|matches| matches.iter().enumerate().map(matcher).collect())
        .transpose()?;
    let ports = intersection(target.ports.iter().map(|set| numbers(set, pod)));
    Ok(Target {
        source: target.source.clone(),
        sources: target.sources.clone().into(),
        ports,
        http,
    })
}

/// The ports of this pod that are meant. A name that it does not have means none.
fn numbers(set: &[PortMatch], pod: &PodView) -> Vec<u16> {
    set.iter()
        .filter(|one| pod.is_selected_by(&one.pod_selector))
        .filter_map(|one| match &one.port {
            ContainerPort::Number(port) => Some(*port),
            ContainerPort::Name(name) => pod.port_names.get(name).copied(),
        })
        .collect()
}

fn intersection(sets: impl Iterator<Item = Vec<u16>>) -> Option<Box<[u16]>> {
    let both = sets.reduce(|one, other| one.into_iter().filter(|port| other.contains(port)).collect())?;
    Some(both.into())
}
