//! Pods join the mesh as they are asked to, and go on working.

use serde_json::{Value, json};
use smilax_e2e::objects::port;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::wait::stays;
use smilax_e2e::{
    Client, Inject, Load, Namespace, Object, Probe, Progress, Shared, TrafficSplit, Workload, assert_share,
    wait_until,
};

static WEB: Shared = Shared::new("injection");

fn containers(pod: &Value, field: &str) -> Vec<String> {
    let all = pod["spec"][field].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    ["initContainers", "containers"]
        .iter()
        .filter_map(|field| pod["spec"][*field].as_array())
        .flatten()
        .find(|one| one["name"] == name)
        .unwrap_or(&Value::Null)
}

fn note(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["smilax.dev/inject-status"]
        .as_str()
        .unwrap_or_default()
}

fn has_proxy(pod: &Value) -> bool {
    containers(pod, "initContainers").contains(&"smilax-proxy".to_owned())
}

/// Waits until a Job has completed.
#[track_caller]
fn completes(namespace: &Namespace, job: &str) {
    let done = namespace
        .kubectl()
        .run(&["wait", "--for=condition=complete", job, "--timeout=110s"]);
    assert!(done.is_ok(), "{done:?}");
}

#[test]
fn a_pod_of_an_enabled_namespace_gets_a_native_sidecar() {
    let web = WEB.hold();
    let pod = web.namespace.pod("web-v1");
    assert_eq!(
        containers(&pod, "initContainers"),
        ["smilax-init", "smilax-proxy"]
    );
    assert_eq!(containers(&pod, "containers"), ["app"]);
    assert_eq!(container(&pod, "smilax-proxy")["restartPolicy"], "Always");
    assert_eq!(note(&pod), "injected");
    assert!(pod["metadata"]["labels"]["smilax.dev/proxy-version"].is_string());
}

#[test]
fn the_sidecar_has_bounds_and_no_rights() {
    let web = WEB.hold();
    let pod = web.namespace.pod("web-v1");
    let proxy = container(&pod, "smilax-proxy");
    for kind in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            assert!(
                proxy["resources"][kind][resource].is_string(),
                "{}",
                proxy["resources"]
            );
        }
    }
    let security = &proxy["securityContext"];
    assert_eq!(security["runAsUser"], 2102);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let init = &container(&pod, "smilax-init")["securityContext"];
    assert_eq!(
        init["capabilities"],
        json!({"drop": ["ALL"], "add": ["NET_ADMIN"]})
    );
}

