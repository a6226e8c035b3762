//! Configurations that are too large to be kept as they are, and whom that concerns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_compiler::Diagnostic;
use smilax_compiler::diagnostic::Reason;
use smilax_core::packed::{MOST_STORED, MOST_TEXT, TooLarge};
use smilax_core::{ObjectRef, Workload};

use super::fit::{Fitted, LeftOut};

/// What each workload lacks whose configuration was too large.
#[derive(Debug, Default)]
pub struct Oversize(BTreeMap<Workload, Involved>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Involved {
    size: String,
    left_out: LeftOut,
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

    /// Remembers what a workload lacks, and tells its ServiceAccount.
    pub fn insert(&mut self, fitted: &Fitted, error: &TooLarge) -> Diagnostic {
        let workload = &fitted.config.workload;
        let involved = Involved {
            size: size(error),
            left_out: fitted.left_out.clone(),
            objects: fitted.objects.clone(),
        };
        let Workload { namespace, account } = workload.clone();
        let message = message(workload, 0, &involved);
        let finding = Diagnostic::about("ServiceAccount", namespace, account, Reason::TooLarge, message);
        self.0.insert(workload.clone(), involved);
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
                    message: message(workload, workloads.len() - 1, involved),
                })
            })
            .collect()
    }
}

fn message(workload: &Workload, others: usize, involved: &Involved) -> String {
    let others = match others {
        0 => String::new(),
        count => format!(" (and of {count} more)"),
    };
    let consequence = match &involved.left_out {
        LeftOut::ImportedRoutes(namespaces) => format!(
            "the routes that it imports from {} are left out: requests go to the Services themselves. Name fewer Services \
             in smilax.dev/destinations",
            listed(namespaces)
        ),
        LeftOut::Imports(namespaces) => format!(
            "what it imports from {} is left out, and so are all other imported routes. Name fewer Services in \
             smilax.dev/destinations",
            listed(namespaces)
        ),
        LeftOut::Routes => {
            "all that it imports is left out, and so are the largest routes: requests go to the Services \
                            themselves. Let fewer matches concern it"
                .to_owned()
        }
        LeftOut::Destinations => {
            "all its Services and routes are left out, and who may call it is written. Let fewer \
                                  Services or TrafficTargets concern it"
                .to_owned()
        }
        LeftOut::Policy => {
            "who may call it cannot be written, so that calls are refused. Let fewer or smaller \
                            TrafficTargets concern it"
                .to_owned()
        }
    };
    format!(
        "the configuration of ServiceAccount {workload}{others} is too large to be kept: {}; {consequence}",
        involved.size
    )
}

fn listed(namespaces: &BTreeSet<Arc<str>>) -> String {
    let names: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
    names.join(", ")
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
    use smilax_core::ProxyConfig;

    use super::*;

    fn fitted(account: &str, splits: &[(&str, &str)]) -> Fitted {
        let object = |(namespace, name): &(&str, &str)| ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: (*namespace).into(),
            name: (*name).into(),
            generation: 1,
        };
        Fitted {
            config: ProxyConfig::empty(Workload::new("shop", account)),
            left_out: LeftOut::Routes,
            objects: splits.iter().map(object).collect(),
        }
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
        let told = oversize.insert(&fitted("web", &[("shop", "a"), ("billing", "b")]), &ERROR);
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
    fn s2_the_importing_account_is_told_what_it_does_not_import() {
        let mut oversize = Oversize::default();
        let left_out = LeftOut::Imports(["billing".into()].into());
        let told = oversize.insert(
            &Fitted {
                left_out,
                ..fitted("web", &[("billing", "b")])
            },
            &ERROR,
        );
        assert_eq!(told.object.to_string(), "ServiceAccount/shop/web");
        assert!(
            told.message.contains("imports from billing is left out"),
            "{}",
            told.message
        );
    }

    #[test]
    fn an_object_that_concerns_many_accounts_is_told_once() {
        let mut oversize = Oversize::default();
        for account in ["a", "b", "c"] {
            oversize.insert(&fitted(account, &[("shop", "split")]), &ERROR);
        }
        let findings = oversize.findings("shop");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("shop/a (and of 2 more)"));
    }

    #[test]
    fn objects_elsewhere_are_looked_at_when_it_begins_and_when_it_ends() {
        let mut oversize = Oversize::default();
        let far = fitted("web", &[("billing", "b")]);
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
