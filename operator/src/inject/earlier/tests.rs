use super::super::fixture::{Container, Pod, bare, container, namespace, settings, shop};
use super::super::{INIT, InjectRequest, LeftAlone, Outcome, PROXY, inject};
use super::*;

fn probed(name: &str) -> Container {
    container(name)
        .port("http", 8080)
        .with(
            "livenessProbe",
            json!({"httpGet": {"path": "/live?x=$(A)", "port": "http", "scheme": "HTTPS", "httpHeaders": [{"name": "X", "value": "1"}]}, "periodSeconds": 5}),
        )
        .with("readinessProbe", json!({"grpc": {"port": 9000, "service": "cart"}}))
        .with("startupProbe", json!({"tcpSocket": {"port": 8080}}))
        .with("lifecycle", json!({"preStop": {"httpGet": {"path": "bye", "port": 8080}}}))
}

/// What the API server adds to a pod before any webhook sees it.
fn admitted() -> Pod {
    let token = json!([{"name": "kube-api-access-abcde", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]);
    bare()
        .annotation("team", "shop")
        .container(probed("web").with("volumeMounts", token))
        .init_container(probed("logs").with("restartPolicy", json!("Always")))
        .volume(json!({"name": "kube-api-access-abcde", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}))
}

/// As `kubectl debug --copy-to` sends it (`k8s.io/kubectl/pkg/cmd/debug` 0.34).
fn copied(pod: &Value, profile: impl Fn(&mut Value)) -> Pod {
    let mut copy = pod.clone();
    let metadata = copy["metadata"].as_object_mut().unwrap();
    metadata.remove("generateName");
    metadata.remove("ownerReferences");
    metadata.insert("name".to_owned(), json!("web-debug"));
    profile(&mut copy);
    Pod(copy).container(container("debugger-x1y2z"))
}

/// `legacyProfile`: labels go.
fn legacy(pod: &mut Value) {
    pod["metadata"].as_object_mut().unwrap().remove("labels");
}

/// `generalProfile`: annotations and the probes of ordinary containers go too.
fn general(pod: &mut Value) {
    legacy(pod);
    pod["metadata"].as_object_mut().unwrap().remove("annotations");
    pod["spec"]["shareProcessNamespace"] = json!(true);
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            container.as_object_mut().unwrap().remove(probe);
        }
    }
}

#[test]
fn a_copy_made_by_kubectl_debug_is_injected_as_the_original_would_be() {
    for profile in [legacy, general] {
        let copy = copied(&admitted().injected(), profile);
        let never_injected = copied(&admitted().0, profile);
        assert_eq!(copy.injected(), never_injected.injected());
    }
}

#[test]
fn a_copy_without_init_containers_loses_the_volumes_of_its_sidecar_too() {
    let drop_init = |pod: &mut Value| {
        general(pod);
        pod["spec"].as_object_mut().unwrap().remove("initContainers");
    };
    let copy = copied(&admitted().injected(), drop_init);
    let Outcome::Injected { pod, warnings } = copy.inject_into(&shop()) else {
        panic!("not injected");
    };
    let expected = copied(&admitted().0, drop_init).injected();
    assert_eq!(pod["spec"]["volumes"], expected["spec"]["volumes"]);
    assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 2);
    // The profile keeps hooks.
    assert!(
        warnings.len() == 1 && warnings[0].contains("/web/preStop"),
        "{warnings:?}"
    );
}

#[test]
fn a_probe_whose_sidecar_is_gone_is_removed_with_a_warning() {
    let drop_init = |pod: &mut Value| {
        legacy(pod);
        pod["spec"].as_object_mut().unwrap().remove("initContainers");
    };
    let copy = copied(&admitted().injected(), drop_init);
    let Outcome::Injected { pod, warnings } = copy.inject_into(&shop()) else {
        panic!("not injected");
    };
    assert!(pod["spec"]["containers"][0].get("livenessProbe").is_none());
    assert!(warnings[0].contains("/web/liveness"), "{warnings:?}");
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}

#[test]
fn a_restored_pod_gets_the_sidecar_of_this_version() {
    let mut older = admitted().injected();
    older["metadata"]["labels"][key::PROXY_VERSION] = json!("0.0.9");
    for index in [0, 1] {
        let ours = &mut older["spec"]["initContainers"][index];
        ours["image"] = json!("registry.example/smilax-proxy:0.0.9");
        ours["env"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "SMILAX_FORMER", "value": "1"}));
        ours["terminationMessagePath"] = json!("/dev/termination-log");
    }
    // Velero puts a container of its own before all others.
    let wait = container("restore-wait").0;
    older["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .insert(0, wait);
    let mut expected = admitted();
    let init = expected.0["spec"]["initContainers"].as_array_mut().unwrap();
    init.insert(0, container("restore-wait").0);
    assert_eq!(Pod(older).injected(), expected.injected());
}

