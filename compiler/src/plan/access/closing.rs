//! What the author of a TrafficTarget should know before it is stored: whom it closes to everybody else, and which of the
//! names in it exist nowhere yet

use std::collections::BTreeSet;

use smilax_core::config::{AccessMode, AccessTarget};

use super::{Closed, bare, identity, other_namespace};
use crate::diagnostic::Reason;
use crate::index::Index;
use crate::model::{Subject, Target};
use crate::modes::Modes;
use crate::plan::pods::Pods;
use crate::plan::{Names, effect, groups};

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
    let mut missing = |reason, message| match reason {
        Reason::DestinationNotFound
        | Reason::AccountNotFound
        | Reason::BindingNotFound
        | Reason::RouteGroupNotFound
        | Reason::MatchNotFound
        | Reason::RouteNotFound
        | Reason::SourceNotInjected => warnings.push(message),
        // Validation says the others.
        _ => {}
    };
    let closed = identity::destination(names, &target.destination, &mut missing);
    let groups = groups::judge(index.settings(), contents, &mut BTreeSet::new());
    let allowed = super::translated(names, &groups, target, &mut missing);
    for source in sources_from(names, target) {
        if let Some(contents) = index.contents(source) {
            bare::check_sources(names, source, &Pods::of(contents), target, &mut missing);
        }
    }
    let modes = Modes::of(index.settings(), &found.annotations).0;
    // Where calls are denied, nothing was open; where they are audited, nothing is refused.
    if modes.access == AccessMode::Allow {
        warnings.extend(newly_closed(names, closed).map(|pods| {
            format!(
                "spec.destination: this is the first TrafficTarget about pods {pods}, which are open to every caller so far; \
                 once it is stored, they refuse {}",
                refused(names, target, &modes, &allowed)
            )
        }));
    }
    warnings
}

/// The namespaces that the sources of a target are of.
fn sources_from<'a>(names: Names<'a>, target: &'a Target) -> BTreeSet<&'a str> {
    let written = target.sources.iter().map(|source| source.namespace.as_deref());
    written
        .map(|namespace| namespace.unwrap_or(names.namespace))
        .collect()
}

/// Whom the pods of a target refuse.
fn refused(names: Names<'_>, target: &Target, modes: &Modes, allowed: &AccessTarget) -> String {
    let mut kept: Vec<String> = Vec::new();
    let allows = effect::allows_somebody(allowed);
    if allows {
        let means_somebody = |source: &&Subject| !identity::means(names, source).is_empty();
        kept.extend(target.sources.iter().filter(means_somebody).map(|source| {
            let namespace = source.namespace.as_deref().unwrap_or(names.namespace);
            format!("{} {namespace}/{}", source.kind, source.name)
        }));
    }
    if !modes.unauthenticated_sources.is_empty() {
        kept.push("the unauthenticated sources of the namespace".to_owned());
    }
    let but = if kept.is_empty() {
        String::new()
    } else {
        format!(" but {}", kept.join(", "))
    };
    let why = if allows {
        ""
    } else {
        ", since the target allows nothing"
    };
    format!("everybody{but}{why}")
}

/// The pods that no stored target is about yet, itself included.
fn newly_closed(names: Names<'_>, mut closed: Closed) -> Option<String> {
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
    (!pods.is_empty()).then(|| pods.join(" and "))
}

#[cfg(test)]
mod tests {
    use smilax_core::convention::key;

    use super::*;
    use crate::model::Rules;
    use crate::testing::{Cluster, group, target};

    fn shop(annotations: &[(&str, &str)]) -> Cluster {
        Cluster::new()
            .namespace("shop", &[(key::INJECT, "enabled")], annotations)
            .account("shop", "web", &[])
            .account("shop", "frontend", &[])
    }

    fn warnings(cluster: &Cluster, source: &str, account: &str) -> Vec<String> {
        let target = target("web", account)
            .source("ServiceAccount", None, source)
            .rules(Rules::Everything);
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
    fn a_target_that_closes_says_whom_it_still_lets_in() {
        let from_client = || target("web", "web").source("ServiceAccount", None, "frontend");
        let unauthenticated = [(
            key::UNAUTHENTICATED_SOURCES,
            r#"[{"cidrs": ["10.0.0.0/8"], "ports": [9090]}]"#,
        )];
        let with_group = shop(&[])
            .group(group("broken").path("read", "/("))
            .tcp_route("any", &[]);
        let cases = [
            (
                shop(&[]),
                from_client().rule("TCPRoute", "gone"),
                "everybody, since the target allows nothing",
            ),
            (
                shop(&[]),
                from_client().rule("HTTPRouteGroup", "gone"),
                "everybody, since the target allows nothing",
            ),
            (
                with_group.clone(),
                from_client().rule("HTTPRouteGroup", "broken"),
                "everybody, since the target allows nothing",
            ),
            (
                with_group.clone(),
                from_client()
                    .rule("HTTPRouteGroup", "gone")
                    .rule("TCPRoute", "any"),
                "everybody, since the target allows nothing",
            ),
            (
                with_group,
                from_client().rule("TCPRoute", "gone").rule("TCPRoute", "any"),
                "everybody but ServiceAccount shop/frontend",
            ),
            (
                shop(&[]),
                target("web", "web")
                    .source("IdentityBinding", None, "gone")
                    .rules(Rules::Everything),
                "everybody, since the target allows nothing",
            ),
            (
                shop(&[]),
                from_client()
                    .source("IdentityBinding", None, "gone")
                    .rules(Rules::Everything),
                "everybody but ServiceAccount shop/frontend",
            ),
            (
                shop(&unauthenticated),
                from_client().rule("TCPRoute", "gone"),
                "everybody but the unauthenticated sources of the namespace, since the target allows nothing",
            ),
        ];
        for (cluster, target, refused) in cases {
            let told = target_warnings(&cluster.index(), &target.0);
            let closing = told.last().unwrap();
            assert!(closing.ends_with(&format!("they refuse {refused}")), "{told:?}");
        }
    }

    #[test]
    fn a_route_that_does_not_exist_is_named() {
        let cluster = shop(&[(key::ACCESS_MODE, "deny")]);
        for kind in ["TCPRoute", "HTTPRouteGroup"] {
            let target = target("web", "web")
                .source("ServiceAccount", None, "frontend")
                .rule(kind, "gone");
            assert_eq!(
                target_warnings(&cluster.index(), &target.0),
                [format!(
                    "spec.rules[0]: {kind} gone does not exist in namespace shop; it allows nothing until it does"
                )]
            );
        }
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
