use serde_json::{Value, json};
use smilax_core::{Revision, Workload};

use super::state::{Page, Proxy, Wanted, newest as configuration, proxies};
use super::tampering::Mounts;
use super::*;
use crate::controller::Controller;
use crate::output::View;

const NOW: u64 = 1_000_000;

fn pod(name: &str, account: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid of {name}"),
            "labels": {"smilax.dev/proxy-version": "0.1.0"},
        },
        "spec": {
            "serviceAccountName": account,
            "initContainers": [{"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]}],
        },
        "status": {"phase": "Running"},
    })
}

fn page(reports: &Value) -> Page {
    serde_json::from_value(reports.clone()).unwrap()
}

fn newest() -> Wanted {
    let revision = Revision { term: 2, counter: 7 };
    Wanted::from([
        (Workload::new("shop", "web"), revision),
        (Workload::new("shop", "client"), revision),
    ])
}

fn report(revision: &str) -> Value {
    json!({
        "workload": {"namespace": "shop", "account": "web"}, "pod": "any", "version": "0.1.0", "revision": revision,
        "since": NOW - 4000, "certificate": {"issuer": "k", "notAfter": NOW + 80_000},
    })
}

fn fleet() -> Vec<Proxy> {
    let mut rejected = report("2.5");
    rejected["rejected"] = json!([{"revision": "2.7"}, "destinations[0].ports[0]: port 80 appears twice"]);
    rejected["changed"] = json!(NOW - 30);
    let mut elsewhere = report("2.6");
    elsewhere["connected"] = json!(false);
    let first = page(&json!({
        "uid of client-1": report("2.7"), "uid of web-1": report("2.6"), "uid of web-2": rejected,
        "uid of web-3": elsewhere, "uid of gone": report("2.7"),
    }));
    let second = page(&json!({"uid of web-3": report("2.7")}));
    let mut plain = pod("plain", "web");
    plain["spec"]["initContainers"] = json!([]);
    let mut done = pod("done", "web");
    done["status"]["phase"] = json!("Succeeded");
    let pods = [
        pod("web-1", "web"),
        pod("web-2", "web"),
        pod("web-3", "web"),
        pod("client-1", "client"),
        pod("client-2", "client"),
        plain,
        done,
    ];
    proxies(&pods, vec![first, second], &newest(), &Mounts::default())
}

