use serde_json::json;
use smilax_core::{ObjectRef, Revision};

use super::*;
use crate::fleet::State;
use crate::output::View;

const NOW: u64 = 1_000_000;

fn objects() -> Vec<Value> {
    let yaml = r"
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {smilax.dev/inject: enabled}}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: client, namespace: shop}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}
- apiVersion: v1
  kind: Service
  metadata: {name: web-v1, namespace: shop}
  spec: {clusterIP: 10.0.0.2, selector: {app: web}, ports: [{port: 80}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-1, namespace: shop, uid: u1, labels: {app: web}}
  spec: {serviceAccountName: web, containers: [], initContainers: [{name: smilax-proxy, restartPolicy: Always, args: [run]}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: client-1, namespace: shop, uid: u2, labels: {}}
  spec: {serviceAccountName: client, containers: [], initContainers: [{name: smilax-proxy, restartPolicy: Always, args: [run]}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: client-2, namespace: shop, uid: u3, annotations: {smilax.dev/inject-status: 'left alone: hostNetwork'}}
  spec: {serviceAccountName: client, containers: []}
- apiVersion: split.smi-spec.io/v1alpha4
  kind: TrafficSplit
  metadata: {name: web, namespace: shop, generation: 4}
  spec: {service: web, backends: [{service: web-v1, weight: 1}]}
  status:
    conditions:
    - {type: Accepted, status: 'True', reason: Accepted, message: the object is valid and in force, observedGeneration: 4}
    - {type: Programmed, status: Unknown, reason: Pending, message: generation 3 enforced by 1/2 proxies, observedGeneration: 3}
- apiVersion: specs.smi-spec.io/v1alpha4
  kind: HTTPRouteGroup
  metadata: {name: api, namespace: shop, generation: 1}
  spec: {matches: [{name: read, pathRegex: /read, methods: [GET]}]}
- apiVersion: specs.smi-spec.io/v1alpha4
  kind: HTTPRouteGroup
  metadata: {name: unused, namespace: shop, generation: 1}
  spec: {matches: [{name: read, pathRegex: /read}]}
- apiVersion: access.smi-spec.io/v1alpha4
  kind: TrafficTarget
  metadata: {name: readers, namespace: shop, generation: 2}
  spec:
    destination: {kind: ServiceAccount, name: web}
    sources: [{kind: ServiceAccount, name: client}]
    rules: [{kind: HTTPRouteGroup, name: api, matches: [read]}]
";
    serde_saphyr::from_str(yaml).unwrap()
}

fn proxy(pod: &str, account: &str, counter: u64) -> Proxy {
    let wanted = Revision { term: 2, counter: 7 };
    let revision = Revision { term: 2, counter };
    Proxy {
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        account: account.to_owned(),
        version: "0.1.0".to_owned(),
        revision: Some(revision),
        wanted: Some(wanted),
        state: if revision < wanted {
            State::Stale
        } else {
            State::Synced
        },
        since: Some(NOW - 61),
        reason: None,
        certificate_expires: None,
        learned: Vec::new(),
        node: "n1".to_owned(),
    }
}

/// What the operator wrote: all that the objects compile to.
fn configs() -> BTreeMap<Workload, ProxyConfig> {
    let mut world = World::live(objects()).unwrap();
    let accounts = ["web", "client"].map(|account| Workload::new("shop", account));
    accounts
        .map(|workload| {
            (
                workload.clone(),
                smilax_compiler::compile(&mut world.index, &workload).0,
            )
        })
        .into()
}

fn known() -> Known {
    Known {
        proxies: vec![proxy("client-1", "client", 6), proxy("web-1", "web", 7)],
        configs: configs(),
        trouble: None,
    }
}

fn explained(object: &str, known: &Known) -> Explanation {
    explain(objects(), &object.parse().unwrap(), "shop", known).unwrap()
}

#[test]
fn a_split_says_what_each_of_its_proxies_enforces() {
    insta::assert_snapshot!(table(&explained("trafficsplit/web", &known()), View::usual(NOW)), @r#"
    TrafficSplit shop/web, generation 4
      Accepted      True     Accepted: the object is valid and in force
      Programmed    Unknown  Pending: generation 3 enforced by 1/2 proxies (about generation 3)
      found: spec.backends[0].service: Service web-v1 has no ready endpoint; its share is answered with 503 (NoReadyEndpoints)

    It concerns 2 proxies of 2 accounts:

    NAMESPACE/POD   ACCOUNT   ENFORCES          REVISION     STATE    SINCE   THROUGH
    shop/client-1   client    something older   2.6 of 2.7   Stale    61s     -
    shop/web-1      web       generation 4      2.7          Synced   61s     -

    Callers carry out splits. A proxy of another namespace learns it when its pod calls Service shop/web, and is listed while it uses it; with smilax.dev/destinations on its account or namespace it holds the split from the start.
    Pods of account shop/client without a proxy enforce nothing: client-2 (left alone: hostNetwork).
    "#);
}

#[test]
fn a_split_concerns_proxies_of_other_namespaces_that_looked_its_service_up() {
    let learned = |generation| {
        vec![ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation,
        }]
    };
    let guest = |pod: &str, generation| Proxy {
        namespace: "bank".to_owned(),
        learned: learned(generation),
        ..proxy(pod, "teller", 7)
    };
    let mut known = known();
    known.proxies = vec![guest("teller-1", 4), guest("teller-2", 3)];
    let explained = explained("ts/web", &known);
    let of: Vec<_> = explained
        .proxies
        .iter()
        .map(|one| (one.proxy.pod.as_str(), one.enforces, one.through.join(",")))
        .collect();
    assert_eq!(
        of,
        [
            ("teller-1", Enforces::Generation(4), "address lookup".to_owned()),
            ("teller-2", Enforces::Generation(3), "address lookup".to_owned()),
        ]
    );
}

#[test]
fn a_target_concerns_those_that_are_called_only() {
    insta::assert_snapshot!(table(&explained("tt/readers", &known()), View::usual(NOW)), @r#"
    TrafficTarget shop/readers, generation 2
      It has no status yet: does the operator run? smilax check tells.
      found: spec.sources[0]: some pods of ServiceAccount shop/client have no sidecar, so nothing proves who they are, and this target does not let them in; smilax why-inject --namespace shop names them (SourceNotInjected)

    It concerns 1 proxy of 1 account:

    NAMESPACE/POD   ACCOUNT   ENFORCES       REVISION   STATE    SINCE   THROUGH
    shop/web-1      web       generation 2   2.7        Synced   61s     -

    Pods that are called decide about access, so callers do not hold it.
    "#);
}

#[test]
fn a_group_concerns_proxies_through_what_refers_to_it() {
    insta::assert_snapshot!(table(&explained("htr/api", &known()), View::usual(NOW)), @r#"
    HTTPRouteGroup shop/api, generation 1
      It has no status yet: does the operator run? smilax check tells.

    It concerns 1 proxy of 1 account:

    NAMESPACE/POD   ACCOUNT   ENFORCES     REVISION   STATE    SINCE   THROUGH
    shop/web-1      web       the newest   2.7        Synced   61s     TrafficTarget/shop/readers

    Proxies hold it only through what refers to it: TrafficTarget/shop/readers.
    "#);
    insta::assert_snapshot!(table(&explained("httproutegroups.specs.smi-spec.io/unused", &known()), View::usual(NOW)), @r#"
    HTTPRouteGroup shop/unused, generation 1
      It has no status yet: does the operator run? smilax check tells.

    It concerns no proxy.

    No TrafficSplit or TrafficTarget of namespace shop refers to it, so no proxy needs it.
    "#);
}

#[test]
fn a_generation_that_the_operator_has_not_written_is_not_enforced_yet() {
    let mut known = known();
    for config in known.configs.values_mut() {
        config.destinations.clear();
    }
    let explained = explained("ts/web", &known);
    let enforces: Vec<Enforces> = explained.proxies.iter().map(|one| one.enforces).collect();
    assert_eq!(enforces, [Enforces::Older, Enforces::NotYet]);
}

#[test]
fn what_proxies_cannot_be_asked_is_no_reason_to_say_nothing() {
    let known = Known {
        trouble: Some("you may not forward ports".to_owned()),
        ..known()
    };
    insta::assert_snapshot!(table(&explained("ts/web", &known), View::usual(NOW)), @r#"
    TrafficSplit shop/web, generation 4
      Accepted      True     Accepted: the object is valid and in force
      Programmed    Unknown  Pending: generation 3 enforced by 1/2 proxies (about generation 3)
      found: spec.backends[0].service: Service web-v1 has no ready endpoint; its share is answered with 503 (NoReadyEndpoints)

    What proxies enforce is not known: you may not forward ports

    It concerns 2 proxies of 2 accounts:

    NAMESPACE/POD   ACCOUNT   ENFORCES   REVISION   STATE   SINCE   THROUGH
    shop/client-1   client    -          -          -       -       -
    shop/web-1      web       -          -          -       -       -

    Callers carry out splits. A proxy of another namespace learns it when its pod calls Service shop/web, and is listed while it uses it; with smilax.dev/destinations on its account or namespace it holds the split from the start.
    Pods of account shop/client without a proxy enforce nothing: client-2 (left alone: hostNetwork).
    "#);
}

#[test]
fn a_split_that_no_account_holds_says_what_is_wrong_with_it() {
    let why = |change: fn(&mut Value)| {
        let mut objects = objects();
        let split = objects
            .iter_mut()
            .find(|one| one["kind"] == "TrafficSplit" && one["metadata"]["name"] == "web");
        change(split.unwrap());
        let explained = explain(objects, &"ts/web".parse().unwrap(), "shop", &known()).unwrap();
        let held = explained.others.into_iter();
        held.filter(|one| one.starts_with("No account's"))
            .collect::<Vec<_>>()
    };
    let told = why(|split| split["spec"]["backends"][0]["weight"] = json!(0));
    assert!(
        told[0].contains("it divides nothing (") && !told[0].contains("not accepted"),
        "{told:?}"
    );
    let told = why(|split| split["spec"]["service"] = json!("nosuch"));
    assert!(
        told[0].contains("what it refers to cannot be used (spec.service: Service nosuch does not exist"),
        "{told:?}"
    );
    assert_eq!(why(|_| {}), [""; 0]);
}

#[test]
fn programs_get_the_same() {
    let all = json(&explained("ts/web", &known()));
    assert_eq!(
        all["object"],
        json!({"kind": "TrafficSplit", "namespace": "shop", "name": "web"})
    );
    assert_eq!(all["proxies"][0]["enforces"], "something older");
    assert_eq!(all["proxies"][1]["generation"], 4);
    assert_eq!(all["proxies"][1]["proxy"]["state"], "Synced");
}

#[test]
fn an_object_that_is_not_there_is_looked_for_elsewhere() {
    let ask = |object: &str, namespace| {
        explain(objects(), &object.parse().unwrap(), namespace, &known())
            .unwrap_err()
            .to_string()
    };
    assert!(ask("ts/web", "bank").ends_with("but in shop: choose with -n"));
    assert!(ask("ts/none", "shop").contains("kubectl --namespace shop get smi"));
}

#[test]
fn kinds_are_written_as_kubectl_takes_them() {
    for written in [
        "trafficsplit/web",
        "TrafficSplits/web",
        "ts/web",
        "trafficsplits.split.smi-spec.io/web",
    ] {
        let name: ObjectName = written.parse().unwrap();
        assert_eq!(
            (name.kind, name.name.as_str()),
            ("TrafficSplit", "web"),
            "{written}"
        );
    }
    let error = "service/web".parse::<ObjectName>().unwrap_err();
    assert!(error.contains("trafficsplit (ts)"), "{error}");
    for bad in ["web", "ts/", "ts/a/b"] {
        assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
    }
}

#[test]
fn of_a_proxy_that_nobody_hears_it_is_not_known_what_it_enforces() {
    let mut known = known();
    known.proxies[0].revision = None;
    known.proxies[0].state = State::Disconnected;
    let explained = explained("ts/web", &known);
    assert_eq!(explained.proxies[0].enforces, Enforces::Unknown);
    assert!(table(&explained, View::usual(NOW)).contains("Disconnected"));
}

#[test]
fn a_target_by_labels_concerns_only_the_pods_that_carry_them() {
    let yaml = r"
- apiVersion: access.smi-spec.io/v1alpha4
  kind: IdentityBinding
  metadata: {name: by-app, namespace: shop}
  spec: {schemes: {podLabelSelector: {matchLabels: {app: web}}}}
- apiVersion: access.smi-spec.io/v1alpha4
  kind: TrafficTarget
  metadata: {name: by-labels, namespace: shop, generation: 1}
  spec:
    destination: {kind: IdentityBinding, name: by-app}
    sources: [{kind: ServiceAccount, name: client}]
    rules: [{kind: HTTPRouteGroup, name: api}]
";
    let mut all = objects();
    all.extend(serde_saphyr::from_str::<Vec<Value>>(yaml).unwrap());
    let mut known = known();
    known.proxies.push(proxy("web-other", "web", 7));
    for object in ["tt/by-labels", "ib/by-app"] {
        let explained = explain(all.clone(), &object.parse().unwrap(), "shop", &known).unwrap();
        let pods: Vec<&str> = explained
            .proxies
            .iter()
            .map(|one| one.proxy.pod.as_str())
            .collect();
        assert_eq!(pods, ["web-1"], "{object}");
        assert!(
            !explained.others.iter().any(|one| one.contains("shop/client")),
            "{:?}",
            explained.others
        );
    }
}
