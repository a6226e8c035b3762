use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::AccessMode::{Allow, Deny};
use crate::config::{
    AccessTarget, ContainerPort, HeaderMatch, HttpMatch, InboundPolicy, OwnSettings, PortMatch,
};
use crate::identity::{SpiffeId, TrustDomain};
use crate::name::Workload;
use crate::pattern::{Compiled, Patterns};
use crate::pod::PodView;
use crate::table::LowerError;

struct Request(&'static str, &'static str);

impl RequestView for Request {
    fn method(&self) -> &str {
        self.0
    }
    fn path(&self) -> &str {
        self.1
    }
    fn header(&self, _: &str) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

const GET_API: Request = Request("GET", "/api/x");

fn lower(policies: &[InboundPolicy], pod: &PodView) -> Result<AccessTable, LowerError> {
    let mut compiled = Compiled::default();
    super::lower(policies, pod, &mut Patterns::within(usize::MAX, &mut compiled))
}

fn target(name: &str) -> AccessTarget {
    AccessTarget {
        source: ObjectRef {
            kind: "TrafficTarget".into(),
            namespace: "shop".into(),
            name: name.into(),
            generation: 1,
        },
        sources: vec![SourceMatch::Account(Workload::new("shop", "client"))],
        ports: Vec::new(),
        http: None,
    }
}

fn with_paths(name: &str, paths: &[&str]) -> AccessTarget {
    AccessTarget {
        http: Some(
            paths
                .iter()
                .map(|path| HttpMatch {
                    path: Some((*path).to_owned()),
                    ..HttpMatch::default()
                })
                .collect(),
        ),
        ..target(name)
    }
}

fn number(port: u16) -> PortMatch {
    PortMatch {
        pod_selector: BTreeMap::new(),
        port: ContainerPort::Number(port),
    }
}

fn policy(access: AccessMode, targets: Vec<AccessTarget>) -> InboundPolicy {
    InboundPolicy {
        access: Some(access),
        targets,
        ..InboundPolicy::default()
    }
}

fn table(policy: InboundPolicy) -> AccessTable {
    lower(&[policy], &PodView::default()).unwrap()
}

fn client() -> Identity {
    account("client")
}

fn account(name: &str) -> Identity {
    let workload = Workload::new("shop", name);
    Identity::new(
        SpiffeId::of(&TrustDomain::default(), &workload),
        Some("uid-1".into()),
    )
}

fn asks(table: &AccessTable, identity: Option<&Identity>, port: u16, request: &Request) -> String {
    let standing = table.standing(caller(identity), port, &Members::default());
    word(table.decide_request(&standing, request))
}

fn connects(table: &AccessTable, identity: Option<&Identity>, port: u16) -> String {
    let standing = table.standing(caller(identity), port, &Members::default());
    word(table.decide_connection(&standing))
}

fn caller(identity: Option<&Identity>) -> Caller<'_> {
    Caller {
        identity,
        address: "10.1.0.9".parse().unwrap(),
    }
}

fn word(decision: Decision<'_>) -> String {
    match decision {
        Decision::Allowed(Grant::Open) => "open".to_owned(),
        Decision::Allowed(Grant::UnauthenticatedSource) => "address".to_owned(),
        Decision::Allowed(Grant::Target(target)) => target.name.to_string(),
        Decision::Denied(denial) => format!(
            "{} {}",
            denial.reason.as_str(),
            denial.nearest.map_or("-", |target| &target.name)
        ),
        Decision::AmbiguousPath(_) => "ambiguous".to_owned(),
        Decision::AmbiguousHeader(read) => format!("ambiguous {read}"),
    }
}

#[test]
fn without_a_target_everything_is_open_in_allow_and_closed_in_deny() {
    let open = table(policy(AccessMode::Allow, vec![]));
    assert_eq!(asks(&open, None, 80, &GET_API), "open");
    assert_eq!(connects(&open, Some(&client()), 80), "open");
    let closed = table(policy(AccessMode::Deny, vec![]));
    assert_eq!(asks(&closed, Some(&client()), 80, &GET_API), "no_target -");
    assert_eq!(connects(&closed, None, 80), "unauthenticated -");
}

#[test]
fn a_pod_that_a_target_names_is_closed_to_others_in_allow() {
    let table = table(policy(AccessMode::Allow, vec![target("a")]));
    assert_eq!(asks(&table, Some(&client()), 80, &GET_API), "a");
    assert_eq!(asks(&table, Some(&account("other")), 80, &GET_API), "source a");
    assert_eq!(asks(&table, None, 80, &GET_API), "unauthenticated a");
}

