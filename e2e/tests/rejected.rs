//! A proxy that lacks what a configuration requires refuses it whole. The object says so and names its pod; others go on.

use serde_json::Value;
use smilax_e2e::disrupt::{Cluster, Helm, container_status};
use smilax_e2e::guarded::answers;
use smilax_e2e::namespace::must;
use smilax_e2e::objects::port;
use smilax_e2e::{
    Client, Guarded, Match, Namespace, Progress, RouteGroup, Service, TrafficTarget, Workload, wait_until,
};

static GUARDED: Guarded = Guarded::new("rejected");

const PROXY: &str = "smilax-proxy";
/// A proxy that does not know what access policies require (`e2e/older-proxy`).
const OLDER: &str = "localhost/smilax-proxy:older";

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn url(pod: &Value) -> String {
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    format!("http://{address}:{}/", port::HTTP)
}

/// The image of a pod's proxy.
fn image(pod: &Value) -> String {
    let containers = pod["spec"]["initContainers"].as_array();
    let mut containers = containers.into_iter().flatten();
    let proxy = containers.find(|one| one["name"] == PROXY).cloned();
    proxy.unwrap_or_default()["image"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Gives a pod another proxy, in place, and waits until that runs and the pod is Ready.
#[track_caller]
fn run_proxy(namespace: &Namespace, pod: &str, image: &str) {
    let restarts = |pod: &Value| container_status(pod, PROXY)["restartCount"].as_u64();
    let read = || must(namespace.kubectl().get(&[&format!("pod/{pod}")]));
    let before = restarts(&read());
    let proxy = format!("{PROXY}={image}");
    must(
        namespace
            .kubectl()
            .run(&["set", "image", &format!("pod/{pod}"), &proxy]),
    );
    wait_until(&format!("{pod} runs {image} and is Ready"), || {
        let pod = read();
        let conditions = pod["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
        let proxy = container_status(&pod, PROXY);
        let runs = proxy["ready"] == true && restarts(&pod) > before;
        Progress::when(runs && ready, (), || proxy.to_string())
    });
}

#[test]
fn when_one_proxy_rejects_the_object_names_its_pod_until_that_is_brought_up_and_the_others_go_on() {
    let callers = GUARDED.callers();
    let namespace = &callers.namespace;
    if Cluster::of(&callers.mesh, "an older proxy").is_none() {
        return;
    }
    namespace.account("served");
    namespace.apply(Service::named("served"));
    namespace.apply(Workload::deployment("served").account("served").replicas(2));
    namespace.ready(&["deployment/served"]);
    let pods = namespace.pods("served");
    let [older, newer] = &pods[..] else {
        unreachable!("{} pods of two", pods.len())
    };
    let newest = image(older);
    // A pod that runs takes no image but that of the installation.
    let helm = Helm::of(&callers.mesh);
    helm.upgrade(&["proxy.image.tag=older"]);
    callers.mesh.available();
    run_proxy(namespace, name(older), OLDER);
    helm.upgrade(&["proxy.image.tag="]);
    callers.mesh.available();
    answers(&callers.stranger, &url(older), 200);

    namespace.apply(RouteGroup::named("served").or(Match::named("all")));
    let target = namespace.apply(TrafficTarget::of("served").from("friend").http("served"));
    let rejected = namespace.await_condition(&target, "Programmed", "False", "Rejected");
    assert!(
        rejected.message.contains(name(older)) && rejected.message.contains("inbound-policy"),
        "{}",
        rejected.message
    );
    assert!(!rejected.message.contains(name(newer)), "{}", rejected.message);
    let listed = callers
        .mesh
        .smilax(&["proxy-status", "--state", "rejected", "-n", namespace.name()])
        .expect_err("a proxy that rejects its configuration is a finding");
    assert!(
        listed.contains(name(older)) && listed.contains("inbound-policy"),
        "{listed}"
    );
    assert!(!listed.contains(name(newer)), "{listed}");
    Client::in_pod(namespace, name(newer), "served").enforces_target(&target);
    answers(&callers.stranger, &url(newer), 403);
    answers(&callers.friend, &url(newer), 200);
    // It enforces what it had.
    answers(&callers.stranger, &url(older), 200);

    run_proxy(namespace, name(older), &newest);
    let programmed = namespace.await_condition(&target, "Programmed", "True", "Programmed");
    assert!(
        programmed.message.starts_with("generation 1 enforced by "),
        "{}",
        programmed.message
    );
    answers(&callers.stranger, &url(older), 403);
    answers(&callers.friend, &url(older), 200);
}
