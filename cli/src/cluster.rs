//! What is read from the cluster: once, and only read.

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
use crate::world::text;

/// How long a call of the API server may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// Reads everything that is checked.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn snapshot(client: &Client, namespace: &str) -> anyhow::Result<Snapshot> {
    let crds = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let hooks = |kind: &str| GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let core = |kind: &str| GroupVersionKind::gvk("", "v1", kind);
    let mut snapshot = Snapshot {
        namespace: namespace.to_owned(),
        definitions: list(client, None, &ApiResource::from_gvk(&crds)).await?,
        deployments: list(
            client,
            Some(namespace),
            &ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")),
        )
        .await?,
        mutating: list(
            client,
            None,
            &ApiResource::from_gvk(&hooks("MutatingWebhookConfiguration")),
        )
        .await?,
        validating: list(
            client,
            None,
            &ApiResource::from_gvk(&hooks("ValidatingWebhookConfiguration")),
        )
        .await?,
        namespaces: list(client, None, &ApiResource::from_gvk(&core("Namespace"))).await?,
        meshes: list(
            client,
            None,
            &ApiResource::from_gvk(&GroupVersionKind::gvk(
                "mesh.smilax.dev",
                "v1alpha1",
                "MeshConfig",
            )),
        )
        .await?,
        pods: list(client, None, &ApiResource::from_gvk(&core("Pod"))).await?,
        objects: Vec::new(),
        keyed: keyed(client).await?,
    };
    for (group, kind, plural) in SMI_KINDS {
        let gvk = GroupVersionKind::gvk(group, "v1alpha4", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let mut found = list(client, None, &resource).await?;
        for object in &mut found {
            object["kind"] = Value::from(kind);
        }
        snapshot.objects.append(&mut found);
    }
    Ok(snapshot)
}

/// Reads everything that decides what is in force in namespaces.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn settings(client: &Client, installation: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for (group, version, kind, namespace) in [
        ("", "v1", "Namespace", None),
        ("", "v1", "ServiceAccount", None),
        ("apps", "v1", "Deployment", Some(installation)),
        ("mesh.smilax.dev", "v1alpha1", "MeshConfig", None),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let found = list(client, namespace, &resource).await?;
        all.append(&mut typed(found, &resource.api_version, kind));
    }
    Ok(all)
}

/// Everything that labels and annotations of the mesh are written on, beside Namespaces and pods.
async fn keyed(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for (group, api_version, kinds) in [
        ("", "v1", ["ServiceAccount", "Service"].as_slice()),
        (
            "apps",
            "apps/v1",
            &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"],
        ),
        ("batch", "batch/v1", &["Job", "CronJob"]),
    ] {
        for kind in kinds {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            all.append(&mut typed(
                list(client, None, &resource).await?,
                api_version,
                kind,
            ));
        }
    }
    Ok(all)
}

/// Reads everything that policy is compiled from.
pub(crate) async fn policy(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let deployment = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let found = list(client, Some(namespace), &ApiResource::from_gvk(&deployment)).await?;
    let mut all = typed(found, "apps/v1", "Deployment");
    for kind in ["Namespace", "ServiceAccount", "Service", "Pod"] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        all.append(&mut typed(list(client, None, &resource).await?, "v1", kind));
    }
    let slices = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
    let found = list(client, None, &ApiResource::from_gvk(&slices)).await?;
    all.append(&mut typed(found, "discovery.k8s.io/v1", "EndpointSlice"));
    let mesh = GroupVersionKind::gvk("mesh.smilax.dev", "v1alpha1", "MeshConfig");
    let found = list(client, None, &ApiResource::from_gvk(&mesh)).await?;
    all.append(&mut typed(found, "mesh.smilax.dev/v1alpha1", "MeshConfig"));
    for (group, kind, plural) in SMI_KINDS {
        let gvk = GroupVersionKind::gvk(group, "v1alpha4", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let found = list(client, None, &resource).await?;
        all.append(&mut typed(found, &format!("{group}/v1alpha4"), kind));
    }
    Ok(all)
}

/// Elements of a list do not say what they are; these do.
fn typed(mut objects: Vec<Value>, api_version: &str, kind: &str) -> Vec<Value> {
    for object in &mut objects {
        object["apiVersion"] = Value::from(api_version);
        object["kind"] = Value::from(kind);
    }
    objects
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

/// What is said to who may not list something, with the role that allows it.
fn forbidden(resource: &ApiResource, namespace: Option<&str>) -> String {
    let plural = &resource.plural;
    match namespace {
        Some(namespace) => format!(
            "you may not list {plural} in namespace {namespace}: ask for the ClusterRole view there (kubectl create rolebinding)"
        ),
        None => format!(
            "you may not list {plural} in all namespaces: ask for the ClusterRole view for all of them (kubectl create clusterrolebinding)"
        ),
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
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
            let all = list(client, None, &resource).await.unwrap_or_default();
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
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        return list(client, None, &resource).await;
    };
    let all = Api::<Namespace>::all(client.clone());
    let found = timeout(CALL, all.get_opt(name))
        .await
        .context("the API server does not answer")?
        .with_context(|| format!("namespace {name} cannot be read: ask for the ClusterRole view there"))?;
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
            Err(kube::Error::Api(status)) if status.code == 403 => bail!(forbidden(resource, namespace)),
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
