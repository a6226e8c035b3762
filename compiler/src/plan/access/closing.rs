//! What the author of a TrafficTarget should know before it is stored: whom it closes to everybody else, and which of the
//! names in it exist nowhere yet.

use smilax_core::config::AccessMode;

use super::{Closed, identity, other_namespace};
use crate::diagnostic::Reason;
use crate::index::Index;
use crate::model::Target;
use crate::modes::Modes;
use crate::plan::Names;

/// What is to be said about a target that is about to be stored, beside what is wrong with it in itself.
pub fn target_warnings(index: &Index, target: &Target) -> Vec<String> {
    let namespace = &*target.meta.namespace;
    let (Some(contents), Some(found)) = (index.contents(namespace), index.namespace(namespace)) else {
        return Vec::new();
    };
    if other_namespace(namespace, target).is_some() {
        return Vec::new();
    }
    let names = Names {
        index,
        namespace,
        contents,
    };
    let mut warnings = Vec::new();
    let mut missing = |reason, message| {
        // Validation says the others.
        if let Reason::DestinationNotFound | Reason::AccountNotFound | Reason::BindingNotFound = reason {
            warnings.push(message);
        }
    };
    let closed = identity::destination(names, &target.destination, &mut missing);
    identity::sources(names, target, &mut missing);
    // Where calls are denied, nothing was open; where they are audited, nothing is refused.
    if Modes::of(index.settings(), &found.annotations).0.access == AccessMode::Allow {
        warnings.extend(newly_closed(names, target, closed));
    }
    warnings
}

/// What no stored target is about yet, itself included.
fn newly_closed(names: Names<'_>, target: &Target, mut closed: Closed) -> Option<String> {
    for other in names.contents.targets.values() {
        if let Some((theirs, _)) = super::subjects(names, other) {
            closed.accounts.retain(|one| !theirs.accounts.contains(one));
            closed.labels.retain(|one| !theirs.labels.contains(one));
        }
    }
    let accounts = closed
        .accounts
        .iter()
        .map(|account| format!("of ServiceAccount {account}"));
    let labels = closed.labels.iter().map(|labels| {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("with the labels {}", pairs.join(","))
    });
    let pods: Vec<String> = accounts.chain(labels).collect();
    let sources: Vec<String> = target
        .sources
        .iter()
        .map(|source| {
            let namespace = source.namespace.as_deref().unwrap_or(names.namespace);
            format!("{} {namespace}/{}", source.kind, source.name)
        })
        .collect();
    (!pods.is_empty()).then(|| {
        format!(
            "spec.destination: this is the first TrafficTarget about pods {}, which are open to every caller so far; once it is \
             stored, they refuse everybody but {}",
            pods.join(" and "),
            if sources.is_empty() {
                "nobody".to_owned()
            } else {
                sources.join(", ")
            }
        )
    })
}

#[cfg(test)]
mod tests {
    use smilax_core::convention::key;

    use super::*;
    use crate::testing::{Cluster, target};

    fn shop(annotations: &[(&str, &str)]) -> Cluster {
        Cluster::new()
            .namespace("shop", &[(key::INJECT, "enabled")], annotations)
            .account("shop", "web", &[])
            .account("shop", "frontend", &[])
    }

    fn warnings(cluster: &Cluster, source: &str, account: &str) -> Vec<String> {
        let target = target("web", account).source("ServiceAccount", None, source);
        target_warnings(&cluster.index(), &target.0)
    }

    #[test]
    fn the_first_target_about_an_account_says_that_it_closes_it() {
        assert_eq!(
            warnings(&shop(&[]), "frontend", "web"),
            [
                "spec.destination: this is the first TrafficTarget about pods of ServiceAccount web, which are open to every caller \
                 so far; once it is stored, they refuse everybody but ServiceAccount shop/frontend"
            ]
        );
    }

    #[test]
    fn a_second_target_closes_nothing_and_neither_does_a_change_of_the_first() {
        let other = shop(&[]).target(target("other", "web").source("ServiceAccount", None, "frontend"));
        assert_eq!(warnings(&other, "frontend", "web"), [""; 0]);
        let itself = shop(&[]).target(target("web", "web").source("ServiceAccount", None, "frontend"));
        assert_eq!(warnings(&itself, "frontend", "web"), [""; 0]);
    }

    #[test]
    fn where_nothing_is_open_or_nothing_is_refused_no_target_closes_anything() {
        for mode in ["deny", "audit"] {
            let cluster = shop(&[(key::ACCESS_MODE, mode)]);
            assert_eq!(warnings(&cluster, "frontend", "web"), [""; 0], "{mode}");
        }
    }

    #[test]
    fn a_source_or_destination_that_does_not_exist_is_named() {
        let cluster = shop(&[(key::ACCESS_MODE, "deny")]);
        for (source, account, field) in [
            (
                "fronted",
                "web",
                "spec.sources[0]: ServiceAccount fronted does not exist",
            ),
            (
                "frontend",
                "wbe",
                "spec.destination: ServiceAccount wbe does not exist",
            ),
        ] {
            let told = warnings(&cluster, source, account);
            assert!(told.len() == 1 && told[0].starts_with(field), "{told:?}");
        }
    }
}