#[test]
fn our_containers_do_not_hold_the_accounts_api_token() {
    let web = WEB.hold();
    let pod = web.namespace.pod("web-v1");
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    for name in ["smilax-init", "smilax-proxy"] {
        for mount in container(&pod, name)["volumeMounts"].as_array().unwrap() {
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .unwrap();
            let sources = volume["projected"]["sources"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let for_the_api = sources.iter().any(|source| {
                source["serviceAccountToken"].is_object()
                    && source["serviceAccountToken"]["audience"].is_null()
            });
            assert!(!for_the_api, "{name} mounts a token for the API server: {volume}");
        }
    }
}

#[test]
fn a_pod_that_opts_out_by_label_is_left_alone_and_works() {
    let web = WEB.hold();
    web.namespace
        .apply(Workload::deployment("outsider").label("smilax.dev/inject", "disabled"));
    web.namespace.ready(&["deployment/outsider"]);
    let pod = web.namespace.pod("outsider");
    assert!(!has_proxy(&pod), "{}", pod["spec"]);
    // Outside of the mesh there is no split, and the mesh answers as any other pod would.
    web.root("seen-from-outside");
    web.enforce(TrafficSplit::of("seen-from-outside").backend("web-v2", 1));
    let outsider = Client::of(&web.namespace, "outsider", "default");
    let report = outsider.load(Load::http("seen-from-outside").requests(50));
    assert_no_failures(&report);
    assert_share(&report, "web-root", 1.0);
}

#[test]
fn a_pod_that_opts_out_by_annotation_is_left_alone_and_says_why() {
    let web = WEB.hold();
    web.namespace
        .apply(Workload::deployment("abstainer").annotation("smilax.dev/inject", "disabled"));
    web.namespace.ready(&["deployment/abstainer"]);
    let pod = web.namespace.pod("abstainer");
    assert!(!has_proxy(&pod));
    assert!(note(&pod).contains("opted out"), "{}", note(&pod));
}

#[test]
fn a_pod_on_the_host_network_is_left_alone_and_says_why() {
    let web = WEB.hold();
    web.namespace.apply(
        Workload::deployment("on-host")
            .command(&["serve", "--http-port=18080"])
            .pod_spec(json!({"hostNetwork": true})),
    );
    web.namespace.ready(&["deployment/on-host"]);
    let pod = web.namespace.pod("on-host");
    assert!(!has_proxy(&pod));
    assert!(note(&pod).contains("host network"), "{}", note(&pod));
}

#[test]
fn a_pod_may_join_from_a_namespace_that_does_not() {
    let web = WEB.hold();
    let namespace = Namespace::fresh(&web.mesh, "not-asked", Inject::NotAsked);
    namespace.apply(Workload::deployment("joiner").label("smilax.dev/inject", "enabled"));
    namespace.apply(Workload::deployment("bystander"));
    namespace.ready(&["deployment/joiner", "deployment/bystander"]);
    assert!(has_proxy(&namespace.pod("joiner")));
    assert!(!has_proxy(&namespace.pod("bystander")));
    let joiner = Client::of(&namespace, "joiner", "default");
    let there = format!("http://web-v1.{}/", web.namespace.name());
    assert_eq!(joiner.get(&there).status, Some(200));
}

#[test]
fn a_job_ends_although_its_sidecar_would_run_for_ever() {
    let web = WEB.hold();
    let call = ["load", "--url=http://web-v1/", "--requests=10"];
    web.namespace.apply(Workload::job("errand").command(&call));
    completes(&web.namespace, "job/errand");
    let pod = web.namespace.pod("errand");
    assert!(has_proxy(&pod));
    let log = web
        .namespace
        .kubectl()
        .run(&["logs", "job/errand", "--container=app"])
        .unwrap();
    let report: smilax_e2e::Report = serde_json::from_str(log.trim()).unwrap();
    assert_no_failures(&report);
}

#[test]
fn a_server_in_a_job_that_ends_by_itself_completes() {
    let web = WEB.hold();
    web.namespace
        .apply(Workload::job("shift").command(&["serve", "--exit-after=2"]));
    completes(&web.namespace, "job/shift");
}

#[test]
fn a_job_of_a_cron_job_ends_too() {
    let web = WEB.hold();
    // The schedule is far away; the Job is made by hand from the same template.
    web.namespace
        .apply(Workload::cron_job("nightly", "0 3 1 1 *").command(&[
            "load",
            "--url=http://web-v2/",
            "--requests=5",
        ]));
    let kubectl = web.namespace.kubectl();
    kubectl
        .run(&["create", "job", "nightly-now", "--from=cronjob/nightly"])
        .unwrap();
    completes(&web.namespace, "job/nightly-now");
    assert!(has_proxy(&web.namespace.pod("nightly")));
}

#[test]
fn a_daemon_set_joins_on_every_node() {
    let web = WEB.hold();
    web.namespace.apply(Workload::daemon_set("everywhere"));
    web.namespace.ready(&["daemonset/everywhere"]);
    let pods = web.namespace.pods("everywhere");
    assert!(!pods.is_empty());
    for pod in pods {
        assert!(has_proxy(&pod), "{}", pod["metadata"]["name"]);
    }
}

#[test]
fn probes_of_every_kind_go_on_working_by_name_and_by_number() {
    let web = WEB.hold();
    let handlers = [
        (
            "by-name",
            json!({"httpGet": {"path": "/healthz", "port": "http"}}),
        ),
        (
            "by-number",
            json!({"httpGet": {"path": "/healthz", "port": port::HTTP, "httpHeaders": [{"name": "Host", "value": "x.example"}]}}),
        ),
        (
            "by-tls",
            json!({"httpGet": {"path": "/healthz", "port": "https", "scheme": "HTTPS"}}),
        ),
        ("by-tcp", json!({"tcpSocket": {"port": "tcp"}})),
        ("by-grpc", json!({"grpc": {"port": port::GRPC}})),
        (
            "by-exec",
            json!({"exec": {"command": ["/smilax-testapp", "get", "http://127.0.0.1:8080/healthz", "--expect=200"]}}),
        ),
    ];
    for (name, handler) in &handlers {
        web.namespace.apply(
            Workload::deployment(name)
                .probe(Probe::Startup, handler.clone())
                .probe(Probe::Readiness, handler.clone())
                .probe(Probe::Liveness, handler.clone())
                .container(json!({"livenessProbe": {"failureThreshold": 2}})),
        );
    }
    for (name, _) in &handlers {
        web.namespace.ready(&[&format!("deployment/{name}")]);
    }
    for (name, _) in &handlers {
        let pod = web.namespace.pod(name);
        assert!(has_proxy(&pod));
        let restarts = smilax_e2e::disrupt::container_status(&pod, "app")["restartCount"].clone();
        assert_eq!(
            restarts, 0,
            "the liveness probe of {name} restarted its container"
        );
    }
}

#[test]
fn a_probe_that_fails_still_fails() {
    let web = WEB.hold();
    let failing = [
        (
            "sick-http",
            json!({"httpGet": {"path": "/status/500", "port": "http"}}),
        ),
        ("sick-tcp", json!({"tcpSocket": {"port": 9999}})),
        (
            "sick-grpc",
            json!({"grpc": {"port": port::GRPC, "service": "other"}}),
        ),
    ];
    for (name, handler) in &failing {
        let app = Workload::deployment(name).probe(Probe::Readiness, handler.clone());
        // The health service fails for as long as it is asked to.
        let app = if *name == "sick-grpc" {
            app.argument("--healthy-after=600")
        } else {
            app
        };
        web.namespace.apply(app);
    }
    for (name, _) in &failing {
        let running = || {
            let pod = web.namespace.pod(name);
            let status = smilax_e2e::disrupt::container_status(&pod, "app");
            let so = status["started"] == true && status["ready"] == false;
            Progress::when(so, (), || status.to_string())
        };
        wait_until(&format!("{name} runs and is not ready"), running);
        stays(
            std::time::Duration::from_secs(3),
            &format!("{name} is not ready"),
            running,
        );
    }
}

/// The same pods with and without a sidecar, since what kubelet does is the measure.
#[test]
fn a_probe_that_is_redirected_counts_as_it_does_without_the_mesh() {
    let web = WEB.hold();
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}});
    let cases = [
        ("to-ok", "/redirect?to=/status/200", true),
        ("to-failure", "/redirect?to=/status/500", false),
        ("to-itself", "/redirect", false),
        ("to-elsewhere", "/redirect?to=http://login.example/", true),
    ];
    let sides = [("meshed", "enabled"), ("plain", "disabled")];
    let all = || {
        cases
            .iter()
            .flat_map(|case| sides.iter().map(move |side| (case, side)))
    };
    for ((name, path, _), (side, inject)) in all() {
        web.namespace.apply(
            Workload::deployment(&format!("{name}-{side}"))
                .label("smilax.dev/inject", inject)
                .probe(Probe::Readiness, probe(path)),
        );
    }
    for ((name, path, is_ready), (side, _)) in all() {
        let app = format!("{name}-{side}");
        let as_expected = || {
            let pod = web.namespace.pod(&app);
            let status = smilax_e2e::disrupt::container_status(&pod, "app");
            let so = status["started"] == true && status["ready"] == *is_ready;
            Progress::when(so, (), || status.to_string())
        };
        wait_until(&format!("{app} with {path} has ready: {is_ready}"), as_expected);
        if !is_ready {
            let what = format!("{app} is not ready");
            stays(std::time::Duration::from_secs(3), &what, as_expected);
        }
        if *name == "to-elsewhere" {
            let pod = Object(web.namespace.pod(&app));
            web.namespace.await_event(&pod, "ProbeWarning");
        }
    }
}

