//! Configurations that are too large to be kept, and whom that concerns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_compiler::Diagnostic;
use smilax_compiler::diagnostic::Reason;
use smilax_core::packed::{MOST_STORED, MOST_TEXT, TooLarge};
use smilax_core::{ObjectRef, ProxyConfig, Workload};

/// What each workload that is not given its configuration would have been given.
#[derive(Debug, Default)]
pub struct Oversize(BTreeMap<Workload, Involved>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Involved {
    size: String,
    objects: BTreeSet<ObjectRef>,
}

/// What was remembered of the workloads of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct Before(BTreeMap<Workload, Involved>);

impl Oversize {
    /// Forgets the workloads of a namespace, which are looked at anew.
    pub fn take(&mut self, namespace: &str) -> Before {
        let (taken, kept) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(workload, _)| *workload.namespace == *namespace);
        self.0 = kept;
        Before(taken)
    }

    /// Remembers a workload, and tells its ServiceAccount.
    pub fn insert(&mut self, config: &ProxyConfig, error: &TooLarge) -> Diagnostic {
        let ports = config
            .destinations
            .iter()
            .flat_map(|destination| &destination.ports);
        let routes = ports.flat_map(|port| &port.routes).map(|route| &route.source);
        let targets = config.inbound.iter().flat_map(|policy| &policy.targets);
        let targets = targets.map(|target| &target.source);
        let involved = Involved {
            size: size(error),
            objects: routes.chain(targets).cloned().collect(),
        };
        let finding = Diagnostic {
            object: ObjectRef {
                kind: "ServiceAccount".into(),
                namespace: config.workload.namespace.clone(),
                name: config.workload.account.clone(),
                generation: 0,
            },
            reason: Reason::TooLarge,
            message: message(&config.workload, 0, &involved.size),
        };
        self.0.insert(config.workload.clone(), involved);
        finding
    }

    /// Namespaces of objects that concern a namespace's workloads, if that is not as it was before.
    pub fn changed(&self, namespace: &str, before: &Before) -> BTreeSet<Arc<str>> {
        let own = |(workload, _): &(&Workload, &Involved)| *workload.namespace == *namespace;
        let now: BTreeMap<&Workload, &Involved> = self.0.iter().filter(own).collect();
        if now
            .iter()
            .map(|(&workload, &involved)| (workload, involved))
            .eq(&before.0)
        {
            return BTreeSet::new();
        }
        now.into_values()
            .chain(before.0.values())
            .flat_map(|involved| &involved.objects)
            .map(|object| object.namespace.clone())
            .collect()
    }

    /// What is to be told of the objects of a namespace: one finding for each object, however many workloads it concerns.
    pub fn findings(&self, namespace: &str) -> Vec<Diagnostic> {
        let mut concerned: BTreeMap<&ObjectRef, Vec<(&Workload, &Involved)>> = BTreeMap::new();
        for (workload, involved) in &self.0 {
            for object in involved.objects.iter().filter(|one| *one.namespace == *namespace) {
                concerned.entry(object).or_default().push((workload, involved));
            }
        }
        concerned
            .into_iter()
            .filter_map(|(object, workloads)| {
                let (workload, involved) = workloads.first()?;
                Some(Diagnostic {
                    object: object.clone(),
                    reason: Reason::TooLarge,
                    message: message(workload, workloads.len() - 1, &involved.size),
                })
            })
            .collect()
    }
}

fn message(workload: &Workload, others: usize, size: &str) -> String {
    let others = match others {
        0 => String::new(),
        count => format!(" (and of {count} more)"),
    };
    format!(
        "the configuration of ServiceAccount {workload}{others} is too large to be kept: {size}; its proxies keep the one \
         before. Let fewer Services, matches or smilax.dev/destinations concern it"
    )
}

fn size(error: &TooLarge) -> String {
    format!(
        "{}, {} compressed, of at most {} and {}",
        mebibytes(error.text),
        mebibytes(error.packed),
        mebibytes(MOST_TEXT),
        mebibytes(MOST_STORED)
    )
}

/// Coarse enough that a small change elsewhere does not change the message; never rounded down to what would fit.
fn mebibytes(bytes: usize) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(account: &str, splits: &[(&str, &str)]) -> ProxyConfig {
        let routes: Vec<String> = splits
            .iter()
            .map(|(namespace, name)| {
                format!(
                    r#"{{"source":{{"kind":"TrafficSplit","namespace":"{namespace}","name":"{name}","generation":1}},"backends":[]}}"#
                )
            })
            .collect();
        let text = format!(
            r#"{{"workload":{{"namespace":"shop","account":"{account}"}},
                "destinations":[{{"name":"shop/web","ports":[{{"port":80,"routes":[{}]}}]}}]}}"#,
            routes.join(",")
        );
        smilax_core::decode(text.as_bytes()).unwrap()
    }

    const ERROR: TooLarge = TooLarge {
        text: 20 * 1024 * 1024,
        packed: 1024 * 1024 + 1,
    };

    fn names(set: &BTreeSet<Arc<str>>) -> Vec<&str> {
        set.iter().map(|name| &**name).collect()
    }

    #[test]
    fn f15_every_object_of_the_configuration_is_told_and_so_is_the_account() {
        let mut oversize = Oversize::default();
        let told = oversize.insert(&config("web", &[("shop", "a"), ("billing", "b")]), &ERROR);
        assert_eq!(told.object.to_string(), "ServiceAccount/shop/web");
        assert!(
            told.message
                .contains("shop/web is too large to be kept: 20.0 MiB, 1.1 MiB compressed")
        );
        let findings = oversize.findings("billing");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].object.to_string(), "TrafficSplit/billing/b");
    }

    #[test]
    fn a_target_whose_rules_are_in_it_is_told_too() {
        let text = r#"{"workload":{"namespace":"shop","account":"web"},"inbound":[{"targets":[
            {"source":{"kind":"TrafficTarget","namespace":"shop","name":"web","generation":1},"sources":[]}]}]}"#;
        let mut oversize = Oversize::default();
        oversize.insert(&smilax_core::decode(text.as_bytes()).unwrap(), &ERROR);
        let findings = oversize.findings("shop");
        assert_eq!(findings[0].object.to_string(), "TrafficTarget/shop/web");
    }

    #[test]
    fn an_object_that_concerns_many_accounts_is_told_once() {
        let mut oversize = Oversize::default();
        for account in ["a", "b", "c"] {
            oversize.insert(&config(account, &[("shop", "split")]), &ERROR);
        }
        let findings = oversize.findings("shop");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("shop/a (and of 2 more)"));
    }

    #[test]
    fn objects_elsewhere_are_looked_at_when_it_begins_and_when_it_ends() {
        let mut oversize = Oversize::default();
        let far = config("web", &[("billing", "b")]);
        let before = oversize.take("shop");
        oversize.insert(&far, &ERROR);
        assert_eq!(names(&oversize.changed("shop", &before)), ["billing"]);
        let before = oversize.take("shop");
        oversize.insert(&far, &ERROR);
        assert!(oversize.changed("shop", &before).is_empty(), "nothing changed");
        let before = oversize.take("shop");
        assert_eq!(names(&oversize.changed("shop", &before)), ["billing"]);
        assert!(oversize.findings("billing").is_empty());
    }
}