#[test]
fn a_target_that_allows_nobody_still_closes_the_pod() {
    let nobody = AccessTarget {
        sources: vec![],
        ..target("a")
    };
    let table = table(policy(AccessMode::Allow, vec![nobody]));
    assert_eq!(asks(&table, Some(&client()), 80, &GET_API), "source a");
}

#[test]
fn audit_judges_as_deny_and_carries_nothing_out() {
    let table = table(policy(AccessMode::Audit, vec![]));
    assert_eq!(asks(&table, Some(&client()), 80, &GET_API), "no_target -");
    assert_eq!(table.enforcement(), Enforcement::Audited);
}

#[test]
fn any_target_is_enough_whatever_the_others_say() {
    let table = table(policy(
        AccessMode::Deny,
        vec![with_paths("narrow", &["^/admin"]), with_paths("wide", &["^/"])],
    ));
    assert_eq!(
        asks(&table, Some(&client()), 80, &Request("GET", "/admin")),
        "narrow"
    );
    assert_eq!(
        asks(&table, Some(&client()), 80, &Request("GET", "/other")),
        "wide"
    );
}

#[test]
fn the_port_and_the_request_must_both_be_allowed() {
    let both = AccessTarget {
        ports: vec![vec![number(8080), number(8081)]],
        ..with_paths("both", &["^/api"])
    };
    let table = table(policy(AccessMode::Deny, vec![both]));
    assert_eq!(asks(&table, Some(&client()), 8080, &GET_API), "both");
    assert_eq!(
        asks(&table, Some(&client()), 8080, &Request("GET", "/x")),
        "request both"
    );
    assert_eq!(asks(&table, Some(&client()), 9090, &GET_API), "port both");
}

#[test]
fn several_sets_of_ports_must_all_hold_the_port() {
    let narrowed = AccessTarget {
        ports: vec![vec![number(1), number(2)], vec![number(2), number(3)]],
        ..target("narrowed")
    };
    let table = table(policy(AccessMode::Deny, vec![narrowed]));
    assert_eq!(connects(&table, Some(&client()), 2), "narrowed");
    for port in [1, 3] {
        assert_eq!(connects(&table, Some(&client()), port), "port narrowed");
    }
}

#[test]
fn an_empty_set_of_ports_and_an_empty_list_of_requests_allow_nothing() {
    let no_port = AccessTarget {
        ports: vec![vec![]],
        ..target("no-port")
    };
    let no_request = with_paths("no-request", &[]);
    let table = table(policy(AccessMode::Deny, vec![no_port, no_request]));
    assert_eq!(asks(&table, Some(&client()), 80, &GET_API), "request no-request");
    assert_eq!(connects(&table, Some(&client()), 80), "not_http no-request");
}

#[test]
fn rules_about_requests_allow_no_connection_that_is_not_looked_into() {
    let table = table(policy(AccessMode::Deny, vec![with_paths("http", &["^/"])]));
    assert_eq!(connects(&table, Some(&client()), 80), "not_http http");
}

#[test]
fn a_named_port_is_the_one_that_this_pod_gives_the_name_to() {
    let named = AccessTarget {
        ports: vec![vec![PortMatch {
            pod_selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            port: ContainerPort::Name("http".to_owned()),
        }]],
        ..target("named")
    };
    let lowered = |app: &str, ports: &[(&str, u16)]| {
        let pod = PodView {
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            port_names: ports
                .iter()
                .map(|(name, port)| ((*name).to_owned(), *port))
                .collect(),
            ..PodView::default()
        };
        lower(&[policy(AccessMode::Deny, vec![named.clone()])], &pod).unwrap()
    };
    assert_eq!(
        connects(&lowered("web", &[("http", 8080)]), Some(&client()), 8080),
        "named"
    );
    assert_eq!(
        connects(&lowered("web", &[]), Some(&client()), 8080),
        "port named"
    );
    assert_eq!(
        connects(&lowered("db", &[("http", 8080)]), Some(&client()), 8080),
        "port named"
    );
}

#[test]
fn a_path_that_can_be_read_in_two_ways_is_refused_only_where_rules_read_paths() {
    let elsewhere = AccessTarget {
        ports: vec![vec![number(8080)]],
        ..with_paths("elsewhere", &["^/api"])
    };
    let table = table(policy(AccessMode::Deny, vec![elsewhere, target("all")]));
    let request = Request("GET", "/a/../b");
    assert_eq!(asks(&table, Some(&client()), 8080, &request), "ambiguous");
    assert_eq!(asks(&table, Some(&client()), 80, &request), "all");
}