#[test]
fn a_hook_that_is_answered_an_error_counts_as_it_does_without_the_mesh() {
    let web = WEB.hold();
    let hook = |path: &str, port: u16| json!({"lifecycle": {"postStart": {"httpGet": {"path": path, "port": port}}}});
    for (side, inject) in [("meshed", "enabled"), ("plain", "disabled")] {
        let answered = Workload::deployment(&format!("answered-{side}"))
            .label("smilax.dev/inject", inject)
            .container(hook("/status/500", port::HTTP));
        let unanswered = Workload::deployment(&format!("unanswered-{side}"))
            .label("smilax.dev/inject", inject)
            .container(hook("/", 9999));
        web.namespace.apply(answered);
        web.namespace.apply(unanswered);
    }
    for side in ["meshed", "plain"] {
        web.namespace.ready(&[&format!("deployment/answered-{side}")]);
        let pod = Object(web.namespace.pod(&format!("unanswered-{side}")));
        web.namespace.await_event(&pod, "FailedPostStartHook");
    }
}

#[test]
fn a_startup_probe_holds_the_pod_back_until_it_succeeds() {
    let web = WEB.hold();
    web.namespace.apply(
        Workload::deployment("slow-start")
            .argument("--healthy-after=4")
            .probe(
                Probe::Startup,
                json!({"httpGet": {"path": "/healthz", "port": "http"}}),
            )
            .without(Probe::Readiness),
    );
    web.namespace.ready(&["deployment/slow-start"]);
    let pod = web.namespace.pod("slow-start");
    let app = Client::in_pod(
        &web.namespace,
        pod["metadata"]["name"].as_str().unwrap(),
        "default",
    );
    assert_eq!(app.get("http://127.0.0.1:8080/healthz").status, Some(200));
}

