//! What is read for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use k8s_openapi::api::core::v1::LimitRange;
use kube::Client;
use serde_json::{Value, json};
use smilax_compiler::Modes;
use smilax_core::convention::key;
use smilax_operator::app::inject_settings;
use smilax_operator::args::Args as OperatorArgs;
use smilax_operator::cluster_view::{LimitRangeView, NamespaceView};

use super::why::{Mesh, Place, Webhook};
use crate::check;
use crate::cluster::{self, Seen, resource};
use crate::controller::{Controller, is_gone};
use crate::mesh;
use crate::names;
use crate::world::text;

const WEBHOOK: &str = "smilax-inject";

/// How the mesh injects: what the operator's pods run with and the MeshConfig says.
pub(super) async fn mesh(client: &Client, installation: &str) -> anyhow::Result<Mesh> {
    // Who sees one namespace only is told what follows from the usual settings, and from a webhook that is there; and that it is so.
    let mut unseen = Vec::new();
    let mut or_assumed = |listed, assumed: &str| {
        Ok::<_, anyhow::Error>(match cluster::seen(listed)? {
            Seen::All(all) => Some(all),
            Seen::Forbidden(told) => {
                unseen.push(format!("{assumed}: {told}"));
                None
            }
        })
    };
    let operator = cluster::operator(client, installation).await;
    let operator = or_assumed(operator, "The installation is taken to have the usual settings")?;
    let configs = cluster::typed(client, None, &cluster::mesh_config()).await;
    let configs = or_assumed(configs, "The MeshConfig is taken to set nothing")?;
    let hooks = resource("admissionregistration.k8s.io", "MutatingWebhookConfiguration");
    let hooks = cluster::list(client, None, &hooks).await;
    let hooks = or_assumed(hooks, "The webhook smilax-inject is taken to be registered")?;
    if operator.as_ref().is_some_and(Vec::is_empty) {
        unseen.push(format!(
            "No operator is in namespace {installation} (--smilax-namespace names another), so the usual settings are assumed"
        ));
    }
    let operator = operator.unwrap_or_default();
    let settings = inject_settings(&arguments(operator.first(), installation).run)?;
    let objects = [operator, configs.unwrap_or_default()].concat();
    Ok(Mesh {
        settings,
        access: mesh::settings(&objects),
        webhook: hooks.map_or(Webhook::Registered(None), |hooks| webhook(&hooks)),
        unseen,
    })
}

/// The operator's arguments as its Deployment has them; the usual ones where a later version knows others.
fn arguments(operator: Option<&Value>, installation: &str) -> OperatorArgs {
    let container = operator.map_or(&Value::Null, |one| {
        &one["spec"]["template"]["spec"]["containers"][0]
    });
    let written = container["args"].as_array();
    let written = written.into_iter().flatten().filter_map(Value::as_str);
    // What stands in variables of the pod is not known here.
    let written = written.filter(|argument| !argument.contains("$("));
    let program = ["smilax-operator", "--namespace", installation];
    let given: Vec<&str> = program.into_iter().chain(written).collect();
    OperatorArgs::try_parse_from(given)
        .or_else(|_| OperatorArgs::try_parse_from(program))
        .unwrap_or_else(|_| OperatorArgs::parse_from(["smilax-operator"]))
}

pub(super) fn webhook(hooks: &[Value]) -> Webhook {
    let Some(found) = hooks.iter().find(|one| one["metadata"]["name"] == WEBHOOK) else {
        return Webhook::Missing;
    };
    let mut all = found["webhooks"].as_array().into_iter().flatten();
    let unpublished = all.any(|hook| text(hook, "/clientConfig/caBundle").is_empty());
    if unpublished {
        return Webhook::Unpublished;
    }
    let since = found["metadata"]["creationTimestamp"].as_str();
    Webhook::Registered(since.map(ToOwned::to_owned))
}

/// Every workload of all namespaces: its pods, or its template where it has none.
pub(super) async fn everything(client: &Client, unseen: &mut Vec<String>) -> anyhow::Result<Vec<Value>> {
    let pods = cluster::list(client, None, &resource("", "Pod")).await?;
    with_templates(client, None, pods, unseen).await
}

/// Every workload of a namespace, in the same way.
pub(super) async fn namespace(
    client: &Client,
    namespace: &str,
    unseen: &mut Vec<String>,
) -> anyhow::Result<Vec<Value>> {
    let pods = pods(client, namespace).await?;
    with_templates(client, Some(namespace), pods, unseen).await
}

async fn pods(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    cluster::expect_namespace(client, namespace).await?;
    cluster::list(client, Some(namespace), &resource("", "Pod")).await
}

/// Adds the templates of workloads that have no pod: nothing else tells of those whose pods are all refused.
async fn with_templates(
    client: &Client,
    namespace: Option<&str>,
    mut pods: Vec<Value>,
    unseen: &mut Vec<String>,
) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (group, kind) in Controller::RESOURCES {
        match cluster::seen(cluster::typed(client, namespace, &resource(group, kind)).await)? {
            Seen::All(mut all) => objects.append(&mut all),
            Seen::Forbidden(told) => {
                unseen.push(format!("Workloads without pods are not known: {told}"));
            }
        }
    }
    let mut templates = templates(&objects, &pods);
    pods.append(&mut templates);
    Ok(pods)
}

