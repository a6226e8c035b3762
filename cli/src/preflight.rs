//! What is read for `check --pre`.

use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::timeout;

use crate::check::Before;
use crate::cluster::{self, CALL, Seen};

/// What the charts create outside of any namespace: API group and resource.
const OF_CLUSTER: [(&str, &str); 8] = [
    ("", "namespaces"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
    ),
];
/// What they create in the namespace of the installation.
const OF_NAMESPACE: [(&str, &str); 9] = [
    ("", "serviceaccounts"),
    ("", "services"),
    ("", "secrets"),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "networkpolicies"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

/// Reads what is looked at before an installation into this namespace.
///
/// # Errors
/// When something cannot be read that every user may read.
pub(crate) async fn read(client: &Client, installation: &str) -> anyhow::Result<Before> {
    let version = timeout(CALL, client.apiserver_version())
        .await
        .context("the API server does not answer")?
        .context("the version of the API server cannot be read")?;
    let groups = timeout(CALL, client.list_api_groups())
        .await
        .context("the API server does not answer")?
        .context("the API groups cannot be listed")?;
    let served = groups.groups.into_iter().flat_map(|group| group.versions);
    let mut denied = Vec::new();
    let of_cluster = OF_CLUSTER.map(|one| (one, None));
    let of_namespace = OF_NAMESPACE.map(|one| (one, Some(installation)));
    let all = of_cluster.into_iter().chain(of_namespace);
    for ((group, resource), namespace) in all {
        if !may_create(client, (group, resource), namespace).await? {
            denied.push(match group {
                "" => resource.to_owned(),
                group => format!("{resource}.{group}"),
            });
        }
    }
    // Who may not see them is not told that there are none.
    let list = async |group: &str, kind: &str| -> anyhow::Result<Option<Vec<Value>>> {
        let listed = cluster::list(client, None, &cluster::resource(group, kind)).await;
        Ok(match cluster::seen(listed)? {
            Seen::All(all) => Some(all),
            Seen::Forbidden(_) => None,
        })
    };
    Ok(Before {
        version: version.git_version,
        denied,
        asked: OF_CLUSTER.len() + OF_NAMESPACE.len(),
        served: served.map(|version| version.group_version).collect(),
        definitions: list("apiextensions.k8s.io", "CustomResourceDefinition").await?,
        mutating: list("admissionregistration.k8s.io", "MutatingWebhookConfiguration").await?,
        nodes: list("", "Node").await?,
    })
}

async fn may_create(
    client: &Client,
    (group, resource): (&str, &str),
    namespace: Option<&str>,
) -> anyhow::Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: namespace.map(ToOwned::to_owned),
                verb: Some("create".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = timeout(CALL, reviews.create(&PostParams::default(), &review))
        .await
        .context("the API server does not answer")?
        .context("your rights cannot be asked for")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
