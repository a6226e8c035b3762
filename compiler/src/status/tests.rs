use super::*;
use crate::Reason;
use crate::testing::{self, Cluster, TargetBuilder, group, service, split};
use smilax_core::convention::key;

fn shop() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .account("shop", "default", &[])
        .service(service("web"))
        .service(service("web-v1"))
}

fn words(cluster: &Cluster) -> Vec<String> {
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    status
        .conditions
        .iter()
        .map(|one| format!("{}={}/{}", one.kind, one.status.as_str(), one.reason))
        .collect()
}

#[test]
fn a_split_that_is_in_force_waits_for_its_proxies() {
    let cluster = shop()
        .injected_pod("shop", "a", "default")
        .split(split("web").backend("web-v1", 1));
    assert_eq!(
        words(&cluster),
        [
            "Accepted=True/Accepted",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=Unknown/Pending",
            "Ready=True/Ready"
        ]
    );
}

#[test]
fn without_pods_nothing_is_enforced_and_tools_that_wait_for_ready_go_on() {
    assert_eq!(
        words(&shop().split(split("web").backend("web-v1", 1)))[2..],
        ["Programmed=Unknown/NoProxies", "Ready=True/Ready"]
    );
}

#[test]
fn one_missing_backend_of_two_leaves_a_split_ready() {
    let cluster = shop().split(split("web").backend("web-v1", 9).backend("gone", 1));
    assert_eq!(
        words(&cluster),
        [
            "Accepted=True/Accepted",
            "ResolvedRefs=False/BackendNotFound",
            "Programmed=Unknown/NoProxies",
            "Ready=True/Ready"
        ]
    );
}

#[test]
fn a_split_without_its_root_a_backend_or_its_group_is_not_ready() {
    let missing = [
        (split("gone").backend("web-v1", 1), "Ready=False/RootNotFound"),
        (split("web").backend("gone", 1), "Ready=False/BackendNotFound"),
        (
            split("web").matching("gone").backend("web-v1", 1),
            "Ready=False/RouteGroupNotFound",
        ),
    ];
    for (split, ready) in missing {
        assert_eq!(words(&shop().split(split))[3], ready);
    }
}

fn target() -> TargetBuilder {
    testing::target("t", "web")
        .from("shop", "client")
        .rule("TCPRoute", "any")
}

fn closed() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .account("shop", "web", &[])
        .account("shop", "client", &[])
        .tcp_route("any", &[])
}

fn of_target(cluster: &Cluster) -> Vec<String> {
    let all = statuses(&mut cluster.index(), "shop");
    let status = all
        .iter()
        .find(|one| &*one.object.kind == "TrafficTarget")
        .unwrap();
    let word = |one: &Condition| format!("{}={}/{}", one.kind, one.status.as_str(), one.reason);
    status.conditions.iter().map(word).collect()
}

#[test]
fn a_target_without_its_destination_or_a_rule_is_not_ready_and_without_a_source_it_is() {
    let ready = |target: TargetBuilder| of_target(&closed().target(target)).pop().unwrap();
    assert_eq!(ready(target()), "Ready=True/Ready");
    assert_eq!(ready(target().from("elsewhere", "late")), "Ready=True/Ready");
    assert_eq!(
        ready(target().rule("TCPRoute", "gone")),
        "Ready=False/RouteNotFound"
    );
    let nowhere = testing::target("t", "gone")
        .from("shop", "client")
        .rule("TCPRoute", "any");
    assert_eq!(ready(nowhere), "Ready=False/DestinationNotFound");
}

#[test]
fn a_target_some_of_whose_pods_have_no_sidecar_is_not_programmed_and_names_them() {
    let cluster = closed().target(target()).injected_pod("shop", "web-1", "web");
    assert_eq!(of_target(&cluster)[2], "Programmed=Unknown/Pending");
    let cluster = cluster.pod("web-2", &[]);
    let all = statuses(&mut cluster.index(), "shop");
    let programmed = &all[0].conditions[2];
    assert_eq!(
        (programmed.status, programmed.reason),
        (ConditionStatus::False, "NotInjected")
    );
    assert_eq!(
        programmed.message,
        "1 pod has no sidecar: web-2; restart them: kubectl --namespace shop rollout restart deployment"
    );
    assert_eq!(of_target(&cluster)[3], "Ready=False/NotInjected");
}

#[test]
fn a_pod_that_is_called_counts_also_when_it_stays_out_on_purpose() {
    let cluster = closed()
        .target(target())
        .pod("web-1", &[(key::INJECT, "disabled")]);
    assert_eq!(of_target(&cluster)[2], "Programmed=False/NotInjected");
}