#[test]
fn lifecycle_hooks_over_http_are_called() {
    let web = WEB.hold();
    // The hooks ask a native sidecar that is up before the container starts: one that asks its own container may come
    // before it listens, with a mesh and without.
    web.namespace.apply(
        Workload::deployment("hooked")
            .pod_spec(json!({"initContainers": [{
                "name": "hooks",
                "image": smilax_e2e::environment::testapp_image(),
                "args": ["serve", "--http-port=18080", "--https-port=0", "--grpc-port=0", "--tcp-port=0", "--server-first-port=0"],
                "restartPolicy": "Always",
                "startupProbe": {"httpGet": {"path": "/healthz", "port": 18080}, "periodSeconds": 1},
            }]}))
            .container(json!({
                "lifecycle": {"postStart": {"httpGet": {"path": "/healthz", "port": 18080}},
                              "preStop": {"httpGet": {"path": "/delay/10", "port": 18080}}},
            })),
    );
    web.namespace.ready(&["deployment/hooked"]);
    let pod = web.namespace.pod("hooked");
    let kubectl = web.namespace.kubectl();
    let name = pod["metadata"]["name"].as_str().unwrap();
    kubectl.run(&["delete", "pod", name, "--timeout=60s"]).unwrap();
    let pod = Object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}));
    let events = web.namespace.events(&pod);
    let failed = events
        .iter()
        .find(|event| event.reason.contains("Failed") && event.reason.contains("Hook"));
    assert_eq!(failed, None, "{events:?}");
}

