//! What is read from the cluster: once, and only read.

use std::time::Duration;

use anyhow::Context as _;
use kube::api::ListParams;
use kube::config::KubeConfigOptions;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::timeout;

use crate::check::{SMI_KINDS, Snapshot};

/// How long a call of the API server may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// Reads everything that is checked.
pub(crate) async fn snapshot(namespace: &str, context: Option<&str>) -> anyhow::Result<Snapshot> {
    let client = connect(context).await?;
    let crds = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let hooks = |kind: &str| GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let core = |kind: &str| GroupVersionKind::gvk("", "v1", kind);
    let mut snapshot = Snapshot {
        namespace: namespace.to_owned(),
        definitions: list(&client, None, &ApiResource::from_gvk(&crds)).await?,
        deployments: list(
            &client,
            Some(namespace),
            &ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")),
        )
        .await?,
        mutating: list(
            &client,
            None,
            &ApiResource::from_gvk(&hooks("MutatingWebhookConfiguration")),
        )
        .await?,
        validating: list(
            &client,
            None,
            &ApiResource::from_gvk(&hooks("ValidatingWebhookConfiguration")),
        )
        .await?,
        namespaces: list(&client, None, &ApiResource::from_gvk(&core("Namespace"))).await?,
        meshes: list(
            &client,
            None,
            &ApiResource::from_gvk(&GroupVersionKind::gvk(
                "mesh.smilax.dev",
                "v1alpha1",
                "MeshConfig",
            )),
        )
        .await?,
        pods: list(&client, None, &ApiResource::from_gvk(&core("Pod"))).await?,
        objects: Vec::new(),
    };
    for (group, kind, plural) in SMI_KINDS {
        let gvk = GroupVersionKind::gvk(group, "v1alpha4", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let mut found = list(&client, None, &resource).await?;
        for object in &mut found {
            object["kind"] = Value::from(kind);
        }
        snapshot.objects.append(&mut found);
    }
    Ok(snapshot)
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

/// Access to the cluster of the kubeconfig.
pub(crate) async fn connect(context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let config = match context {
        Some(_) => Config::from_kubeconfig(&options)
            .await
            .context("the kubeconfig cannot be read")?,
        None => Config::infer()
            .await
            .context("no cluster: set KUBECONFIG to a kubeconfig file")?,
    };
    let client = Client::try_from(config)?;
    timeout(CALL, client.apiserver_version())
        .await
        .context("the API server does not answer")?
        .context("the API server cannot be reached")?;
    Ok(client)
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
