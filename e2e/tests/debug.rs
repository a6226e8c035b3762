//! What the command line tells about objects and proxies is what the cluster does.

#![expect(clippy::panic, reason = "a promise that is not kept fails its test")]

use std::path::PathBuf;

use serde_json::Value;
use smilax_core::ProxyConfig;
use smilax_e2e::{
    Inject, Load, Namespace, Object, Progress, Shared, TrafficSplit, Web, assert_share, wait_until,
};

static WEB: Shared = Shared::new("debug");

/// A file with objects, as long as it is held.
struct Manifest(PathBuf);

impl Manifest {
    fn of(name: &str, object: impl Into<Object>) -> Self {
        let path = std::env::temp_dir().join(format!("smilax-{}-{name}.json", std::process::id()));
        let text = object.into().0.to_string();
        match std::fs::write(&path, text) {
            Ok(()) => Self(path),
            Err(error) => panic!("{} cannot be written: {error}", path.display()),
        }
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        // One that is left behind harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(web: &Web, arguments: &[&str]) -> Result<String, String> {
    let all: Vec<&str> = arguments
        .iter()
        .copied()
        .chain(["-n", web.namespace.name()])
        .collect();
    web.mesh.smilax(&all)
}

/// What a command prints that has to succeed.
#[track_caller]
fn answer(web: &Web, arguments: &[&str]) -> String {
    run(web, arguments).unwrap_or_else(|error| panic!("smilax {arguments:?}: {error}"))
}

/// What a command prints for programs. Something may not be in force yet, which is a finding.
fn read(web: &Web, arguments: &[&str]) -> Value {
    let all: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let text = run(web, &all).unwrap_or_else(|finding| finding);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} printed {text:?}: {error}"))
}

/// Exits with 1, which is no error but a difference.
fn plan(web: &Web, manifest: &Manifest) -> Result<String, String> {
    let file = manifest.0.display().to_string();
    run(web, &["plan", "-f", &file])
}

#[test]
fn a_plan_names_what_applying_then_changes_and_nothing_once_it_is_applied() {
    let web = WEB.hold();
    web.root("planned");
    web.enforce(TrafficSplit::of("planned").backend("web-v1", 1));
    let next = TrafficSplit::of("planned").backend("web-v2", 1);
    let manifest = Manifest::of("planned", next.clone());
    let said = plan(&web, &manifest).expect_err("something changes");
    let name = web.namespace.name();
    assert!(
        said.contains(&format!("destination {name}/planned port")),
        "{said}"
    );
    assert!(said.contains(&format!("{name}/web-v1 1")), "{said}");
    assert!(said.contains(&format!("after:  {name}/web-v2 1")), "{said}");
    let before = web.client.load(Load::http("planned").requests(50));
    assert_share(&before, "web-v1", 1.0);
    web.enforce(next);
    assert_share(
        &web.client.load(Load::http("planned").requests(50)),
        "web-v2",
        1.0,
    );
    let said = plan(&web, &manifest).expect("nothing changes");
    assert!(said.starts_with("Nothing changes"), "{said}");
}

#[test]
fn a_plan_finds_what_the_status_would_say() {
    let web = WEB.hold();
    web.root("lacking");
    let split = TrafficSplit::of("lacking").backend("web-v9", 1);
    let said = plan(&web, &Manifest::of("lacking", split.clone())).expect_err("there is a finding");
    assert!(said.contains("(BackendNotFound)"), "{said}");
    let split = web.namespace.apply(split);
    wait_until("the status says the same", || {
        let stored = web.namespace.read(&split);
        let resolved = smilax_e2e::status::condition(&stored, "ResolvedRefs");
        let message = resolved.map(|one| one.message).unwrap_or_default();
        Progress::when(!message.is_empty() && said.contains(&message), (), || {
            message.clone()
        })
    });
}

#[test]
fn proxy_status_shows_the_revision_that_the_proxy_enforces() {
    let web = WEB.hold();
    web.root("shown");
    web.enforce(TrafficSplit::of("shown").backend("web-v1", 1));
    wait_until("the client's proxy is synced", || {
        let status = read(&web, &["proxy-status"]);
        let line = status["proxies"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|proxy| proxy["pod"] == web.client.pod())
            .cloned()
            .unwrap_or_default();
        let own = web.client.revision().map(|revision| revision.to_string());
        let synced = line["state"] == "Synced" && line["revision"].as_str() == own.as_deref();
        Progress::when(synced, (), || line.to_string())
    });
    // Another proxy of the namespace may be behind at this moment.
    let table = run(&web, &["proxy-status"]).unwrap_or_else(|finding| finding);
    assert!(
        table.contains(&format!("{}/{}", web.namespace.name(), web.client.pod())),
        "{table}"
    );
    let none = answer(&web, &["proxy-status", "--state", "rejected"]);
    assert!(none.starts_with("No proxies found.\n"), "{none}");
}

