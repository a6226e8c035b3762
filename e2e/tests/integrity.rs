//! What an editor of a namespace writes into the ConfigMaps of its proxies is refused, told of and repaired.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smilax_e2e::guarded::answers;
use smilax_e2e::namespace::must;
use smilax_e2e::wait::wait_within;
use smilax_e2e::{
    Client, Guarded, Match, Namespace, Progress, RouteGroup, Service, TrafficTarget, Workload, wait_until,
};

static GUARDED: Guarded = Guarded::new("integrity");
/// Of its own, since every ConfigMap of it is put back.
static RESTORED: Guarded = Guarded::new("backup");

/// How long a repair may take.
const REPAIR: Duration = Duration::from_secs(10);
const POLICY: &str = "policy.json";
const OURS: &str = "app.kubernetes.io/managed-by=smilax-operator";

fn map(namespace: &Namespace, account: &str) -> Value {
    must(namespace.kubectl().get(&[&format!("configmap/smilax-{account}")]))
}

fn policy(map: &Value) -> &str {
    map["data"][POLICY].as_str().unwrap_or_default()
}

/// A server that only `friend` may call.
fn guarded(namespace: &Namespace, name: &str) -> String {
    namespace.account(name);
    namespace.apply(Service::named(name));
    namespace.apply(Workload::deployment(name).account(name));
    namespace.ready(&[&format!("deployment/{name}")]);
    namespace.apply(RouteGroup::named(name).or(Match::named("all")));
    let target = namespace.apply(TrafficTarget::of(name).from("friend").http(name));
    namespace.await_condition(&target, "Programmed", "True", "Programmed");
    Client::of(namespace, name, name).enforces_target(&target);
    format!("http://{name}/")
}

#[test]
fn s3_a_patched_configuration_is_refused_told_of_and_repaired() {
    let callers = GUARDED.callers();
    let namespace = &callers.namespace;
    let url = guarded(namespace, "patched");
    answers(&callers.stranger, &url, 403);
    let honest = map(namespace, "patched");
    // The policy of somebody who lets everybody in, newer than any other.
    let mut forged: Value = serde_json::from_str(policy(&honest)).unwrap_or_default();
    forged["revision"] = json!("9999.1");
    forged["inbound"] = json!([]);
    let forged = forged.to_string();
    let patch = json!({"data": {POLICY: forged}}).to_string();
    let began = Instant::now();
    must(namespace.kubectl().run(&[
        "patch",
        "configmap/smilax-patched",
        "--type=merge",
        "--patch",
        &patch,
    ]));
    wait_within(REPAIR, "it is written again", || {
        let now = map(namespace, "patched");
        let repaired = policy(&now) != forged && now["data"]["signature.json"].is_string();
        Progress::when(repaired, (), || policy(&now).to_owned())
    });
    assert!(began.elapsed() <= REPAIR);
    answers(&callers.stranger, &url, 403);
    let account = namespace.account("patched");
    let told = namespace.await_event(&account, "Tampered");
    assert!(
        told.message
            .contains("smilax-patched was not written by the operator"),
        "{}",
        told.message
    );
    wait_until("every proxy is synced under the repaired configuration", || {
        let listed = callers.mesh.smilax(&["proxy-status", "-n", namespace.name()]);
        // One that is not synced is a finding.
        let listed = listed.unwrap_or_else(|finding| finding);
        let patched = listed.lines().find(|line| line.contains("/patched-"));
        let synced = patched.is_some_and(|line| line.contains("Synced"));
        Progress::when(synced, (), || listed.clone())
    });
    // A pod that is made after the attack enforces what is compiled.
    must(
        namespace
            .kubectl()
            .run(&["rollout", "restart", "deployment/patched"]),
    );
    namespace.ready(&["deployment/patched"]);
    answers(&callers.stranger, &url, 403);
    answers(&callers.friend, &url, 200);
}

#[test]
fn s3_an_old_backup_of_every_configuration_of_a_namespace_heals() {
    let callers = RESTORED.callers();
    let namespace = &callers.namespace;
    let url = guarded(namespace, "restored");
    let listed = must(namespace.kubectl().list(&["configmaps", "--selector", OURS]));
    let backup: Vec<Value> = listed
        .iter()
        .map(|map| {
            let metadata = &map["metadata"];
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": map["data"], "binaryData": map["binaryData"],
                "metadata": {
                    "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"],
                },
            })
        })
        .collect();
    // What the backup still allows is taken away.
    let target = namespace.apply(TrafficTarget::of("restored").from("nobody").http("restored"));
    namespace.await_condition(&target, "Programmed", "True", "Programmed");
    answers(&callers.friend, &url, 403);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": backup});
    must(namespace.kubectl().feed(&["replace", "--filename=-"], &list));
    wait_within(REPAIR, "the backup is replaced", || {
        let now = map(namespace, "restored");
        let healed = backup.iter().all(|old| {
            let old = &old["data"][POLICY];
            *old != now["data"][POLICY]
        });
        Progress::when(healed, (), || policy(&now).to_owned())
    });
    answers(&callers.friend, &url, 403);
    must(
        namespace
            .kubectl()
            .run(&["rollout", "restart", "deployment/restored"]),
    );
    namespace.ready(&["deployment/restored"]);
    answers(&callers.friend, &url, 403);
}