#[test]
fn a_split_none_of_whose_callers_has_a_sidecar_says_how_to_join() {
    let cluster = Cluster::new()
        .namespace("shop", &[], &[])
        .service(service("web"))
        .service(service("web-v1"))
        .pod("client-1", &[])
        .split(split("web").backend("web-v1", 1));
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    assert_eq!(
        status.conditions[2].message,
        "1 pod has no sidecar: client-1; run kubectl label namespace shop smilax.dev/inject=enabled, then restart them"
    );
    let with_one = cluster.injected_pod("shop", "client-2", "default");
    assert_eq!(words(&with_one)[2], "Programmed=Unknown/Pending");
}

#[test]
fn the_way_to_join_works_also_where_the_namespace_is_labelled_to_stay_out() {
    let cluster = Cluster::new()
        .namespace("shop", &[(key::INJECT, "disabled")], &[])
        .service(service("web"))
        .service(service("web-v1"))
        .pod("client-1", &[])
        .split(split("web").backend("web-v1", 1));
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    assert!(
        status.conditions[2]
            .message
            .contains("smilax.dev/inject=enabled --overwrite, then")
    );
}

#[test]
fn callers_that_stay_out_on_purpose_are_none_that_a_split_waits_for() {
    let cluster = shop()
        .pod("job-1", &[(key::INJECT, "disabled")])
        .split(split("web").backend("web-v1", 1));
    assert_eq!(words(&cluster)[2], "Programmed=Unknown/NoProxies");
}

#[test]
fn a_group_is_no_more_enforced_than_what_refers_to_it() {
    let cluster = shop()
        .pod("client-1", &[])
        .group(group("ab").path("one", "/"))
        .split(split("web").matching("ab").backend("web-v1", 1));
    let all = statuses(&mut cluster.index(), "shop");
    let group = all
        .iter()
        .find(|one| &*one.object.kind == "HTTPRouteGroup")
        .unwrap();
    assert_eq!(group.conditions[2].reason, "NotInjected");
}

#[test]
fn a_split_of_a_foreign_root_is_not_accepted() {
    assert_eq!(
        words(&shop().split(split("web.other").backend("web-v1", 1))),
        [
            "Accepted=False/NamespaceMismatch",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=Unknown/NotAccepted",
            "Ready=False/NamespaceMismatch"
        ]
    );
}

#[test]
fn a_group_is_held_by_the_proxies_of_the_splits_that_use_it() {
    let cluster = shop()
        .injected_pod("shop", "a", "default")
        .group(group("ab").path("one", "/"))
        .split(split("web").matching("ab").backend("web-v1", 1));
    let all = statuses(&mut cluster.index(), "shop");
    let group = all
        .iter()
        .find(|one| &*one.object.kind == "HTTPRouteGroup")
        .unwrap();
    assert_eq!(group.conditions[2].reason, "Pending");
    assert_eq!(group.columns["matches"], "one");
}

#[test]
fn the_backends_column_shows_what_was_written() {
    let cluster = shop().split(split("web").backend("web-v1", 90).backend("gone", 10));
    assert_eq!(
        statuses(&mut cluster.index(), "shop")[0].columns["backends"],
        "web-v1=90 gone=10"
    );
}

fn stored(cluster: &Cluster, now: &str) -> (Vec<Stored>, DesiredStatus) {
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    (merge(&[], &status.conditions, now).unwrap(), status)
}

#[test]
fn what_is_stored_already_is_not_written_again() {
    let (stored, status) = stored(&shop().split(split("web").backend("web-v1", 1)), "t1");
    assert_eq!(merge(&stored, &status.conditions, "t2"), None);
}

#[test]
fn the_time_of_transition_moves_only_with_the_status() {
    let (before, _) = stored(&shop().split(split("web").backend("gone", 1)), "t1");
    let (_, status) = stored(&shop().split(split("web").backend("web-v1", 1)), "t1");
    let merged = merge(&before, &status.conditions, "t2").unwrap();
    let time = |kind: &str| {
        merged
            .iter()
            .find(|one| one.kind == kind)
            .unwrap()
            .last_transition
            .clone()
    };
    assert_eq!(
        (time("Accepted"), time("ResolvedRefs")),
        ("t1".to_owned(), "t2".to_owned())
    );
}

#[test]
fn conditions_of_others_are_kept() {
    let (mut stored, status) = stored(&shop().split(split("web").backend("web-v1", 1)), "t1");
    stored.push(Stored {
        kind: "Promoted".to_owned(),
        status: "True".to_owned(),
        reason: "X".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition: "t0".to_owned(),
    });
    assert_eq!(merge(&stored, &status.conditions, "t2"), None);
}

/// The status, as far as what is stored remembers Events, and these were told since.
fn recalled(
    status: &DesiredStatus,
    stored: &BTreeMap<String, String>,
    told: &BTreeSet<FindingId>,
) -> DesiredStatus {
    let mut status = status.clone();
    status.recall(stored, told);
    status
}

/// The strings of a status that remembers all that there is to report.
fn remembered(status: &DesiredStatus) -> BTreeMap<String, String> {
    let all = status.untold().iter().map(Diagnostic::id).collect();
    recalled(status, &BTreeMap::new(), &all).texts()
}

