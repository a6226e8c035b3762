//! Who stands behind a Service, and whether connections to it are secured.

use std::collections::BTreeSet;

use smilax_core::config::{Security, TlsMode};
use smilax_core::{ExpectedIdentity, Workload};

use super::Scope;
use crate::compile::is_enabled;
use crate::model::{Addressing, Pod, Service};
use crate::modes::Modes;

/// Pods that a Service sends to, as far as it selects them.
pub(super) struct Behind<'a> {
    service: &'a Service,
    pods: Vec<&'a Pod>,
    strict: Strict,
    modes: &'a Modes,
}

/// Whether a namespace refuses calls from outside the mesh, so that nothing else is worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strict {
    Yes,
    No,
}

impl<'a> Behind<'a> {
    pub(super) fn of(scope: &'a Scope<'_>, service: &'a Service) -> Self {
        let selects = !service.selector.is_empty() && !matches!(service.addressing, Addressing::External(_));
        let strict = scope.modes.tls == TlsMode::Strict && is_enabled(scope.index, scope.namespace);
        Self {
            service,
            modes: &scope.modes,
            pods: scope.pods.behind(&service.meta.name).to_vec(),
            strict: if selects && strict {
                Strict::Yes
            } else {
                Strict::No
            },
        }
    }

    /// Accounts of those that can prove who they are: whom a server must prove to be. With none of them, proxies do not
    /// try.
    pub(super) fn accounts(&self) -> Vec<ExpectedIdentity> {
        let accounts: BTreeSet<Workload> = self
            .pods
            .iter()
            .filter(|pod| can_answer(pod))
            .map(|pod| Workload::new(pod.meta.namespace.clone(), pod.account.clone()))
            .collect();
        accounts.into_iter().map(ExpectedIdentity::from).collect()
    }

    /// How connections to a port are secured. There is no way back from mutual TLS to plaintext, so it is asked for only
    /// where every pod can answer it, or where plaintext would be refused.
    pub(super) fn security(&self, port: u16) -> Security {
        let all_can = !self.pods.is_empty() && self.pods.iter().all(|pod| can_answer(pod));
        let skipped = self.service.target_ports.get(&port).is_some_and(|target| {
            self.pods.iter().any(|pod| {
                pod.port(target)
                    .is_some_and(|port| self.modes.take_plaintext(pod, port))
            })
        });
        if (all_can || self.strict == Strict::Yes) && !skipped {
            Security::MutualTls
        } else {
            Security::Plaintext
        }
    }
}

fn can_answer(pod: &Pod) -> bool {
    pod.injected() && !pod.host_network
}

#[cfg(test)]
mod tests {
    use smilax_core::convention::{METRICS_PORT, key};

    use super::*;
    use crate::plan::NamespacePlan;
    use crate::testing::{Cluster, pod, service};

    fn shop() -> Cluster {
        Cluster::new()
            .namespace("shop", &[(key::INJECT, "enabled")], &[])
            .service(service("web").selecting("app", "web"))
    }

    fn strict() -> Cluster {
        Cluster::new()
            .namespace("shop", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, "strict")])
            .service(service("web").selecting("app", "web"))
    }

    fn security(plan: &NamespacePlan) -> (Security, Vec<String>) {
        let destination = plan.destinations.values().next().unwrap();
        (
            destination.ports[0].security,
            destination.accounts.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn a_service_whose_pods_all_have_a_proxy_is_called_over_mutual_tls_and_its_accounts_are_expected() {
        let plan = shop()
            .add_pod(pod("a").account("one").label("app", "web").injected())
            .add_pod(pod("b").account("two").label("app", "web").injected())
            .plan();
        assert_eq!(
            security(&plan),
            (
                Security::MutualTls,
                vec!["shop/one".to_owned(), "shop/two".to_owned()]
            )
        );
    }

    #[test]
    fn one_pod_that_cannot_answer_it_keeps_a_permissive_service_in_plaintext() {
        let injected = || pod("a").label("app", "web").injected();
        for other in [
            pod("b").label("app", "web"),
            pod("b").label("app", "web").injected().on_host_network(),
        ] {
            let plan = shop().add_pod(injected()).add_pod(other.clone()).plan();
            assert_eq!(security(&plan).0, Security::Plaintext);
            let plan = strict().add_pod(injected()).add_pod(other).plan();
            assert_eq!(
                security(&plan).0,
                Security::MutualTls,
                "a strict namespace never falls back"
            );
        }
    }

    #[test]
    fn where_no_pod_can_prove_who_it_is_nobody_is_expected() {
        let plan = strict()
            .add_pod(pod("a").label("app", "web").on_host_network())
            .add_pod(pod("b").label("app", "web"))
            .plan();
        assert_eq!(security(&plan), (Security::MutualTls, Vec::new()));
    }

    #[test]
    fn pods_that_have_ended_do_not_count() {
        let plan = shop()
            .add_pod(pod("a").label("app", "web").injected())
            .add_pod(pod("b").label("app", "web").finished())
            .plan();
        assert_eq!(security(&plan).0, Security::MutualTls);
    }

    #[test]
    fn without_pods_a_permissive_service_is_plaintext_and_a_strict_one_is_not() {
        assert_eq!(security(&shop().plan()).0, Security::Plaintext);
        assert_eq!(security(&strict().plan()).0, Security::MutualTls);
    }

    #[test]
    fn a_service_without_selector_is_plaintext_whatever_its_namespace_is() {
        let plan = Cluster::new()
            .namespace("shop", &[(key::INJECT, "enabled")], &[(key::TLS_MODE, "strict")])
            .service(service("web"))
            .add_pod(pod("a").injected())
            .plan();
        assert_eq!(security(&plan), (Security::Plaintext, Vec::new()));
    }

    #[test]
    fn a_port_that_the_proxies_leave_alone_is_plaintext() {
        let plan = |skipped| {
            Cluster::new()
                .service(service("web").selecting("app", "web").leading_to(80, "http"))
                .add_pod(
                    pod("a")
                        .label("app", "web")
                        .injected()
                        .named_port("http", 8080)
                        .skipping(skipped),
                )
                .plan()
        };
        assert_eq!(security(&plan(8080)).0, Security::Plaintext);
        assert_eq!(security(&plan(80)).0, Security::MutualTls);
    }

    #[test]
    fn a_service_that_leads_to_the_metrics_of_sidecars_is_plaintext() {
        let plan = strict()
            .service(
                service("web")
                    .selecting("app", "web")
                    .leading_to(80, "smilax-metrics"),
            )
            .add_pod(
                pod("a")
                    .label("app", "web")
                    .injected()
                    .named_port("smilax-metrics", METRICS_PORT),
            )
            .plan();
        assert_eq!(security(&plan).0, Security::Plaintext);
    }

    #[test]
    fn a_strict_mesh_asks_nothing_of_services_in_namespaces_outside_it() {
        let plan = Cluster::new()
            .settings(crate::index::Settings {
                tls_mode: TlsMode::Strict,
                ..crate::index::Settings::default()
            })
            .namespace("shop", &[], &[])
            .service(service("web").selecting("app", "web"))
            .add_pod(pod("a").label("app", "web"))
            .plan();
        assert_eq!(security(&plan).0, Security::Plaintext);
    }
}
