use serde_json::json;

use super::super::fixture::{Container, Pod, bare, container, path_key};
use super::*;

fn rewritten(pod: Pod) -> (Value, ProbeTable, Vec<String>) {
    let mut raw = pod.0;
    let (table, warnings) = rewrite(&mut raw, &path_key());
    (raw, table, warnings)
}

/// Rewrites the liveness probe of a container `app`.
fn liveness(probe: Value) -> (Value, ProbeTable, Vec<String>) {
    let app = container("app").port("web", 8080).with("livenessProbe", probe);
    let (pod, table, warnings) = rewritten(bare().container(app));
    (
        pod["spec"]["containers"][0]["livenessProbe"].clone(),
        table,
        warnings,
    )
}

#[track_caller]
fn stays(probe: Value) -> Vec<String> {
    let (after, table, warnings) = liveness(probe.clone());
    assert_eq!((after, table), (probe, ProbeTable::default()));
    warnings
}

#[test]
fn probes_of_every_kind_ask_the_proxy_and_stand_in_the_table() {
    let app = container("app")
        .port("web", 8080)
        .with(
            "startupProbe",
            json!({"tcpSocket": {"port": "web"}, "failureThreshold": 30}),
        )
        .with(
            "livenessProbe",
            json!({
                "httpGet": {
                    "path": "/health?deep=1", "port": "web", "scheme": "HTTPS",
                    "httpHeaders": [{"name": "Host", "value": "app.example"}, {"name": "X", "value": "1"}],
                },
                "timeoutSeconds": 4, "periodSeconds": 5, "terminationGracePeriodSeconds": 9,
            }),
        )
        .with(
            "readinessProbe",
            json!({"grpc": {"port": 9000, "service": "shop.Cart"}}),
        )
        .with(
            "lifecycle",
            json!({
                "postStart": {"httpGet": {"path": "warm", "port": 8080}},
                "preStop": {"httpGet": {"port": "web"}},
            }),
        );
    let other = container("other").with("readinessProbe", json!({"httpGet": {"path": "/", "port": "81"}}));
    let (pod, table, warnings) = rewritten(bare().container(app).container(other));
    assert!(warnings.is_empty(), "{warnings:?}");
    insta::assert_yaml_snapshot!(json!({"containers": pod["spec"]["containers"], "table": table}));
}

#[test]
fn a_native_sidecar_is_probed_and_an_ordinary_init_container_is_left() {
    let probed =
        |name| container(name).with("readinessProbe", json!({"httpGet": {"path": "/r", "port": 80}}));
    let always = |container: Container| container.with("restartPolicy", json!("Always"));
    let (_, table, _) = rewritten(
        bare()
            .init_container(always(probed("side")))
            .init_container(probed("init")),
    );
    let paths: Vec<_> = table.0.iter().map(|probe| probe.path.as_str()).collect();
    assert_eq!(paths, [path_key().path(Purpose::Readiness, "side")]);
}

#[test]
fn a_command_stays() {
    assert!(stays(json!({"exec": {"command": ["true"]}})).is_empty());
}

#[test]
fn a_probe_of_another_host_stays() {
    assert!(stays(json!({"httpGet": {"host": "10.0.0.9", "port": 80}})).is_empty());
    assert!(stays(json!({"tcpSocket": {"host": "db", "port": 5432}})).is_empty());
}

#[test]
fn a_probe_of_a_port_that_has_no_such_name_stays_and_is_warned_of() {
    let warnings = stays(json!({"httpGet": {"port": "nosuch"}}));
    assert!(warnings[0].contains("/app/liveness"), "{warnings:?}");
    stays(json!({"tcpSocket": {"port": 70000}}));
    stays(json!({"tcpSocket": {}}));
}

#[test]
fn everything_else_of_a_probe_stays() {
    let (probe, table, _) = liveness(json!({
        "tcpSocket": {"port": 8080}, "initialDelaySeconds": 3, "timeoutSeconds": 2, "newField": true,
    }));
    assert_eq!(
        probe,
        json!({
            "httpGet": {"path": path_key().path(Purpose::Liveness, "app"), "port": 15021, "scheme": "HTTP"},
            "initialDelaySeconds": 3, "timeoutSeconds": 2, "newField": true,
        })
    );
    assert_eq!(table.0[0].timeout_seconds, 2);
}

#[test]
fn hooks_may_take_as_long_as_kubelet_lets_them() {
    let hook = || json!({"httpGet": {"port": 80, "path": "/x"}});
    let app = container("app").with("lifecycle", json!({"preStop": hook(), "postStart": hook()}));
    let (_, table, _) = rewritten(
        bare()
            .spec("terminationGracePeriodSeconds", json!(75))
            .container(app),
    );
    let times: Vec<_> = table
        .0
        .iter()
        .map(|probe| (probe.purpose().unwrap(), probe.timeout_seconds))
        .collect();
    assert_eq!(times, [(Purpose::PostStart, 3600), (Purpose::PreStop, 75)]);
}

#[test]
fn the_ports_that_a_container_is_asked_on_are_known() {
    let app = container("app")
        .port("web", 8080)
        .with("livenessProbe", json!({"httpGet": {"port": "web"}}))
        .with(
            "readinessProbe",
            json!({"tcpSocket": {"port": 15020, "host": "elsewhere"}}),
        )
        .with("lifecycle", json!({"preStop": {"httpGet": {"port": 81}}}));
    assert_eq!(ports(&app.0).collect::<Vec<_>>(), [8080, 81]);
}