#[test]
fn annotations_set_the_sidecars_resources() {
    let web = WEB.hold();
    web.namespace.apply(
        Workload::deployment("sized")
            .annotation("smilax.dev/proxy-cpu-request", "25m")
            .annotation("smilax.dev/proxy-memory-limit", "96Mi"),
    );
    web.namespace.ready(&["deployment/sized"]);
    let pod = web.namespace.pod("sized");
    let resources = &container(&pod, "smilax-proxy")["resources"];
    assert_eq!(resources["requests"]["cpu"], "25m");
    assert_eq!(resources["limits"]["memory"], "96Mi");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let web = WEB.hold();
    let bounds = json!({"cpu": "20m", "memory": "32Mi"});
    web.namespace.apply(
        Workload::deployment("assured")
            .container(json!({"resources": {"requests": bounds, "limits": bounds}})),
    );
    web.namespace.ready(&["deployment/assured"]);
    let pod = web.namespace.pod("assured");
    assert!(has_proxy(&pod));
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
}

#[test]
fn a_misspelt_annotation_is_answered_with_the_nearest_known_one() {
    let web = WEB.hold();
    let object =
        Object::from(Workload::deployment("misspelt").annotation("smilax.dev/proxy-cpu-requests", "25m"));
    let warnings = web
        .namespace
        .kubectl()
        .warnings(&["apply", "--filename=-", "--dry-run=server"], &object.0)
        .unwrap();
    assert!(warnings.contains("smilax.dev/proxy-cpu-request"), "{warnings}");
}

#[test]
fn a_bad_value_of_an_annotation_is_refused_on_the_workload() {
    let web = WEB.hold();
    let refusal = web
        .namespace
        .refused(Workload::deployment("nonsense").annotation("smilax.dev/proxy-cpu-request", "plenty"));
    assert!(
        refusal.contains("smilax.dev/proxy-cpu-request") && refusal.contains("plenty"),
        "{refusal}"
    );
}

#[test]
fn a_bad_value_on_a_pod_that_is_made_directly_is_ignored_and_told_by_an_event() {
    let web = WEB.hold();
    web.namespace
        .apply(Workload::pod("careless").annotation("smilax.dev/log-level", "lots"));
    let pod = Object::from(Workload::pod("careless"));
    let event = web.namespace.await_event(&pod, "InvalidAnnotation");
    assert_eq!(event.kind, "Warning");
    assert!(has_proxy(&web.namespace.read(&pod)));
}

#[test]
fn ports_that_are_skipped_are_not_captured() {
    let web = WEB.hold();
    web.root("skipped");
    web.enforce(TrafficSplit::of("skipped").backend("web-v2", 1));
    web.namespace
        .apply(Workload::deployment("skipper").annotation("smilax.dev/skip-outbound-ports", "80"));
    web.namespace.ready(&["deployment/skipper"]);
    let skipper = Client::of(&web.namespace, "skipper", "default");
    let report = skipper.load(Load::http("skipped").requests(50));
    assert_no_failures(&report);
    assert_share(&report, "web-root", 1.0);
}

#[test]
fn a_pod_that_is_rolled_over_under_load_fails_no_request() {
    let web = WEB.hold();
    web.namespace.apply(smilax_e2e::Service::named("rolling"));
    web.namespace.apply(Workload::deployment("rolling").replicas(2));
    web.namespace.ready(&["deployment/rolling"]);
    web.client.reaches("http://rolling/");
    let background = web.client.start(Load::http("rolling").rate(50).connections(4));
    background.goes_on(50);
    let kubectl = web.namespace.kubectl();
    kubectl
        .run(&["rollout", "restart", "deployment/rolling"])
        .unwrap();
    web.namespace.ready(&["deployment/rolling"]);
    wait_until("only new pods are left", || {
        let all = kubectl.list(&["pods", "--selector=app=rolling"]).unwrap();
        Progress::when(all.len() == 2, (), || format!("{} pods", all.len()))
    });
    background.goes_on(50);
    assert_no_failures(&background.stop());
}
