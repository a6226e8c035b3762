use std::collections::BTreeMap;

use insta::assert_yaml_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use smilax_core::convention::{PROXY_PORTS, key, variable};

use super::fixture::{Pod, bare, container, namespace, pod, settings, shop};
use super::*;
use crate::cluster_view::TrustAnchors;

#[track_caller]
fn left_alone(outcome: Outcome) -> (LeftAlone, Option<String>) {
    match outcome {
        Outcome::LeftAlone { reason, pod, .. } => {
            let status = pod.and_then(|pod| Some(pod::annotation(&pod, key::INJECT_STATUS)?.to_owned()));
            (reason, status)
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused { message } => message,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn warnings(pod: &Pod) -> Vec<String> {
    match pod.inject_into(&shop()) {
        Outcome::Injected { warnings, .. } => warnings,
        other => panic!("{other:?}"),
    }
}

fn proxy(pod: &Value) -> &Value {
    pod.pointer("/spec/initContainers/1").unwrap()
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    pod::list(container, "/env")
        .find(|variable| pod::name(variable) == name)
        .and_then(|variable| pod::text(variable, "/value"))
}

#[test]
fn the_pod_of_a_deployment_gets_a_sidecar() {
    let pod = pod()
        .owner("ReplicaSet", "web-6d4cf56db6")
        .label("pod-template-hash", "6d4cf56db6");
    assert_yaml_snapshot!(pod.injected());
}

#[test]
fn the_patch_adds_containers_and_writes_over_none() {
    let pod = pod()
        .init_container(container("migrate"))
        .volume(json!({"name": "data", "emptyDir": {}}));
    let patch = serde_json::to_value(patch(&pod.0, &pod.injected())).unwrap();
    let paths: Vec<_> = patch
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| format!("{} {}", operation["op"], operation["path"]).replace('"', ""))
        .collect();
    assert_yaml_snapshot!(paths);
}

#[test]
fn a_statefulset_with_init_containers_and_annotations_gets_a_sidecar() {
    let pod = bare()
        .owner("StatefulSet", "db")
        .annotation(key::CPU_LIMIT, "500m")
        .annotation(key::LOG_LEVEL, "warn,smilax_proxy=debug")
        .annotation(key::SKIP_OUTBOUND_PORTS, "9000-9010, 25")
        .annotation(key::OPAQUE_PORTS, "7000")
        .annotation(key::DRAIN_SECONDS, "5")
        .annotation("prometheus.io/port", "9090")
        .init_container(container("migrate"))
        .container(container("db").port("postgres", 5433).port("gossip", 7000));
    assert_yaml_snapshot!(pod.injected());
}

#[test]
fn the_job_of_a_cron_job_is_counted_under_the_cron_job() {
    let pod = bare()
        .owner("Job", "backup-29381760")
        .container(container("backup"))
        .spec("restartPolicy", json!("OnFailure"))
        .injected();
    assert_eq!(variable(proxy(&pod), "SMILAX_WORKLOAD"), Some("backup"));
    assert_eq!(proxy(&pod)["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let guaranteed = |pod: &Value| {
        pod::all_containers(pod)
            .all(|container| container["resources"]["requests"] == container["resources"]["limits"])
    };
    let pod = bare().container(container("web").resources("1", "1Gi"));
    let injected = pod.injected();
    assert!(guaranteed(&injected));
    assert_eq!(
        proxy(&injected)["resources"]["limits"],
        json!({"cpu": "250m", "memory": "128Mi"})
    );

    let asked = pod.clone().annotation(key::CPU_REQUEST, "400m").injected();
    assert!(guaranteed(&asked));
    assert_eq!(proxy(&asked)["resources"]["limits"]["cpu"], "400m");

    let burstable = pod.container(container("helper")).injected();
    assert!(!guaranteed(&burstable));
    assert_eq!(proxy(&burstable)["resources"]["requests"]["cpu"], "50m");
}

#[test]
fn a_pod_with_resources_of_its_own_keeps_its_sidecar_within_them() {
    let pod = pod()
        .spec("resources", json!({"limits": {"cpu": "100m"}}))
        .injected();
    assert_eq!(proxy(&pod)["resources"], json!({}));
}

#[test]
fn kubelet_puts_nothing_in_the_place_of_a_dollar() {
    let probe = json!({"httpGet": {"port": 80, "path": "/$(HOSTNAME)?$x"}});
    let pod = bare()
        .container(container("app").with("livenessProbe", probe))
        .injected();
    let probes = variable(proxy(&pod), "SMILAX_PROBES").unwrap();
    assert!(probes.contains("/$$(HOSTNAME)?$$x"), "{probes}");
}

#[test]
fn fields_that_this_version_does_not_know_survive_in_every_container() {
    let future = |name: &str| container(name).with("fieldOfTheFuture", json!({"of": name}));
    let pod = bare()
        .init_container(future("one"))
        .init_container(future("two"))
        .container(future("three"))
        .spec("policyOfTheFuture", json!("x"));
    let mut patched = pod.0.clone();
    json_patch::patch(&mut patched, &patch(&pod.0, &pod.injected())).unwrap();
    for (list, index, name) in [
        ("initContainers", 2, "one"),
        ("initContainers", 3, "two"),
        ("containers", 0, "three"),
    ] {
        assert_eq!(
            patched["spec"][list][index]["fieldOfTheFuture"],
            json!({"of": name})
        );
    }
    assert!(
        patched["spec"]["initContainers"][0]
            .get("fieldOfTheFuture")
            .is_none()
    );
    assert_eq!(patched["spec"]["policyOfTheFuture"], "x");
}

#[test]
fn f4_a_pod_is_injected_once() {
    let injected = Pod(pod().injected());
    assert_eq!(injected.injected(), injected.0);
    assert!(patch(&injected.0, &injected.injected()).0.is_empty());
}

#[test]
fn f4_a_copied_annotation_alone_does_not_count_as_injected() {
    let pod = pod().annotation(key::INJECT_STATUS, INJECTED);
    assert_eq!(pod.injected()["spec"]["initContainers"][0]["name"], INIT);
}

#[test]
fn what_the_pod_says_comes_before_what_its_namespace_says() {
    let outsider = namespace("other");
    let by_label = pod().label(key::INJECT, "enabled");
    assert!(matches!(
        by_label.inject_into(&outsider),
        Outcome::Injected { .. }
    ));
    let by_annotation = pod().annotation(key::INJECT, "enabled");
    assert!(matches!(
        by_annotation.inject_into(&outsider),
        Outcome::Injected { .. }
    ));
    for pod in [
        pod().label(key::INJECT, "disabled"),
        pod().annotation(key::INJECT, "disabled"),
    ] {
        let (reason, status) = left_alone(pod.inject_into(&shop()));
        assert_eq!(reason, LeftAlone::OptedOut);
        assert_eq!(status.as_deref(), Some("left alone: it opted out"));
    }
    assert_eq!(
        left_alone(pod().inject_into(&outsider)),
        (LeftAlone::NotEnabled, None)
    );
}

#[test]
fn a_word_that_is_neither_yes_nor_no_is_ignored_with_a_warning() {
    let warnings = warnings(&pod().label(key::INJECT, "true"));
    assert_eq!(
        warnings,
        [r#"label smilax.dev/inject: "true" has no effect: write enabled or disabled"#]
    );
}

#[test]
fn e10_pods_that_cannot_be_redirected_are_left_alone_and_say_why() {
    let (reason, status) = left_alone(pod().spec("hostNetwork", json!(true)).inject_into(&shop()));
    assert_eq!(reason, LeftAlone::HostNetwork);
    assert_eq!(status.as_deref(), Some("left alone: it uses the host network"));
    let (reason, _) = left_alone(pod().spec("os", json!({"name": "windows"})).inject_into(&shop()));
    assert_eq!(reason, LeftAlone::NotLinux);
    let selector = json!({"kubernetes.io/os": "windows"});
    let (reason, _) = left_alone(pod().spec("nodeSelector", selector).inject_into(&shop()));
    assert_eq!(reason, LeftAlone::NotLinux);
}

#[test]
fn system_namespaces_and_mirror_pods_are_never_touched() {
    for name in ["kube-system", "kube-public", "kube-node-lease", "smilax-system"] {
        let system = namespace(name).label(key::INJECT, "enabled");
        assert_eq!(
            left_alone(pod().inject_into(&system)),
            (LeftAlone::SystemNamespace, None)
        );
    }
    let mirror = pod().annotation("kubernetes.io/config.mirror", "hash");
    assert_eq!(
        left_alone(mirror.inject_into(&shop())),
        (LeftAlone::MirrorPod, None)
    );
}

#[test]
fn a_namespace_that_forbids_the_redirect_is_refused_by_name() {
    for level in ["baseline", "restricted"] {
        let namespace = shop().label("pod-security.kubernetes.io/enforce", level);
        let message = refused(pod().inject_into(&namespace));
        assert!(
            message.contains("namespace shop") && message.contains(level),
            "{message}"
        );
        // Who opts out is not held up.
        let out = pod().label(key::INJECT, "disabled").inject_into(&namespace);
        assert_eq!(left_alone(out).0, LeftAlone::OptedOut);
    }
    let privileged = shop().label("pod-security.kubernetes.io/enforce", "privileged");
    assert!(matches!(pod().inject_into(&privileged), Outcome::Injected { .. }));
}

#[test]
fn e4_what_runs_as_the_proxys_user_is_refused() {
    let ours = json!({"runAsUser": 2102});
    let message = refused(pod().spec("securityContext", ours.clone()).inject_into(&shop()));
    assert!(message.contains("the pod has runAsUser 2102"), "{message}");
    let containers = [
        bare().container(container("app").with("securityContext", ours.clone())),
        pod().init_container(container("app").with("securityContext", ours)),
    ];
    for pod in containers {
        let message = refused(pod.inject_into(&shop()));
        assert!(
            message.contains(r#"container "app" has runAsUser 2102"#),
            "{message}"
        );
    }
}

#[test]
fn f4_names_and_ports_of_the_sidecar_are_taken() {
    let cases = [
        (pod().container(container(PROXY)), r#"container "smilax-proxy""#),
        (
            pod().init_container(container(INIT)),
            r#"container "smilax-init""#,
        ),
        (
            pod().volume(json!({"name": "smilax-state", "emptyDir": {}})),
            r#"volume "smilax-state""#,
        ),
        (
            pod().container(container("spy").with(
                "volumeMounts",
                json!([{"name": "smilax-state", "mountPath": "/x"}]),
            )),
            r#"container "spy" mounts "smilax-state""#,
        ),
    ];
    for (pod, expected) in cases {
        let message = refused(pod.inject_into(&shop()));
        assert!(message.contains(expected), "{message}");
    }
    for port in PROXY_PORTS {
        let listens = bare().container(container("app").port("x", port));
        let probe = json!({"httpGet": {"port": port, "path": "/drain"}});
        let probed = bare().container(container("app").with("livenessProbe", probe));
        for pod in [listens, probed] {
            let message = refused(pod.inject_into(&shop()));
            assert!(
                message.contains(&format!(r#"container "app" uses port {port}"#)),
                "{message}"
            );
        }
    }
}

#[test]
fn every_obstacle_is_named_at_once() {
    let pod = pod()
        .spec("securityContext", json!({"runAsUser": 2102}))
        .container(container(PROXY));
    let message = refused(pod.inject_into(&shop()));
    assert!(
        message.contains("runAsUser 2102") && message.contains("smilax-proxy"),
        "{message}"
    );
}

#[test]
fn a_bad_value_gives_way_to_the_next_and_is_noted_on_the_pod() {
    let namespace = shop().annotation(key::CPU_LIMIT, "2");
    let pod = pod()
        .annotation(key::CPU_LIMIT, "lots")
        .annotation(key::DRAIN_SECONDS, "soon");
    let Outcome::Injected { pod, warnings } = pod.inject_into(&namespace) else {
        panic!("not injected");
    };
    assert_eq!(proxy(&pod)["resources"]["limits"]["cpu"], "2");
    assert_eq!(variable(proxy(&pod), "SMILAX_DRAIN_SECONDS"), Some("30"));
    assert_yaml_snapshot!(warnings);
    let status = pod::annotation(&pod, key::INJECT_STATUS).unwrap();
    assert!(
        status.starts_with("injected;") && status.contains("lots") && status.contains("soon"),
        "{status}"
    );
    let Outcome::Injected { pod: again, .. } = Pod(pod.clone()).inject_into(&namespace) else {
        panic!("not injected");
    };
    assert_eq!(again, pod);
}

#[test]
fn draining_longer_than_the_pod_may_live_is_warned_of() {
    let warnings = warnings(&pod().spec("terminationGracePeriodSeconds", json!(10)));
    assert!(
        warnings[0].contains("30 s") && warnings[0].contains("10"),
        "{warnings:?}"
    );
}

#[test]
fn the_users_own_evictable_volumes_stay_in_the_list() {
    let pod = pod().annotation(EVICTABLE, "cache").injected();
    assert_eq!(
        pod["metadata"]["annotations"][EVICTABLE],
        "cache,smilax-state,smilax-no-token"
    );
}

#[test]
fn a_version_becomes_a_valid_label() {
    assert_eq!(label_value("0.1.0"), "0.1.0");
    assert_eq!(label_value("0.1.0-rc.1+build/7"), "0.1.0-rc.1_build_7");
    assert_eq!(label_value(&format!("{}+", "1".repeat(70))).len(), 63);
    assert_eq!(label_value("+x+"), "x");
}

#[test]
fn a_pod_of_another_form_is_refused_and_nothing_panics() {
    for odd in [
        json!(null),
        json!([]),
        json!("pod"),
        json!({}),
        json!({"metadata": {"labels": 3}, "spec": {}}),
        json!({"metadata": {}, "spec": {"initContainers": "x"}}),
    ] {
        let message = refused(Pod(odd).inject_into(&shop()));
        assert!(message.contains("not of the form"), "{message}");
    }
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let probe = prop_oneof![
        Just(json!(null)),
        Just(json!({"httpGet": {"port": "http", "path": "/a"}, "future": 1})),
        Just(json!({"tcpSocket": {"port": 8080}})),
        Just(json!({"grpc": {"port": 9000}, "timeoutSeconds": 3})),
        Just(json!({"exec": {"command": ["true"]}})),
    ];
    let container =
        ("[a-z]{1,8}", probe, any::<bool>(), any::<bool>()).prop_map(|(name, probe, sidecar, fixed)| {
            let mut built = container(&name)
                .port("http", 8080)
                .with("unknown", json!({"deep": [1]}));
            if !probe.is_null() {
                built = built.with("livenessProbe", probe);
            }
            if sidecar {
                built = built.with("restartPolicy", json!("Always"));
            }
            if fixed { built.resources("1", "1Gi") } else { built }
        });
    let list = || proptest::collection::vec(container.clone(), 0..3);
    let annotation = (
        proptest::sample::select(vec![
            key::LOG_LEVEL,
            key::CPU_LIMIT,
            key::OPAQUE_PORTS,
            "smilax.dev/odd",
            "x",
        ]),
        "[0-9a-z,-]{0,6}",
    );
    (list(), list(), proptest::collection::vec(annotation, 0..3)).prop_map(|(init, ordinary, annotations)| {
        let pod = init.into_iter().fold(bare(), Pod::init_container);
        let pod = ordinary.into_iter().fold(pod, Pod::container);
        annotations
            .into_iter()
            .fold(pod, |pod, (key, value)| pod.annotation(key, &value))
    })
}

proptest! {
    #[test]
    fn injecting_what_was_injected_changes_nothing(pod in any_pod()) {
        let injected = pod.inject_into(&shop());
        let Outcome::Injected { pod, .. } = &injected else {
            return Err(TestCaseError::fail("not injected"));
        };
        prop_assert_eq!(&Pod(pod.clone()).inject_into(&shop()), &injected);
    }

    #[test]
    fn the_patch_makes_exactly_the_injected_pod(pod in any_pod()) {
        let Outcome::Injected { pod: injected, .. } = pod.inject_into(&shop()) else {
            return Err(TestCaseError::fail("not injected"));
        };
        let mut patched = pod.0.clone();
        json_patch::patch(&mut patched, &patch(&pod.0, &injected)).unwrap();
        prop_assert_eq!(patched, injected);
    }

    #[test]
    fn the_users_containers_stay_in_their_order_with_all_their_fields(pod in any_pod()) {
        let Outcome::Injected { pod: injected, .. } = pod.inject_into(&shop()) else {
            return Err(TestCaseError::fail("not injected"));
        };
        let without_probes = |containers: Vec<&Value>| -> Vec<Value> {
            containers
                .into_iter()
                .cloned()
                .map(|mut container| {
                    container.as_object_mut().unwrap().remove("livenessProbe");
                    container
                })
                .collect()
        };
        let theirs = pod::all_containers(&injected)
            .filter(|container| !sidecar::CONTAINERS.contains(&pod::name(container)))
            .collect();
        prop_assert_eq!(without_probes(theirs), without_probes(pod::all_containers(&pod.0).collect()));
    }
}

#[test]
fn settings_reach_the_sidecar() {
    let settings = settings();
    let pod = pod().injected();
    assert_eq!(proxy(&pod)["image"], settings.proxy_image);
    assert_eq!(variable(proxy(&pod), "SMILAX_LOG_FORMAT"), Some("json"));
    assert_eq!(pod["metadata"]["labels"][key::PROXY_VERSION], settings.version);
}

fn variables(pod: &Value, container: &str) -> BTreeMap<String, String> {
    pod["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == container)
        .map(|one| {
            let all = one["env"].as_array().unwrap().iter();
            all.filter_map(|one| {
                Some((
                    one["name"].as_str()?.to_owned(),
                    one["value"].as_str()?.to_owned(),
                ))
            })
            .collect()
        })
        .unwrap()
}

#[test]
fn a_port_name_that_two_containers_give_is_told_as_kubernetes_resolves_it() {
    let sidecar = container("logs")
        .port("http", 7070)
        .with("restartPolicy", json!("Always"));
    let pod = pod()
        .container(container("exporter").port("http", 9090).port("metrics", 9091))
        .init_container(container("setup").port("setup", 6060))
        .init_container(sidecar);
    let proxy = variables(&pod.injected(), PROXY);
    assert_eq!(proxy[variable::PORT_NAMES], r#"{"http":8080,"metrics":9091}"#);
}

#[test]
fn a_proxy_is_told_what_its_template_asks_for_and_the_names_of_its_ports() {
    let pod = pod()
        .annotation(key::ACCESS_MODE, "deny")
        .annotation(key::TLS_MODE, "strict")
        .annotation(key::TLS_PORT_MODES, "8080=strict")
        .annotation(key::DENIAL_REASONS, "told")
        .injected();
    let proxy = variables(&pod, PROXY);
    assert_eq!(proxy[variable::DENIAL_REASONS], "told");
    assert_eq!(proxy[variable::ACCESS_MODE], "deny");
    assert_eq!(proxy[variable::TLS_MODE], "strict");
    assert_eq!(proxy[variable::TLS_PORT_MODES], "8080=strict");
    assert_eq!(proxy[variable::PORT_NAMES], r#"{"http":8080}"#);
    let plain = variables(&super::fixture::pod().injected(), PROXY);
    for unsaid in [
        variable::ACCESS_MODE,
        variable::TLS_MODE,
        variable::DENIAL_REASONS,
    ] {
        assert!(!plain.contains_key(unsaid), "{unsaid}");
    }
}

#[test]
fn udp_is_dropped_where_the_mode_is_deny_when_the_pod_is_made() {
    let udp = |pod: &Pod, namespace: &NamespaceView| match pod.inject_into(namespace) {
        Outcome::Injected { pod, .. } => (
            variables(&pod, INIT)[variable::INBOUND_UDP].clone(),
            pod["metadata"]["annotations"][key::INBOUND_UDP].clone(),
        ),
        other => panic!("{other:?}"),
    };
    let deny = shop().annotation(key::ACCESS_MODE, "deny");
    assert_eq!(udp(&pod(), &shop()), ("open".to_owned(), json!("open")));
    assert_eq!(udp(&pod(), &deny), ("drop".to_owned(), json!("drop")));
    let own = pod().annotation(key::ACCESS_MODE, "deny");
    assert_eq!(udp(&own, &shop()).0, "drop");
    let forged = pod().annotation(key::INBOUND_UDP, "open");
    assert_eq!(udp(&forged, &deny), ("drop".to_owned(), json!("drop")));
}

#[test]
fn the_rule_that_decides_is_the_pods_label_then_its_annotation_then_the_namespace() {
    let decides = |pod: &Pod, namespace: &NamespaceView| rule(&pod.0, namespace);
    let labelled = pod().label(key::INJECT, "disabled");
    assert_eq!(decides(&labelled, &shop()), Rule::PodLabel);
    let annotated = pod().annotation(key::INJECT, "enabled");
    assert_eq!(decides(&annotated, &namespace("plain")), Rule::PodAnnotation);
    assert_eq!(decides(&pod(), &shop()), Rule::NamespaceLabel);
    assert_eq!(decides(&pod(), &namespace("plain")), Rule::Nothing);
    let closed = shop().annotation(key::ACCESS_MODE, "deny");
    assert_eq!(decides(&labelled, &closed), Rule::OptOutRefused);
}

#[test]
fn e7_a_pod_of_an_enforced_namespace_cannot_opt_out_or_skip_ports_by_itself() {
    let enforced = [
        shop().annotation(key::TLS_MODE, "strict"),
        shop().annotation(key::ACCESS_MODE, "deny"),
    ];
    for namespace in enforced {
        let out = pod().label(key::INJECT, "disabled");
        let Outcome::Injected { warnings, .. } = out.inject_into(&namespace) else {
            panic!("it opted out");
        };
        assert!(warnings[0].contains(key::ALLOW_RELAX), "{warnings:?}");
        let skipping = pod().annotation(key::SKIP_INBOUND_PORTS, "8080");
        let Outcome::Injected {
            pod: injected,
            warnings,
        } = skipping.inject_into(&namespace)
        else {
            panic!("not injected");
        };
        assert_eq!(variables(&injected, INIT)[variable::SKIP_INBOUND_PORTS], "");
        assert!(warnings[0].contains(key::ALLOW_RELAX), "{warnings:?}");
        let relaxed = namespace.annotation(key::ALLOW_RELAX, "true");
        assert!(matches!(out.inject_into(&relaxed), Outcome::LeftAlone { .. }));
        let Outcome::Injected { pod: injected, .. } = skipping.inject_into(&relaxed) else {
            panic!("not injected");
        };
        assert_eq!(variables(&injected, INIT)[variable::SKIP_INBOUND_PORTS], "8080");
    }
}

#[test]
fn a_mode_more_open_than_that_of_the_namespace_is_ignored_and_told() {
    let deny = shop().annotation(key::ACCESS_MODE, "deny");
    let Outcome::Injected { pod, warnings } = pod().annotation(key::ACCESS_MODE, "allow").inject_into(&deny)
    else {
        panic!("not injected");
    };
    assert!(!variables(&pod, PROXY).contains_key(variable::ACCESS_MODE));
    assert!(warnings[0].contains("more open"), "{warnings:?}");
}

#[test]
fn e5_a_container_that_may_change_the_network_is_warned_of() {
    for context in [
        json!({"capabilities": {"add": ["NET_ADMIN"]}}),
        json!({"capabilities": {"add": ["NET_RAW"]}}),
        json!({"privileged": true}),
    ] {
        let pod = bare().container(container("web").with("securityContext", context.clone()));
        let Outcome::Injected { warnings, .. } = pod.inject_into(&shop()) else {
            panic!("not injected");
        };
        assert!(warnings[0].contains("redirect"), "{context} {warnings:?}");
    }
}

#[test]
fn s3_the_pods_spec_says_which_roots_may_sign_its_configuration() {
    let anchors = format!("{},{}", "ab".repeat(32), "cd".repeat(32));
    let mut signing = shop();
    signing.trust_anchors = Some(TrustAnchors {
        roots: anchors.clone(),
        trust_domain: "mesh.example".parse().unwrap(),
    });
    // Whatever the pod's author wrote there is taken out with the container.
    let mut forged = pod().injected();
    let containers = forged["spec"]["initContainers"].as_array_mut().unwrap();
    containers[1]["env"] = json!([{"name": variable::TRUST_ANCHORS, "value": "ef".repeat(32)}]);
    for given in [pod(), Pod(forged)] {
        let Outcome::Injected { pod: injected, .. } = given.inject_into(&signing) else {
            panic!("not injected");
        };
        let variables = |container| variables(&injected, container);
        assert_eq!(variables(PROXY)[variable::TRUST_ANCHORS], anchors);
        assert_eq!(variables(PROXY)[variable::TRUST_DOMAIN], "mesh.example");
        assert!(!variables(INIT).contains_key(variable::TRUST_ANCHORS));
    }
    assert!(!variables(&pod().injected(), PROXY).contains_key(variable::TRUST_ANCHORS));
}

fn token(name: &str, audience: &str) -> Value {
    json!({"name": name, "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "token"}}]}})
}

#[test]
fn s12_a_pod_that_projects_a_token_for_the_mesh_of_its_own_is_refused() {
    for pod in [
        pod(),
        pod().spec("hostNetwork", json!(true)),
        pod().label(key::INJECT, "disabled"),
    ] {
        match pod.volume(token("mine", "smilax.dev")).inject_into(&shop()) {
            Outcome::Refused { message } => {
                assert!(
                    message.contains("\"mine\"") && message.contains("smilax.dev"),
                    "{message}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn s12_a_token_for_somebody_else_is_the_pods_own_affair() {
    pod().volume(token("vault", "vault.example")).injected();
}

#[test]
fn s13_a_sidecar_is_told_from_where_metrics_may_be_read() {
    let settings = InjectSettings {
        metrics_sources: "10.0.0.0/8,fd00::/8".parse().unwrap(),
        ..settings()
    };
    let request = InjectRequest {
        pod: &pod().0,
        namespace: &shop(),
        settings: &settings,
        path_key: &super::fixture::path_key(),
    };
    let Outcome::Injected { pod: restricted, .. } = inject(&request) else {
        panic!("refused");
    };
    let ranges = &variables(&restricted, PROXY)[variable::METRICS_SOURCE_RANGES];
    assert_eq!(ranges, "10.0.0.0/8,fd00::/8");
    let open = pod().injected();
    assert!(!variables(&open, PROXY).contains_key(variable::METRICS_SOURCE_RANGES));
}