/// The templates of these workloads, as pods, where none of these pods is of them.
pub(super) fn templates(objects: &[Value], pods: &[Value]) -> Vec<Value> {
    let with_pods: BTreeSet<Controller> = pods
        .iter()
        .filter(|pod| !is_gone(pod))
        .map(Controller::of)
        .collect();
    let is_done = |object: &Value| !object["status"]["completionTime"].is_null();
    let own = objects
        .iter()
        .filter(|object| object["metadata"]["ownerReferences"].is_null() && !is_done(object));
    own.filter_map(|object| Some((Controller::of_object(object)?, object)))
        .filter(|(controller, _)| !with_pods.contains(controller))
        .map(|(controller, object)| template(&controller, object))
        .collect()
}

/// The pod template of a workload, with what its status tells of pods that could not be created.
fn template(controller: &Controller, object: &Value) -> Value {
    let mut pod = object["spec"]["template"].clone();
    pod["kind"] = json!("PodTemplate");
    pod["metadata"]["namespace"] = json!(controller.namespace);
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": controller.kind, "name": controller.name, "controller": true}]);
    pod["status"] = json!({"message": check::refused(object)});
    pod
}

/// One pod; where there is none of a bare name, the pods of the namespace with that name.
pub(super) async fn pod(
    client: &Client,
    written: Option<&str>,
    of_option: &str,
    pod: &str,
    unseen: &mut Vec<String>,
) -> anyhow::Result<Vec<Value>> {
    let namespace = written.unwrap_or(of_option);
    let mut pods = cluster::list(client, Some(namespace), &resource("", "Pod")).await?;
    let names: Vec<String> = pods
        .iter()
        .map(|one| text(one, "/metadata/name").to_owned())
        .collect();
    pods.retain(|one| one["metadata"]["name"] == *pod);
    if !pods.is_empty() {
        return Ok(pods);
    }
    let is_namespace = written.is_none()
        && cluster::namespaces(client, Some(pod))
            .await
            .is_ok_and(|found| !found.is_empty());
    if is_namespace {
        return self::namespace(client, pod, unseen).await;
    }
    bail!(names::missing(
        "pod",
        pod,
        namespace,
        names.iter().map(String::as_str)
    ))
}

/// The pods of a controller; its template where it has none.
pub(super) async fn controller(
    client: &Client,
    namespace: &str,
    kind: &'static str,
    name: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut pods = pods(client, namespace).await?;
    pods.retain(|pod| {
        let controller = Controller::of(pod);
        controller.kind == kind && controller.name == name
    });
    if !pods.is_empty() {
        return Ok(pods);
    }
    let (group, kind_name) = Controller::resource(kind).context("pods of this kind have no template")?;
    let found = cluster::typed(client, Some(namespace), &resource(group, kind_name)).await?;
    let Some(object) = found.iter().find(|one| one["metadata"]["name"] == *name) else {
        let known = found.iter().map(|one| text(one, "/metadata/name"));
        bail!(names::missing(kind, name, namespace, known));
    };
    let controller = Controller {
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
    };
    Ok(vec![template(&controller, object)])
}

/// The namespaces of these pods.
pub(super) async fn places(
    client: &Client,
    mesh: &Mesh,
    pods: &[Value],
    unseen: &mut Vec<String>,
) -> anyhow::Result<BTreeMap<String, Place>> {
    let mut limits: BTreeMap<String, Vec<LimitRangeView>> = BTreeMap::new();
    let scope = one_namespace(pods);
    let ranges = cluster::list(client, scope, &resource("", "LimitRange")).await;
    let ranges = match cluster::seen(ranges)? {
        Seen::All(all) => all,
        Seen::Forbidden(told) => {
            unseen.push(format!("What LimitRanges refuse is not known: {told}"));
            Vec::new()
        }
    };
    for object in ranges {
        let namespace = text(&object, "/metadata/namespace").to_owned();
        if let Ok(range) = serde_json::from_value::<LimitRange>(object) {
            limits.entry(namespace).or_default().push((&range).into());
        }
    }
    let namespaces = cluster::namespaces(client, scope).await?;
    let places = namespaces.iter().map(|object| {
        let name = text(object, "/metadata/name").to_owned();
        let limits = limits.remove(&name).unwrap_or_default();
        (name, place(object, limits, mesh))
    });
    Ok(places.collect())
}

/// The namespace of all of these pods, if it is one.
fn one_namespace(pods: &[Value]) -> Option<&str> {
    let mut all = pods.iter().map(|pod| text(pod, "/metadata/namespace"));
    let first = all.next()?;
    all.all(|one| one == first).then_some(first)
}

pub(super) fn place(object: &Value, limit_ranges: Vec<LimitRangeView>, mesh: &Mesh) -> Place {
    let texts = |field: &str| -> BTreeMap<String, String> {
        serde_json::from_value(object["metadata"][field].clone()).unwrap_or_default()
    };
    let annotations = texts("annotations");
    Place {
        labelled: labelled(object),
        view: NamespaceView {
            name: text(object, "/metadata/name").to_owned(),
            labels: texts("labels"),
            modes: Modes::of(&mesh.access, &annotations).0,
            annotations,
            limit_ranges,
            trust_anchors: None,
        },
    }
}

/// When the label that asks for sidecars was last written, by what the API server notes of who wrote which field.
fn labelled(namespace: &Value) -> Option<String> {
    let managers = namespace["metadata"]["managedFields"].as_array()?;
    let field = format!("f:{}", key::INJECT);
    let writes = managers
        .iter()
        .filter(|one| !one["fieldsV1"]["f:metadata"]["f:labels"][&field].is_null());
    let times = writes.filter_map(|one| one["time"].as_str());
    times.max().map(ToOwned::to_owned)
}