#[test]
fn proxy_config_shows_what_the_proxy_holds() {
    let web = WEB.hold();
    web.root("held");
    web.enforce(TrafficSplit::of("held").backend("web-v1", 3).backend("web-v2", 1));
    let pod = web.client.pod();
    let held: ProxyConfig = serde_json::from_value(read(&web, &["proxy-config", pod, "routes"])).unwrap();
    assert!(held.destinations.iter().any(|one| &*one.name.name == "held"));
    let routes = answer(&web, &["proxy-config", pod, "routes"]);
    let name = web.namespace.name();
    assert!(
        routes.contains(&format!("{name}/web-v1 3, {name}/web-v2 1")),
        "{routes}"
    );
    let certificates = read(&web, &["proxy-config", pod, "certificates"]);
    let identity = certificates["certificate"]["identity"]
        .as_str()
        .unwrap_or_default();
    assert!(
        identity.ends_with(&format!("/ns/{name}/sa/client")),
        "{certificates}"
    );
    for part in ["destinations", "access", "endpoints"] {
        answer(&web, &["proxy-config", pod, part]);
    }
    let summary = answer(&web, &["proxy-config", pod]);
    assert!(summary.starts_with("revision:"), "{summary}");
}

#[test]
fn endpoints_are_those_of_what_was_called() {
    let web = WEB.hold();
    web.root("called");
    web.enforce(TrafficSplit::of("called").backend("web-v1", 1));
    wait_until("the endpoints of the backend are known", || {
        web.client.load(Load::http("called").requests(5));
        let known = read(&web, &["proxy-config", web.client.pod(), "endpoints"]);
        let backend = format!("{}/web-v1", web.namespace.name());
        let some = known.as_array().into_iter().flatten().any(|port| {
            port["destination"] == backend && port["endpoints"].as_array().is_some_and(|all| !all.is_empty())
        });
        Progress::when(some, (), || known.to_string())
    });
}

#[test]
fn a_proxy_that_there_is_not_is_said_to_be_missing() {
    let web = WEB.hold();
    let error = run(&web, &["proxy-config", "nobody"]).unwrap_err();
    assert!(error.contains("pod nobody not found"), "{error}");
}

#[test]
fn an_object_is_explained_by_what_its_proxies_enforce() {
    let web = WEB.hold();
    web.root("explained");
    web.enforce(TrafficSplit::of("explained").backend("web-v1", 1));
    let split = web.enforce(TrafficSplit::of("explained").backend("web-v2", 1));
    let generation = web.namespace.read(&split)["metadata"]["generation"].clone();
    wait_until(
        "the client's proxy is said to enforce the newest generation",
        || {
            let explained = read(&web, &["explain", "ts/explained"]);
            let client = explained["proxies"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["proxy"]["pod"] == web.client.pod())
                .cloned()
                .unwrap_or_default();
            Progress::when(client["generation"] == generation, (), || explained.to_string())
        },
    );
    assert_share(
        &web.client.load(Load::http("explained").requests(50)),
        "web-v2",
        1.0,
    );
    let error = run(&web, &["explain", "trafficsplit/nothing"]).unwrap_err();
    assert!(error.contains("there is no TrafficSplit nothing"), "{error}");
}

/// A client of a namespace that names no Service of the other one.
#[test]
fn a_proxy_of_another_namespace_that_called_the_service_is_told_of_everywhere() {
    let web = WEB.hold();
    web.root("visited");
    web.enforce(TrafficSplit::of("visited").backend("web-v1", 1));
    let elsewhere = Namespace::fresh(&web.mesh, "visitor", Inject::Enabled);
    let visitor = elsewhere.client("visitor");
    let url = format!("http://visited.{}/", web.namespace.name());
    visitor.reaches(&url);
    let split = web
        .namespace
        .apply(TrafficSplit::of("visited").backend("web-v2", 1));
    let generation = web.namespace.read(&split)["metadata"]["generation"].clone();
    wait_until("the visitor is said to enforce the newest generation", || {
        // What has not been called for a while is forgotten.
        visitor.get(&url);
        let explained = read(&web, &["explain", "ts/visited"]);
        let known = explained["proxies"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["proxy"]["pod"] == visitor.pod())
            .cloned()
            .unwrap_or_default();
        let learned = known["through"][0] == "address lookup" && known["generation"] == generation;
        Progress::when(learned, (), || explained.to_string())
    });
    web.namespace
        .await_condition(&split, "Programmed", "True", "Programmed");
    let pod = format!("{}/{}", elsewhere.name(), visitor.pod());
    let routes = run(&web, &["proxy-config", &pod, "routes"]).unwrap_or_else(|error| panic!("{error}"));
    let own = format!("TrafficSplit/{}/visited", web.namespace.name());
    let line = routes.lines().find(|line| line.contains(&own));
    assert!(line.is_some_and(|line| line.contains("lookup of")), "{routes}");
}

#[test]
fn why_a_pod_has_its_sidecar_is_told_as_the_webhook_decided() {
    let web = WEB.hold();
    let why = read(&web, &["why-inject", web.client.pod()]);
    assert_eq!(why["workloads"][0]["sidecar"], "present", "{why}");
    let rule = why["workloads"][0]["rule"].as_str().unwrap_or_default();
    assert!(rule.contains(web.namespace.name()), "{rule}");
}

#[test]
fn the_log_level_of_a_sidecar_changes_while_it_runs() {
    let web = WEB.hold();
    let pod = web.client.pod();
    let before = read(&web, &["log-level", pod])["proxies"][0]["level"].clone();
    let before = before.as_str().unwrap_or("info");
    let set = read(&web, &["log-level", pod, "info,smilax_proxy=debug"]);
    let level = set["proxies"][0]["level"].as_str().unwrap_or_default();
    assert!(level.contains("smilax_proxy=debug"), "{set}");
    let error = run(&web, &["log-level", pod, "verbose"]).unwrap_err();
    assert!(error.contains("is not a log filter"), "{error}");
    answer(&web, &["log-level", pod, before]);
}