/// A request that has these headers.
struct With(&'static [(&'static str, &'static str)]);

impl RequestView for With {
    fn method(&self) -> &'static str {
        "GET"
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let values = self.0.iter().filter(move |(known, _)| *known == name);
        values.map(|(_, value)| value.as_bytes())
    }
    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| *name)
    }
}

#[test]
fn s34_another_spelling_of_a_header_is_refused_only_where_a_rule_reads_that_header() {
    let readers = HttpMatch {
        headers: vec![HeaderMatch {
            name: "x-role".to_owned(),
            value: "^(?:reader)$".to_owned(),
        }],
        ..HttpMatch::default()
    };
    let of_8080 = AccessTarget {
        ports: vec![vec![number(8080)]],
        http: Some(vec![readers]),
        ..target("readers")
    };
    let table = table(policy(AccessMode::Deny, vec![of_8080, target("all")]));
    let client = client();
    let asks = |port, headers| {
        let standing = table.standing(caller(Some(&client)), port, &Members::default());
        word(table.decide_request(&standing, &With(headers)))
    };
    let twins = &[("x-role", "reader"), ("x_role", "admin")];
    assert_eq!(asks(8080, twins), "ambiguous x-role");
    assert_eq!(asks(8080, &[("x.role", "admin")]), "ambiguous x-role");
    assert_eq!(asks(8080, &[("x-role", "reader"), ("x_user", "a")]), "readers");
    assert_eq!(asks(80, twins), "all");
}

#[test]
fn a_binding_by_labels_means_the_pods_that_the_operator_names_and_until_then_nobody() {
    let bound = AccessTarget {
        sources: vec![SourceMatch::Binding("shop/blue".to_owned())],
        ..target("bound")
    };
    let table = table(policy(AccessMode::Deny, vec![bound]));
    let identity = client();
    let decided = |members: &Members| {
        let standing = table.standing(caller(Some(&identity)), 80, members);
        word(table.decide_connection(&standing))
    };
    assert_eq!(decided(&Members::default()), "source bound");
    let members = |uid: &str| Members(BTreeMap::from([("shop/blue".to_owned(), [uid.into()].into())]));
    assert_eq!(decided(&members("uid-1")), "bound");
    assert_eq!(decided(&members("uid-2")), "source bound");
}

#[test]
fn an_id_means_who_has_it_byte_for_byte() {
    let named = AccessTarget {
        sources: vec![SourceMatch::Spiffe(client().id)],
        ..target("named")
    };
    let table = table(policy(AccessMode::Deny, vec![named]));
    assert_eq!(connects(&table, Some(&client()), 80), "named");
    for other in [
        "spiffe://cluster.local/ns/shop/sa/clients",
        "spiffe://other.local/ns/shop/sa/client",
    ] {
        let other = Identity::new(other.parse().unwrap(), None);
        assert_eq!(connects(&table, Some(&other), 80), "source named");
    }
}

#[test]
fn a_denial_names_the_target_that_came_nearest_and_of_equals_the_first() {
    let other = |name| AccessTarget {
        sources: vec![SourceMatch::Account(Workload::new("shop", "other"))],
        ..target(name)
    };
    let elsewhere = AccessTarget {
        ports: vec![vec![number(8080)]],
        ..target("elsewhere")
    };
    let far = table(policy(AccessMode::Deny, vec![other("first"), other("second")]));
    assert_eq!(connects(&far, Some(&client()), 80), "source first");
    for targets in [
        vec![other("far"), elsewhere.clone()],
        vec![elsewhere, other("far")],
    ] {
        let near = table(policy(AccessMode::Deny, targets));
        assert_eq!(connects(&near, Some(&client()), 80), "port elsewhere");
    }
}

#[test]
fn an_account_of_the_same_name_in_another_namespace_is_somebody_else() {
    let table = table(policy(AccessMode::Deny, vec![target("a")]));
    let namesake = Identity::new("spiffe://cluster.local/ns/other/sa/client".parse().unwrap(), None);
    assert_eq!(connects(&table, Some(&namesake), 80), "source a");
}

#[test]
fn unauthenticated_sources_are_let_in_by_address_and_port() {
    let sources = vec![UnauthenticatedSource {
        cidrs: vec!["10.1.0.0/24".parse().unwrap()],
        ports: vec![9090],
    }];
    let table = table(InboundPolicy {
        unauthenticated_sources: sources,
        tls: Some(TlsMode::Strict),
        ..policy(AccessMode::Deny, vec![])
    });
    let here = "10.1.0.9".parse().unwrap();
    assert_eq!(table.plaintext(here, 9090), Plaintext::UnauthenticatedSource);
    assert_eq!(connects(&table, None, 9090), "address");
    assert_eq!(table.plaintext(here, 80), Plaintext::Refused);
    assert_eq!(
        table.plaintext("10.2.0.9".parse().unwrap(), 9090),
        Plaintext::Refused
    );
    // Who proves an identity is judged by it.
    assert_eq!(connects(&table, Some(&client()), 9090), "no_target -");
}