#[test]
fn every_pod_with_a_proxy_has_a_line_with_what_any_replica_heard_of_it() {
    insta::assert_snapshot!(table(&fleet(), &[], &[], View::usual(NOW)), @r#"
    NAMESPACE/POD   ACCOUNT   VERSION   REVISION   WANTED   STATE          SINCE   CERTIFICATE EXPIRES
    shop/client-1   client    0.1.0     2.7        2.7      Synced         66m     in 22h
    shop/client-2   client    0.1.0     -          2.7      Disconnected   -       -
    shop/web-1      web       0.1.0     2.6        2.7      Stale          66m     in 22h
    shop/web-2      web       0.1.0     2.5        2.7      Rejected       30s     in 22h
    shop/web-3      web       0.1.0     2.7        2.7      Synced         66m     in 22h

    shop/web-2 rejects 2.7: destinations[0].ports[0]: port 80 appears twice

    5 proxies: 2 Synced, 1 Stale, 1 Rejected, 1 Disconnected
    "#);
}

#[test]
fn programs_get_the_same_with_moments_in_place_of_spans() {
    let all = json(&fleet(), &[], &[]);
    insta::assert_json_snapshot!(all["proxies"][3], @r#"
    {
      "account": "web",
      "certificateExpires": "1970-01-13T12:00:00Z",
      "learned": [],
      "namespace": "shop",
      "node": "",
      "pod": "web-2",
      "reason": "destinations[0].ports[0]: port 80 appears twice",
      "revision": "2.5",
      "since": "1970-01-12T13:46:10Z",
      "state": "Rejected",
      "version": "0.1.0",
      "wanted": "2.7"
    }
    "#);
}

#[test]
fn a_proxy_is_synced_only_by_the_newest_revision_and_rejected_only_for_it() {
    let state = |report: &Value| {
        let page = page(&json!({"uid of web-1": report}));
        proxies(&[pod("web-1", "web")], vec![page], &newest(), &Mounts::default())[0].state
    };
    assert_eq!(state(&report("2.7")), State::Synced);
    assert_eq!(
        state(&report("2.8")),
        State::Synced,
        "newer than what was read a moment before"
    );
    assert_eq!(state(&report("2.6")), State::Stale);
    assert_eq!(state(&report("1.99")), State::Stale);
    let mut earlier = report("2.4");
    earlier["rejected"] = json!([{"revision": "2.5"}, ".: no"]);
    assert_eq!(
        state(&earlier),
        State::Stale,
        "what it rejected is not wanted any more"
    );
    let mut bundle = report("2.6");
    bundle["rejected"] = json!([{"bundle": 3}, "roots: no"]);
    assert_eq!(state(&bundle), State::Stale, "a bundle is no configuration");
    let mut never = report("2.7");
    never.as_object_mut().unwrap().remove("revision");
    assert_eq!(state(&never), State::Stale);
}

/// A pod whose spec names some root.
fn signing(name: &str) -> Value {
    let mut pod = pod(name, "web");
    let env = json!([{"name": "SMILAX_TRUST_ANCHORS", "value": "ab".repeat(32)}]);
    pod["spec"]["initContainers"][0]["env"] = env;
    pod
}

#[test]
fn s3_a_configmap_that_the_operator_did_not_write_is_told_of_beside_every_pod_that_mounts_it() {
    let forged = r#"{"revision": "9999.1", "workload": {"namespace": "shop", "account": "web"}}"#;
    let map = json!({
        "metadata": {"namespace": "shop", "name": "smilax-web"},
        "data": {"policy.json": forged, "signature.json": "{}"},
    });
    let mut wanted = newest();
    wanted.insert(
        Workload::new("shop", "web"),
        Revision {
            term: 9999,
            counter: 1,
        },
    );
    let reports = json!({"uid of web-1": report("2.7"), "uid of old-1": report("2.7")});
    // A pod that demands no signature takes what lies there.
    let pods = [signing("web-1"), pod("old-1", "web")];
    let all = proxies(&pods, vec![page(&reports)], &wanted, &Mounts::of(&[map]));
    insta::assert_snapshot!(table(&all, &[], &[], View::usual(NOW)), @r#"
    NAMESPACE/POD   ACCOUNT   VERSION   REVISION   WANTED   STATE      SINCE   CERTIFICATE EXPIRES
    shop/old-1      web       0.1.0     2.7        9999.1   Stale      66m     in 22h
    shop/web-1      web       0.1.0     2.7        -        Tampered   66m     in 22h

    shop/web-1: ConfigMap shop/smilax-web was not written by the operator: its signature is malformed: missing field `content` at line 1 column 2

    2 proxies: 1 Stale, 1 Tampered
    "#);
}

#[test]
fn the_newest_revision_is_read_from_the_configmap_packed_or_not() {
    let map = json!({"data": {"policy.json": r#"{"revision": "3.1", "workload": {"namespace": "shop", "account": "web"}}"#}});
    let found = configuration(&map)
        .unwrap()
        .map(|config| (config.workload, config.revision));
    assert_eq!(
        found,
        Some((Workload::new("shop", "web"), Revision { term: 3, counter: 1 }))
    );
    assert_eq!(configuration(&json!({"data": {"other": "x"}})).unwrap(), None);
    assert!(configuration(&json!({"data": {"policy.json": "{"}})).is_err());
}

#[test]
fn a_replica_that_does_not_answer_is_named() {
    let missing = [
        "Proxies that are connected to pod smilax-operator-a of the operator are shown as Disconnected: no"
            .to_owned(),
    ];
    let text = table(&fleet(), &missing, &[], View::usual(NOW));
    assert!(text.ends_with("shown as Disconnected: no\n"), "{text}");
    assert_eq!(json(&[], &missing, &[])["missing"][0], missing[0].as_str());
}

#[test]
fn a_workload_that_is_scaled_to_zero_is_said_to_be_and_not_missing() {
    let idle = [Controller {
        namespace: "shop".to_owned(),
        kind: "deployment",
        name: "night".to_owned(),
    }];
    let text = table(&[], &[], &idle, View::usual(NOW));
    assert_eq!(
        text,
        "No proxies found.\n\nScaled to 0, so without a proxy: Deployment shop/night\n"
    );
    assert_eq!(json(&[], &[], &idle)["scaledToZero"][0], "Deployment shop/night");
}
