//! What is read from the cluster: once, and only read.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::timeout;

use crate::args::ClusterArgs;
use crate::check::{SMI_KINDS, Snapshot};
use crate::names;
use crate::operator::{self, Operator};
use crate::world::text;

/// How long a call of the API server may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// Reads everything that is checked.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn snapshot(client: &Client, namespace: &str) -> anyhow::Result<Snapshot> {
    let hooks = |kind| resource("admissionregistration.k8s.io", kind);
    let definitions = resource("apiextensions.k8s.io", "CustomResourceDefinition");
    let slices = resource("discovery.k8s.io", "EndpointSlice");
    let mut snapshot = Snapshot {
        namespace: namespace.to_owned(),
        definitions: list(client, None, &definitions).await?,
        deployments: list(client, Some(namespace), &resource("apps", "Deployment")).await?,
        mutating: list(client, None, &hooks("MutatingWebhookConfiguration")).await?,
        validating: list(client, None, &hooks("ValidatingWebhookConfiguration")).await?,
        namespaces: list(client, None, &resource("", "Namespace")).await?,
        meshes: list(client, None, &mesh_config()).await?,
        pods: list(client, None, &resource("", "Pod")).await?,
        objects: Vec::new(),
        keyed: keyed(client).await?,
        slices: typed(client, None, &slices).await?,
        leader: leader(client, namespace).await?,
    };
    for (group, kind, plural) in SMI_KINDS {
        let mut found = typed(client, None, &smi(group, kind, plural)).await?;
        snapshot.objects.append(&mut found);
    }
    Ok(snapshot)
}

/// Reads everything that decides what is in force in namespaces.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn settings(client: &Client, installation: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = operator(client, installation).await?;
    operator::expect(&all, installation)?;
    for resource in [
        resource("", "Namespace"),
        resource("", "ServiceAccount"),
        mesh_config(),
    ] {
        all.append(&mut typed(client, None, &resource).await?);
    }
    Ok(all)
}

/// The operator's Deployment with the pod template that is in force, which is not always the one that it asks for. Nothing where it is not
/// installed.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn operator(client: &Client, installation: &str) -> anyhow::Result<Vec<Value>> {
    let scope = Some(installation);
    let deployments = typed(client, scope, &resource("apps", "Deployment")).await?;
    let pods = labelled(client, scope, &resource("", "Pod"), operator::SELECTOR).await?;
    let leader = leader(client, installation).await?;
    let found = Operator::find(&deployments, &pods, leader.as_deref());
    Ok(found.iter().map(Operator::in_force).collect())
}

/// The operator's pod that leads. `None` where nobody does, and for who may not see it: any pod that is ready answers nearly as well.
async fn leader(client: &Client, installation: &str) -> anyhow::Result<Option<String>> {
    let leases = resource("coordination.k8s.io", "Lease");
    let leases = match seen(list(client, Some(installation), &leases).await)? {
        Seen::All(leases) => leases,
        Seen::Forbidden(_) => Vec::new(),
    };
    Ok(operator::leader(&leases).map(ToOwned::to_owned))
}

/// What somebody may see of the cluster.
pub(crate) enum Seen {
    All(Vec<Value>),
    /// Nothing, which is not the same as that there is nothing. As a sentence, with the role that allows it.
    Forbidden(String),
}

/// Sets apart what may not be listed, for answers that can do without it and say so.
///
/// # Errors
/// Any other than that it is forbidden.
pub(crate) fn seen(listed: anyhow::Result<Vec<Value>>) -> anyhow::Result<Seen> {
    match listed {
        Ok(all) => Ok(Seen::All(all)),
        Err(error) => match error.downcast::<Forbidden>() {
            Ok(Forbidden(told)) => Ok(Seen::Forbidden(told)),
            Err(error) => Err(error),
        },
    }
}

/// Something may not be listed.
#[derive(Debug)]
struct Forbidden(String);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Forbidden {}

/// Everything that labels and annotations of the mesh are written on, beside Namespaces and pods.
async fn keyed(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for (group, kinds) in [
        ("", ["ServiceAccount", "Service"].as_slice()),
        ("apps", &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]),
        ("batch", &["Job", "CronJob"]),
    ] {
        for kind in kinds {
            all.append(&mut typed(client, None, &resource(group, kind)).await?);
        }
    }
    Ok(all)
}

/// Reads everything that policy is compiled from.
pub(crate) async fn policy(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = operator(client, namespace).await?;
    for kind in ["Namespace", "ServiceAccount", "Service", "Pod"] {
        all.append(&mut typed(client, None, &resource("", kind)).await?);
    }
    let slices = resource("discovery.k8s.io", "EndpointSlice");
    all.append(&mut typed(client, None, &slices).await?);
    all.append(&mut typed(client, None, &mesh_config()).await?);
    for (group, kind, plural) in SMI_KINDS {
        all.append(&mut typed(client, None, &smi(group, kind, plural)).await?);
    }
    Ok(all)
}

