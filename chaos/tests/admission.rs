//! What a real API server refuses: to the account of the operator, and to those who may change pods of the mesh. `make admission`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and what it is given stands in the environment"
)]

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use smilax_chaos::api::{Api, Place};
use smilax_chaos::objects;
use smilax_chaos::process::Process;
use smilax_chaos::world::{Programs, Replica, World};

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
const PAUSE: Duration = Duration::from_millis(100);
const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// Runs a test in a world of its own: the API server with the charts, and a namespace of the mesh.
fn in_a_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let given = |variable: &str| std::env::var(variable).unwrap().into();
    let programs = Programs {
        kubernetes: given("SMILAX_KUBERNETES"),
        operator: given("SMILAX_OPERATOR"),
        repository: concat!(env!("CARGO_MANIFEST_DIR"), "/..").into(),
    };
    runtime.block_on(async {
        let world = World::start(programs, folder.path()).await.unwrap();
        world.api.apply(objects::namespace("shop")).await.unwrap();
        test(world).await;
    });
}

fn map(name: &str, manager: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app.kubernetes.io/managed-by": manager}},
        "data": {"policy.json": "{}"},
    })
}

/// What the API server says to a write.
async fn answer(api: &Api, method: &str, path: &str, form: &str, content: &Value) -> Result<Value, String> {
    match api.send(method, path, form, content).await {
        Ok(done) => Ok(done),
        Err(kube::Error::Api(status)) => Err(format!("{} {}", status.code, status.message)),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

#[track_caller]
fn refused(answer: &Result<Value, String>, said: &str) {
    match answer {
        Err(message) => assert!(message.contains(said), "{message}"),
        Ok(done) => panic!("not refused ({said}): {done}"),
    }
}

/// Waits until the API server carries the policies out, which it does a moment after they were written.
async fn until_in_force(operator: &Api) {
    let dry = format!("{MAPS}?dryRun=All");
    for _ in 0..600 {
        let foreign = answer(operator, "POST", &dry, JSON, &map("other", "smilax-operator")).await;
        let whole = match foreign {
            Err(message) => message.contains("smilax-operator-configmaps"),
            Ok(_) => false,
        };
        if whole {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the policy is not carried out");
}

const OURS: &str = "smilax-operator";

fn at(name: &str) -> String {
    format!("{MAPS}/{name}")
}

/// Where it is applied server-side, as the operator does.
fn applied(name: &str) -> String {
    format!("{MAPS}/{name}?fieldManager=smilax-operator&force=true")
}

#[test]
fn s10_the_operator_writes_and_deletes_the_configmaps_of_the_mesh() {
    in_a_world(|world| async move {
        let operator = world.api_of_the_operator().await.unwrap();
        until_in_force(&operator).await;
        let foreign_key = json!({"data": {"other": null}});
        for (method, path, form, content) in [
            ("PATCH", applied("smilax-web"), APPLY, map("smilax-web", OURS)),
            ("PATCH", at("smilax-web"), MERGE, foreign_key),
            ("DELETE", at("smilax-web"), JSON, json!({})),
            ("POST", MAPS.to_owned(), JSON, map("smilax-web", OURS)),
        ] {
            answer(&operator, method, &path, form, &content).await.unwrap();
        }
        // Somebody takes the label away: it is put back.
        let bare = json!({"metadata": {"labels": null}});
        world.api.merge(&at("smilax-web"), &bare).await.unwrap();
        let back = map("smilax-web", OURS);
        answer(&operator, "PATCH", &applied("smilax-web"), APPLY, &back)
            .await
            .unwrap();
    });
}

#[test]
fn s10_the_operator_touches_no_configmap_of_others() {
    in_a_world(|world| async move {
        let operator = world.api_of_the_operator().await.unwrap();
        until_in_force(&operator).await;
        for others in [
            map("coredns", "somebody"),
            map("forged", OURS),
            map("smilax-theirs", "somebody"),
        ] {
            world.api.apply(others).await.unwrap();
        }
        let system = "/api/v1/namespaces/kube-system/configmaps".to_owned();
        let accounts = json!({"metadata": {"name": "aws-auth", "namespace": "kube-system"}});
        let content = json!({"data": {"Corefile": ""}});
        let taken =
            json!({"data": {"Corefile": ""}, "metadata": {"labels": {"app.kubernetes.io/managed-by": OURS}}});
        let (named, lacks) = ("this one is ", "lacks");
        for (method, path, form, content, said) in [
            ("PATCH", at("coredns"), MERGE, &taken, named),
            ("PATCH", applied("coredns"), APPLY, &map("coredns", OURS), named),
            ("DELETE", at("coredns"), JSON, &json!({}), named),
            ("DELETE", at("forged"), JSON, &json!({}), named),
            ("DELETE", at("smilax-theirs"), JSON, &json!({}), lacks),
            ("PATCH", at("smilax-theirs"), MERGE, &content, lacks),
            ("POST", MAPS.to_owned(), JSON, &map("another", OURS), named),
            (
                "POST",
                MAPS.to_owned(),
                JSON,
                &map("smilax-more", "somebody"),
                lacks,
            ),
            ("POST", system, JSON, &accounts, named),
        ] {
            refused(&answer(&operator, method, &path, form, content).await, said);
        }
        // Nobody else is concerned.
        world.api.merge(&at("coredns"), &taken).await.unwrap();
        world.api.delete(&at("coredns")).await.unwrap();
    });
}

#[test]
fn s10_the_whole_collection_is_no_right_of_the_operator_and_each_of_it_is_judged() {
    in_a_world(|world| async move {
        let operator = world.api_of_the_operator().await.unwrap();
        until_in_force(&operator).await;
        world.api.apply(map("coredns", "somebody")).await.unwrap();
        let all = || answer(&operator, "DELETE", MAPS, JSON, &Value::Null);
        refused(&all().await, "cannot deletecollection");
        // Even where somebody grants it.
        let rights = "rbac.authorization.k8s.io";
        let version = format!("{rights}/v1");
        let grant = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["deletecollection"]});
        let metadata = json!({"name": "more"});
        let role =
            json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": [grant]});
        let binding = json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": rights, "kind": "ClusterRole", "name": "more"},
            "subjects": [{"kind": "ServiceAccount", "name": "smilax-operator", "namespace": "smilax-system"}],
        });
        for object in [role, binding] {
            world.api.apply(object).await.unwrap();
        }
        let mut told = all().await;
        for _ in 0..100 {
            match &told {
                Err(message) if message.contains("cannot deletecollection") => {
                    tokio::time::sleep(PAUSE).await;
                    told = all().await;
                }
                _ => break,
            }
        }
        refused(&told, "this one is ");
        assert!(world.api.get(&at("coredns")).await.unwrap().is_some());
    });
}