#[test]
fn a_pods_own_settings_tighten_and_decide_only_where_that_is_permitted() {
    let lowered = |given: AccessMode, own: AccessMode, settings: OwnSettings| {
        let pod = PodView {
            access: Some(own),
            tls: Some(TlsMode::Permissive),
            tls_ports: BTreeMap::from([(9090, TlsMode::Strict)]),
            ..PodView::default()
        };
        let policy = InboundPolicy {
            tls: Some(TlsMode::Strict),
            tls_ports: BTreeMap::from([(9090, TlsMode::Permissive)]),
            own_settings: settings,
            ..policy(given, vec![])
        };
        lower(&[policy], &pod).unwrap()
    };
    assert!(lowered(Allow, Deny, OwnSettings::Tighten).restricts());
    assert!(lowered(Deny, Allow, OwnSettings::Tighten).restricts());
    assert!(!lowered(Deny, Allow, OwnSettings::Decide).restricts());
    let tight = lowered(Deny, Deny, OwnSettings::Tighten);
    assert_eq!(
        (tight.tls_mode(80), tight.tls_mode(9090)),
        (TlsMode::Strict, TlsMode::Strict)
    );
    let own = lowered(Deny, Deny, OwnSettings::Decide);
    assert_eq!(
        (own.tls_mode(80), own.tls_mode(9090)),
        (TlsMode::Permissive, TlsMode::Strict)
    );
}

#[test]
fn a_policy_for_some_pods_adds_to_that_for_all() {
    let some = InboundPolicy {
        pod_selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        targets: vec![target("some")],
        ..InboundPolicy::default()
    };
    let all = policy(AccessMode::Allow, vec![]);
    let lowered = |app: &str| {
        let pod = PodView {
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            ..PodView::default()
        };
        lower(&[all.clone(), some.clone()], &pod).unwrap()
    };
    assert_eq!(
        connects(&lowered("web"), Some(&account("other")), 80),
        "source some"
    );
    assert_eq!(connects(&lowered("db"), Some(&account("other")), 80), "open");
}

#[test]
fn what_does_not_compile_is_refused_with_its_path_even_when_it_is_for_other_pods() {
    let other = InboundPolicy {
        pod_selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        targets: vec![with_paths("bad", &["("])],
        ..InboundPolicy::default()
    };
    let error = lower(&[other], &PodView::default()).unwrap_err();
    assert_eq!(error.path, "inbound[0].targets[0].http[0].path");
}

fn some_target() -> impl Strategy<Value = AccessTarget> {
    let source = prop_oneof![Just("client"), Just("other")];
    let ports = proptest::option::of(proptest::collection::vec(80u16..83, 0..3));
    let paths = proptest::option::of(proptest::collection::vec(
        prop_oneof![Just("^/a"), Just("^/b")],
        0..2,
    ));
    (source, ports, paths).prop_map(|(source, ports, paths)| AccessTarget {
        sources: vec![SourceMatch::Account(Workload::new("shop", source))],
        ports: ports
            .map(|ports| vec![ports.into_iter().map(number).collect()])
            .unwrap_or_default(),
        http: paths.map(|paths| with_paths("", &paths).http.unwrap_or_default()),
        ..target("random")
    })
}

proptest! {
    #[test]
    fn in_deny_one_more_target_never_takes_a_permission_away(
        targets in proptest::collection::vec(some_target(), 0..5),
        more in some_target(),
        source in prop_oneof![Just("client"), Just("other"), Just("stranger")],
        port in 79u16..84,
        path in prop_oneof![Just("/a/x"), Just("/b"), Just("/c")],
    ) {
        let before = table(policy(AccessMode::Deny, targets.clone()));
        let mut all = targets;
        all.push(more);
        let after = table(policy(AccessMode::Deny, all));
        let identity = account(source);
        let allowed = |table: &AccessTable| {
            let standing = table.standing(caller(Some(&identity)), port, &Members::default());
            (
                table.decide_request(&standing, &Request("GET", path)).is_allowed(),
                table.decide_connection(&standing).is_allowed(),
            )
        };
        let (before, after) = (allowed(&before), allowed(&after));
        prop_assert!(after.0 >= before.0 && after.1 >= before.1);
    }
}