fn reasons(findings: &[Diagnostic]) -> Vec<Reason> {
    findings.iter().map(|one| one.reason).collect()
}

#[test]
fn every_finding_is_told_once() {
    let cluster = shop().split(split("web").backend("gone", 1).backend("web-v1", 0));
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    assert_eq!(
        reasons(&status.untold()),
        [Reason::BackendNotFound, Reason::NoUsableBackend]
    );
    let told = recalled(&status, &remembered(&status), &BTreeSet::new());
    assert_eq!(told.untold(), []);
}

#[test]
fn a_second_mistake_in_the_same_field_is_another_finding() {
    let of = |backend: &str| {
        let cluster = shop().split(split("web").backend(backend, 1).backend("web-v1", 1));
        statuses(&mut cluster.index(), "shop").remove(0)
    };
    let (longer, shorter) = (of("gone-too"), of("gone"));
    let shorter = recalled(&shorter, &remembered(&longer), &BTreeSet::new());
    assert_eq!(reasons(&shorter.untold()), [Reason::BackendNotFound]);
    assert!(!shorter.columns_match(&remembered(&longer)));
}

#[test]
fn a_status_remembers_only_what_was_told() {
    let cluster = shop().split(split("web").backend("gone", 1).backend("web-v1", 0));
    let status = statuses(&mut cluster.index(), "shop").remove(0);
    let [failed, told] = [0, 1].map(|number| status.diagnostics[number].id());
    let status = recalled(&status, &BTreeMap::new(), &[told.clone()].into());
    assert_eq!(status.texts()[REPORTED], told.to_string());
    let untold: Vec<FindingId> = status.untold().iter().map(Diagnostic::id).collect();
    assert_eq!(untold, [failed]);
}

#[test]
fn s29_a_status_with_hundreds_of_findings_stays_small() {
    let mistakes = (0..250).fold(split("web"), |split, one| {
        split.backend(&format!("gone-{one}"), 1)
    });
    let status = statuses(&mut shop().split(mistakes).index(), "shop").remove(0);
    assert!(status.diagnostics.len() > 250);
    let texts: usize = remembered(&status).values().map(String::len).sum();
    let messages: usize = status.conditions.iter().map(|one| one.message.len()).sum();
    assert!(texts < 1024 && messages < 2048, "{texts}, {messages}");
}

#[test]
fn a_finding_that_is_gone_is_forgotten_so_that_it_is_told_when_it_is_back() {
    let wrong = shop().split(split("web").backend("gone", 1).backend("web-v1", 1));
    let wrong = statuses(&mut wrong.index(), "shop").remove(0);
    let right = shop().split(split("web").backend("web-v1", 1));
    let right = statuses(&mut right.index(), "shop").remove(0);
    assert!(!right.columns_match(&remembered(&wrong)));
    assert_eq!(remembered(&right).get(REPORTED), None);
}

#[test]
fn what_some_proxies_are_not_given_is_not_programmed_and_not_ready() {
    let cluster = shop()
        .injected_pod("shop", "a", "default")
        .split(split("web").backend("web-v1", 1));
    let mut status = statuses(&mut cluster.index(), "shop").remove(0);
    let finding = |name: &str| Diagnostic {
        object: ObjectRef {
            name: name.into(),
            ..status.object.clone()
        },
        reason: Reason::TooLarge,
        message: format!("{name} is too large"),
    };
    let findings = [finding("web"), finding("other")];
    status.add_withheld(&findings);
    let condition = |kind: &str| status.conditions.iter().find(|one| one.kind == kind).unwrap();
    assert_eq!(condition("Programmed").status, ConditionStatus::False);
    assert_eq!(condition("Programmed").message, "web is too large");
    assert_eq!(condition("Ready").reason, "TooLarge");
    assert_eq!(condition("Accepted").status, ConditionStatus::True);
    // It is told once: the status remembers it.
    assert_eq!(status.untold(), [findings[0].clone()]);
    let told = recalled(&status, &remembered(&status), &BTreeSet::new());
    assert!(told.untold().is_empty());
}

#[test]
fn a_group_counts_for_those_who_learn_a_split_that_refers_to_it() {
    let learners = |cluster: &Cluster, kind: &str| {
        let all = statuses(&mut cluster.index(), "shop");
        let status = all.into_iter().find(|one| &*one.object.kind == kind).unwrap();
        status.learners
    };
    let beta = || group("beta").header("early", "x-beta", "yes");
    let cluster = shop()
        .group(beta())
        .split(split("web").matching("beta").backend("web-v1", 1));
    assert_eq!(learners(&cluster, "HTTPRouteGroup"), Callers::All);
    assert_eq!(
        learners(&cluster, "HTTPRouteGroup"),
        learners(&cluster, "TrafficSplit")
    );
    let unused = shop().group(beta()).split(split("web").backend("web-v1", 1));
    assert_eq!(learners(&unused, "HTTPRouteGroup"), Callers::none());
}