#[test]
fn s10_the_operator_changes_nothing_that_people_wrote() {
    in_a_world(|mut world| async move {
        let operator = world.api_of_the_operator().await.unwrap();
        until_in_force(&operator).await;
        let route = objects::tcp_route("shop", "bytes");
        let path = Place::of(&route).path();
        let stored = loop {
            // The definitions take a moment to be served.
            if let Ok(stored) = world.api.apply(route.clone()).await {
                break stored;
            }
        };
        // Written again as it is, so that it is stored in the present version.
        let stored = answer(&operator, "PUT", &path, JSON, &stored).await.unwrap();
        let mut changed = stored.clone();
        changed["spec"]["matches"]["ports"] = json!([9090]);
        refused(
            &answer(&operator, "PUT", &path, JSON, &changed).await,
            "never changes the spec",
        );
        let mut labelled = stored.clone();
        labelled["metadata"]["annotations"] = json!({"a": "b"});
        refused(
            &answer(&operator, "PUT", &path, JSON, &labelled).await,
            "never changes labels",
        );
        // Versions before have their fields elsewhere, so none of them is written.
        let process = world.operator(Replica::First).unwrap();
        let older = path.replace("v1alpha4", "v1alpha3");
        let converted = world.api.get(&older).await.unwrap().unwrap();
        refused(
            &answer(&operator, "PUT", &older, JSON, &converted).await,
            "in version v1alpha4 only",
        );
        drop(process);

        let definition =
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tcproutes.specs.smi-spec.io";
        let bundle =
            |value: &str| json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": value}}}}});
        let served = json!({"spec": {"versions": []}});
        let elsewhere = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"service": {"namespace": "evil"}}}}}});
        let none = json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}});
        let content = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
        let opened = answer(
            &operator,
            "PATCH",
            definition,
            "application/json-patch+json",
            &content,
        );
        refused(&opened.await, "never changes what a definition defines");
        for (change, said) in [
            (&served, ""),
            (&elsewhere, "never changes who converts"),
            (&none, "never changes who converts"),
        ] {
            refused(&answer(&operator, "PATCH", definition, MERGE, change).await, said);
        }
        let certificate = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let encoded = base64(certificate.cert.pem().as_bytes());
        answer(&operator, "PATCH", definition, MERGE, &bundle(&encoded))
            .await
            .unwrap();
    });
}

