//! Pods that come with a sidecar, and pods whose sidecar is refused.

use serde_json::{Value, json};
use smilax_e2e::namespace::must;
use smilax_e2e::{Client, Inject, Namespace, Object, Probe, Progress, Shared, Workload, wait_until};

static WEB: Shared = Shared::new("copies");

fn containers(pod: &Value, field: &str) -> Vec<String> {
    let all = pod["spec"][field].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["initContainers", "containers"]
        .iter()
        .filter_map(|field| pod["spec"][*field].as_array());
    all.flatten()
        .find(|one| one["name"] == name)
        .unwrap_or(&Value::Null)
}

/// Copies a pod as `kubectl debug` does, waits until the copy is ready, and gives it.
#[track_caller]
fn copied(namespace: &Namespace, app: &str, copy: &str, flags: &[&str]) -> Value {
    let pod = namespace.pod(app);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let image = container(&pod, "app")["image"].as_str().unwrap_or_default();
    let (to, image) = (format!("--copy-to={copy}"), format!("--image={image}"));
    let mut arguments = vec!["debug", name, &to, &image, "--image-pull-policy=IfNotPresent"];
    arguments.extend(flags);
    arguments.extend(["--", "/smilax-testapp", "serve", "--http-port=18080"]);
    must(namespace.kubectl().run(&arguments));
    let ready = format!("pod/{copy}");
    let wait = ["wait", "--for=condition=Ready", &ready, "--timeout=110s"];
    must(namespace.kubectl().run(&wait));
    must(namespace.kubectl().get(&[&ready]))
}

#[test]
fn a_copy_made_by_kubectl_debug_runs_with_a_sidecar_of_its_own() {
    let web = WEB.hold();
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http"}});
    web.namespace
        .apply(Workload::deployment("original").probe(Probe::Liveness, probe));
    web.namespace.ready(&["deployment/original"]);
    for (copy, flags) in [
        ("copy-legacy", &["--container=debugger", "--profile=legacy"][..]),
        ("copy-general", &["--container=debugger", "--profile=general"]),
        (
            "copy-shared",
            &[
                "--container=debugger",
                "--profile=general",
                "--same-node",
                "--share-processes",
            ],
        ),
        (
            "copy-bare",
            &[
                "--container=debugger",
                "--profile=general",
                "--keep-init-containers=false",
            ],
        ),
    ] {
        let pod = copied(&web.namespace, "original", copy, flags);
        assert_eq!(
            containers(&pod, "initContainers"),
            ["smilax-init", "smilax-proxy"]
        );
        assert_eq!(containers(&pod, "containers"), ["app", "debugger"]);
        assert_eq!(
            pod["metadata"]["annotations"]["smilax.dev/inject-status"],
            "injected"
        );
        let client = Client::in_pod(&web.namespace, copy, "default");
        assert_eq!(client.get("http://web-v1/").status, Some(200), "{copy}");
    }
}

#[test]
fn a_restored_pod_gets_the_sidecar_of_this_version() {
    let web = WEB.hold();
    web.namespace.apply(Workload::deployment("saved"));
    web.namespace.ready(&["deployment/saved"]);
    let saved = web.namespace.pod("saved");
    let image = container(&saved, "smilax-proxy")["image"].clone();
    let mut spec = saved["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
    }
    for ours in [0, 1] {
        spec["initContainers"][ours]["image"] = json!("registry.invalid/smilax-proxy:0.0.1");
    }
    let mut labels = saved["metadata"]["labels"].clone();
    labels["app"] = json!("restored");
    labels["smilax.dev/proxy-version"] = json!("0.0.1");
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("pod-template-hash");
    }
    web.namespace.apply(Object(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "restored", "labels": labels, "annotations": saved["metadata"]["annotations"]},
        "spec": spec,
    })));
    let wait = ["wait", "--for=condition=Ready", "pod/restored", "--timeout=110s"];
    web.namespace.kubectl().run(&wait).unwrap();
    let restored = web.namespace.pod("restored");
    assert_eq!(container(&restored, "smilax-proxy")["image"], image);
    let client = Client::in_pod(&web.namespace, "restored", "default");
    assert_eq!(client.get("http://web-v1/").status, Some(200));
}

#[test]
fn a_limit_range_that_refuses_the_sidecar_is_named_with_the_annotation_to_set() {
    let web = WEB.hold();
    let namespace = Namespace::fresh(&web.mesh, "limited", Inject::Enabled);
    namespace.apply(Object(json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "tiny"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "90m"}}]},
    })));
    let says_so = |text: &str| {
        ["tiny", "smilax-proxy", "90m", "smilax.dev/proxy-cpu-limit"]
            .iter()
            .all(|part| text.contains(part))
    };
    let refused = Object::from(Workload::deployment("refused"));
    // The watch may not have shown the LimitRange yet.
    wait_until("a warning says which LimitRange refuses the pods", || {
        let apply = ["apply", "--filename=-", "--dry-run=server"];
        let warnings = namespace.kubectl().warnings(&apply, &refused.0).unwrap();
        Progress::when(says_so(&warnings), (), || warnings.clone())
    });
    namespace.apply(refused);
    wait_until("an Event of the ReplicaSet says so too", || {
        let failed = ["events", "--field-selector=reason=FailedCreate"];
        let events = namespace.kubectl().list(&failed).unwrap();
        let is_told = events
            .iter()
            .any(|event| says_so(event["message"].as_str().unwrap_or_default()));
        Progress::when(is_told, (), || format!("{events:?}"))
    });
    namespace.apply(Workload::deployment("refused").annotation("smilax.dev/proxy-cpu-limit", "90m"));
    namespace.ready(&["deployment/refused"]);
}
