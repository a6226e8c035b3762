//! What an earlier mesh left in the cluster.

use serde_json::{Value, json};
use smilax_e2e::disrupt::{Helm, OperatorAway};
use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Load, Object, Progress, SplitVersion, TrafficSplit, assert_share, wait_until};

use crate::WEB;

#[test]
fn definitions_and_objects_of_an_earlier_mesh_are_adopted() {
    let web = WEB.hold();
    let helm = Helm::of(&web.mesh);
    let kubectl = web.mesh.kubectl();
    let definition = "customresourcedefinition/trafficsplits.split.smi-spec.io";
    {
        let away = OperatorAway::begin(&web.mesh);
        helm.forget_definitions();
        must(kubectl.run(&["delete", definition, "--timeout=60s"]));
        must(kubectl.feed(&["create", "--filename=-"], &earlier_definition()));
        must(kubectl.run(&["wait", "--for=condition=established", definition, "--timeout=30s"]));
        wait_until("the earlier definition is served", || {
            let object = Object::from(
                TrafficSplit::of("heritage")
                    .version(SplitVersion::V1alpha2)
                    .backend("web-v1", 1)
                    .backend("web-v2", 3),
            );
            match web
                .namespace
                .kubectl()
                .feed(&["apply", "--filename=-"], &object.0)
            {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Pending(error.to_string()),
            }
        });
        helm.install_definitions(&["--take-ownership"]);
        away.end();
    }
    wait_until("all objects are stored in the newest version", || {
        let stored = must(kubectl.get(&[definition]))["status"]["storedVersions"].clone();
        Progress::when(stored == json!(["v1alpha4"]), (), || stored.to_string())
    });
    web.root("heritage");
    let split = Object::from(TrafficSplit::of("heritage"));
    web.namespace
        .await_condition(&split, "Accepted", "True", "Accepted");
    let spec = web.namespace.read(&split)["spec"].clone();
    let backends = json!([{"service": "web-v1", "weight": 1}, {"service": "web-v2", "weight": 3}]);
    assert_eq!(spec, json!({"service": "heritage", "backends": backends}));
    web.client.enforces_split(&split);
    let report = web
        .client
        .load(Load::http("heritage").requests(2000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "web-v2", 0.75);
}

/// The definition as meshes had it that stored v1alpha2 and converted nothing.
fn earlier_definition() -> Value {
    let version = |name: &str, stored: bool| {
        json!({
            "name": name, "served": stored, "storage": stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object", "required": ["service", "backends"],
                "properties": {
                    "service": {"type": "string"},
                    "backends": {"type": "array", "items": {
                        "type": "object", "required": ["service", "weight"],
                        "properties": {"service": {"type": "string"}, "weight": {"type": "number"}},
                    }},
                },
            }}}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "trafficsplits.split.smi-spec.io"},
        "spec": {
            "group": "split.smi-spec.io", "scope": "Namespaced",
            "names": {"kind": "TrafficSplit", "listKind": "TrafficSplitList", "plural": "trafficsplits",
                      "singular": "trafficsplit", "shortNames": ["ts"]},
            "versions": [version("v1alpha2", true), version("v1alpha3", false), version("v1alpha4", false)],
        },
    })
}