/// Standard Base64, as a `caBundle` is written.
fn base64(bytes: &[u8]) -> String {
    let value = k8s_openapi::ByteString(bytes.to_vec());
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

/// Starts the operator and makes a pod that it injected.
async fn with_a_pod(world: &mut World) -> (Process, String) {
    let operator = world.operator(Replica::First).unwrap();
    world.api.apply(objects::account("shop", "web")).await.unwrap();
    objects::Pod::new("shop", "web", "web", 1)
        .create(&world.api)
        .await
        .unwrap();
    (operator, "/api/v1/namespaces/shop/pods/web".to_owned())
}

#[test]
fn s8_the_api_server_asks_about_debug_containers_and_images_of_the_sidecar_and_about_nothing_else() {
    in_a_world(|mut world| async move {
        let (mut operator, path) = with_a_pod(&mut world).await;
        let pod = world.api.get(&path).await.unwrap().unwrap();
        assert_eq!(pod["spec"]["initContainers"][1]["name"], "smilax-proxy");
        let ephemeral = format!("{path}/ephemeralcontainers");
        let debugger = |container: Value| json!({"spec": {"ephemeralContainers": [container]}});
        let image =
            |name: &str, image: &str| json!({"spec": {"initContainers": [{"name": name, "image": image}]}});
        let spies = [
            json!({"name": "a", "image": "spy", "volumeMounts": [{"name": "smilax-state", "mountPath": "/x"}]}),
            json!({"name": "b", "image": "spy", "securityContext": {"runAsUser": 2102}}),
            json!({"name": "c", "image": "spy", "targetContainerName": "smilax-proxy"}),
        ];
        for spy in &spies {
            refused(
                &answer(&world.api, "PATCH", &ephemeral, STRATEGIC, &debugger(spy.clone())).await,
                "spec.ephemeralContainers: ",
            );
        }
        for name in ["smilax-init", "smilax-proxy"] {
            refused(
                &answer(&world.api, "PATCH", &path, STRATEGIC, &image(name, "evil")).await,
                "is not the image of this installation",
            );
        }
        let shell = debugger(json!({"name": "shell", "image": "shell"}));
        answer(&world.api, "PATCH", &ephemeral, STRATEGIC, &shell)
            .await
            .unwrap();

        // Without an operator, changes that do not concern the sidecar go on; the others wait where the chart says Fail.
        operator.kill();
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        let own =
            json!({"spec": {"containers": [{"name": "application", "image": "localhost/application:2"}]}});
        for change in [&labelled, &own] {
            answer(&world.api, "PATCH", &path, STRATEGIC, change)
                .await
                .unwrap();
        }
        let second = debugger(json!({"name": "second", "image": "shell"}));
        refused(
            &answer(&world.api, "PATCH", &ephemeral, STRATEGIC, &second).await,
            "failed calling webhook",
        );
        refused(
            &answer(
                &world.api,
                "PATCH",
                &path,
                STRATEGIC,
                &image("smilax-proxy", "evil"),
            )
            .await,
            "failed calling webhook",
        );
    });
}

#[test]
fn s7_the_api_server_makes_no_pod_of_a_closed_namespace_without_its_sidecar() {
    in_a_world(|mut world| async move {
        let (_operator, _) = with_a_pod(&mut world).await;
        let closed = json!({"metadata": {"annotations": {"smilax.dev/tls-mode": "strict", "smilax.dev/access-mode": "deny"}}});
        world.api.merge("/api/v1/namespaces/shop", &closed).await.unwrap();
        let pods = "/api/v1/namespaces/shop/pods";
        let pod = |name: &str, spec: Value| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": "shop",
                    "labels": {"smilax.dev/proxy-version": "0.1.0", "smilax.dev/inject": "disabled"},
                    "annotations": {"smilax.dev/inject-status": "injected"},
                },
                "spec": {"serviceAccountName": "web", "containers": [{"name": "application", "image": "localhost/application:1"}]},
            });
            for (field, value) in spec.as_object().unwrap() {
                pod["spec"][field] = value.clone();
            }
            pod
        };
        let host = pod("host", json!({"hostNetwork": true}));
        let mut told = Ok(json!({}));
        for _ in 0..100 {
            // The operator hears of the Namespace a moment later.
            told = answer(&world.api, "POST", &format!("{pods}?dryRun=All"), JSON, &host).await;
            if told.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        refused(&told, "spec.hostNetwork");
        for (name, field) in [
            ("user", "runAsUser"),
            ("group", "runAsGroup"),
            ("files", "fsGroup"),
        ] {
            let imitating = pod(name, json!({"securityContext": {field: 2102}}));
            refused(&answer(&world.api, "POST", pods, JSON, &imitating).await, field);
        }
        let fake = |name: &str| json!({"name": name, "image": "fake", "restartPolicy": "Always", "env": [{"name": "SMILAX_PROBES", "value": "[]"}]});
        let forged = pod(
            "forged",
            json!({"initContainers": [fake("smilax-init"), fake("smilax-proxy")]}),
        );
        let made = answer(&world.api, "POST", pods, JSON, &forged).await.unwrap();
        let init = made["spec"]["initContainers"].as_array().unwrap();
        assert_eq!(init.len(), 2);
        assert!(
            init.iter().all(|container| container["image"] != "fake"),
            "{init:?}"
        );
    });
}