#[test]
fn e7_a_pod_that_pretends_to_have_a_sidecar_gets_one() {
    let fake = |name: &str| {
        container(name)
            .with("restartPolicy", json!("Always"))
            .with("command", json!(["sleep", "1d"]))
            .with("env", json!([{"name": "SMILAX_PROBES", "value": "[]"}]))
    };
    let pod = admitted()
        .label(key::PROXY_VERSION, "0.1.0")
        .annotation(key::INJECT_STATUS, "injected")
        .init_container(fake(INIT))
        .init_container(fake(PROXY));
    assert_eq!(pod.injected(), admitted().injected());
}

#[test]
fn what_merely_has_a_name_of_ours_is_refused() {
    let pods = [
        admitted().init_container(container(PROXY)),
        admitted().container(container(INIT).with("env", json!([{"name": "SMILAX_PROBES"}]))),
        admitted().volume(json!({"name": "smilax-config", "configMap": {"name": "theirs"}})),
        admitted().volume(json!({"name": "smilax-token", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}})),
    ];
    for pod in pods {
        let pod = pod
            .label(key::PROXY_VERSION, "0.1.0")
            .annotation(key::INJECT_STATUS, "injected");
        assert!(
            matches!(pod.inject_into(&shop()), Outcome::Refused { .. }),
            "{pod:?}"
        );
    }
}

#[test]
fn a_container_that_mounts_the_sidecars_memory_is_refused_even_in_a_copy() {
    let spy = container("spy").with(
        "volumeMounts",
        json!([{"name": "smilax-state", "mountPath": "/x"}]),
    );
    let pod = Pod(admitted().injected()).container(spy);
    assert!(matches!(pod.inject_into(&shop()), Outcome::Refused { .. }));
}

#[test]
fn a_forged_table_leads_to_no_port_of_the_proxy() {
    let mut pod = admitted().injected();
    let environment = pod["spec"]["initContainers"][1]["env"].as_array_mut().unwrap();
    let probes = environment
        .iter_mut()
        .find(|entry| entry["name"] == variable::PROBES)
        .unwrap();
    let forged = probes["value"].as_str().unwrap().replace("8080", "15000");
    probes["value"] = json!(forged);
    assert!(matches!(Pod(pod).inject_into(&shop()), Outcome::Refused { .. }));
}

#[test]
fn a_copy_that_opts_out_has_no_sidecar() {
    let copy = Pod(admitted().injected()).label(key::INJECT, "disabled");
    let Outcome::LeftAlone { reason, pod, .. } = copy.inject_into(&shop()) else {
        panic!("injected");
    };
    assert_eq!(reason, LeftAlone::OptedOut);
    let pod = pod.unwrap();
    let init: Vec<&str> = list(&pod, "/spec/initContainers").map(name).collect();
    assert_eq!(init, ["logs"]);
    let web = &pod["spec"]["containers"][0];
    assert_eq!(web["livenessProbe"]["httpGet"]["path"], "/live?x=$(A)");
    assert_eq!(
        web["readinessProbe"],
        json!({"grpc": {"port": 9000, "service": "cart"}})
    );
    assert_eq!(web["lifecycle"]["preStop"]["httpGet"]["path"], "bye");
    assert_eq!(pod["spec"]["volumes"], admitted().0["spec"]["volumes"]);
    let annotations = pod["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.len(), 2, "{annotations:?}");
}

#[test]
fn a_namespace_of_kubernetes_is_not_touched() {
    let injected = Pod(admitted().injected());
    let outcome = injected.inject_into(&namespace("kube-system"));
    assert!(
        matches!(outcome, Outcome::LeftAlone { pod: None, .. }),
        "{outcome:?}"
    );
}

fn injected_as(pod: &Value, key: [u8; 16]) -> Value {
    let outcome = inject(&InjectRequest {
        pod,
        namespace: &shop(),
        settings: &settings(),
        path_key: &PathKey::new(key),
    });
    match outcome {
        Outcome::Injected { pod, warnings } if warnings.is_empty() => pod,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s11_a_pod_that_is_injected_again_as_it_is_keeps_the_key_of_its_paths() {
    let first = injected_as(&admitted().0, [1; 16]);
    assert_eq!(injected_as(&first, [2; 16]), first);
}

#[test]
fn s11_a_copy_of_a_pod_gets_a_key_of_its_own() {
    let original = injected_as(&admitted().0, [1; 16]);
    let copy = copied(&original, legacy).0;
    let fresh = copied(&admitted().0, legacy).0;
    assert_eq!(injected_as(&copy, [2; 16]), injected_as(&fresh, [2; 16]));
}

#[test]
fn s11_a_pod_of_a_version_without_keys_gets_one() {
    let with_key = injected_as(&admitted().0, [1; 16]);
    let text = with_key.to_string();
    let key = "/01010101010101010101010101010101";
    assert!(text.contains(key));
    let older = serde_json::from_str(&text.replace(key, "")).unwrap();
    assert_eq!(injected_as(&older, [1; 16]), with_key);
}