/// A resource of Kubernetes itself, in version v1. The core group has no name.
pub(crate) fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

/// A resource of SMI, in the stored version.
pub(crate) fn smi(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1alpha4", kind), plural)
}

/// The settings of the mesh.
pub(crate) fn mesh_config() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "mesh.smilax.dev",
        "v1alpha1",
        "MeshConfig",
    ))
}

/// Every object of a resource, each saying what it is: elements of a list do not.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn typed(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> anyhow::Result<Vec<Value>> {
    let mut objects = list(client, namespace, resource).await?;
    for object in &mut objects {
        object["apiVersion"] = Value::from(resource.api_version.as_str());
        object["kind"] = Value::from(resource.kind.as_str());
    }
    Ok(objects)
}

/// Access to the cluster.
///
/// # Errors
/// When there is no kubeconfig, or the API server does not answer.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<Client> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = match (&args.kubeconfig, &args.context) {
        (Some(file), _) => {
            let name = || format!("kubeconfig {}", file.display());
            let kubeconfig =
                Kubeconfig::read_from(file).with_context(|| format!("{} cannot be read", name()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(|| format!("{} cannot be used", name()))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .context("the kubeconfig cannot be read")?,
        (None, None) => Config::infer()
            .await
            .context("no cluster: name a kubeconfig file with --kubeconfig or KUBECONFIG")?,
    };
    let client = Client::try_from(config)?;
    timeout(CALL, client.apiserver_version())
        .await
        .context("the API server does not answer")?
        .context("the API server cannot be reached")?;
    Ok(client)
}

/// What is said to who may not list something, with the role that allows it: `view` knows nothing of what is of no namespace.
fn forbidden(resource: &ApiResource, namespace: Option<&str>) -> Forbidden {
    let what = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    Forbidden(match namespace {
        Some(namespace) => format!(
            "you may not list {what} in namespace {namespace}: ask for a RoleBinding there to the ClusterRole view, or to smilax-debug of docs/debug.md"
        ),
        None => format!(
            "you may not list {what} in all namespaces: ask for a ClusterRoleBinding to the ClusterRole smilax-debug of docs/debug.md"
        ),
    })
}

/// What is said of an object in a namespace, or of a namespace, that could not be read; without the right to, with the
/// role that allows it.
pub(crate) fn unreadable(what: &str, error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let told =
                format!("you may not read {what}: ask for a RoleBinding there to the ClusterRole view");
            Forbidden(told).into()
        }
        error => anyhow::Error::new(error).context(format!("{what} cannot be read")),
    }
}

/// Makes sure that a namespace exists, as far as that may be asked: an empty answer about a mistyped one would look like good news.
///
/// # Errors
/// When there is none of that name.
pub(crate) async fn expect_namespace(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    match timeout(CALL, namespaces.get_opt(namespace))
        .await
        .context("the API server does not answer")?
    {
        Ok(None) => {
            let all = list(client, None, &resource("", "Namespace")).await;
            let all = all.unwrap_or_default();
            let known = all.iter().map(|one| text(one, "/metadata/name"));
            bail!(
                "there is no namespace {namespace}{}",
                names::did_you_mean(namespace, known)
            )
        }
        // Who may not ask finds out by what else is read.
        Ok(Some(_)) | Err(kube::Error::Api(_)) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("namespace {namespace} cannot be read")),
    }
}

/// One namespace, or all. Who may see one need not see the others.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn namespaces(client: &Client, only: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let Some(name) = only else {
        return list(client, None, &resource("", "Namespace")).await;
    };
    let all = Api::<Namespace>::all(client.clone());
    let found = timeout(CALL, all.get_opt(name))
        .await
        .context("the API server does not answer")?;
    let found = found.map_err(|error| unreadable(&format!("namespace {name}"), error))?;
    let found = found.iter().map(serde_json::to_value);
    Ok(found.collect::<Result<_, _>>()?)
}

/// Every object of a resource; none when the cluster does not serve it.
pub(crate) async fn list(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> anyhow::Result<Vec<Value>> {
    labelled(client, namespace, resource, "").await
}

/// Every such object with labels.
pub(crate) async fn labelled(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
    labels: &str,
) -> anyhow::Result<Vec<Value>> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let mut all = Vec::new();
    let mut params = ListParams::default().labels(labels).limit(500);
    loop {
        let page = match timeout(CALL, api.list(&params))
            .await
            .context("the API server does not answer")?
        {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(all),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(forbidden(resource, namespace).into());
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be listed", resource.plural)),
        };
        for object in &page.items {
            all.push(serde_json::to_value(object)?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}