/// A pod with a token of this audience, and the container that mounts it.
fn with_token(name: &str, audience: &str, container: &str) -> Value {
    let mount = |one: &str| {
        let mounts = if one == container {
            json!([{"name": "mine", "mountPath": "/mine"}])
        } else {
            json!([])
        };
        json!({"name": one, "image": "localhost/application:1", "volumeMounts": mounts})
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "outside"},
        "spec": {
            "serviceAccountName": "default",
            "initContainers": [mount("smilax-proxy"), mount("setup")],
            "containers": [mount("application")],
            "volumes": [{
                "name": "mine",
                "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "token"}}]},
            }],
        },
    })
}

#[test]
fn s12_a_token_for_the_mesh_is_mounted_by_no_other_container_where_injection_is_off() {
    in_a_world(|world| async move {
        let outside = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "outside"}});
        world.api.apply(outside).await.unwrap();
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "outside"},
        });
        world.api.apply(account).await.unwrap();
        let dry = "/api/v1/namespaces/outside/pods?dryRun=All";
        let make = |audience, container| {
            let pod = with_token("web", audience, container);
            let api = &world.api;
            async move { answer(api, "POST", dry, JSON, &pod).await }
        };
        // It is in force a moment after it was written.
        for _ in 0..600 {
            if make("smilax.dev", "application").await.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        for container in ["application", "setup"] {
            refused(
                &make("smilax.dev", container).await,
                "for the sidecar smilax-proxy alone",
            );
        }
        make("smilax.dev", "smilax-proxy").await.unwrap();
        make("vault.example", "application").await.unwrap();
        // Not its client alone: what serves it ends with it.
        drop(world);
    });
}
