//! What happens in the cluster in every run: a mesh is installed, joined, ruled, changed, shrunk, and gets a new root.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::api::{Api, Place};
use crate::objects::{self, Pod};
use crate::snapshot::{DEFINITIONS, MESH, SMI, WEBHOOKS};
use crate::world::SYSTEM;

const SEEN_WITHIN: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(20);

/// A part of the scenario. Each leaves the cluster in a state that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The operator starts for the first time.
    Install,
    /// Namespaces, accounts, Services, pods and their endpoints appear.
    Join,
    /// Splits, groups, targets and routes are made, one of them wrong.
    Rule,
    /// They are changed, and so are Services and pods.
    Change,
    /// Objects, pods, an account and a namespace go.
    Shrink,
    /// A new root is asked for.
    Rotate,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Install,
        Self::Join,
        Self::Rule,
        Self::Change,
        Self::Shrink,
        Self::Rotate,
    ];

    /// Word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Join => "join",
            Self::Rule => "rule",
            Self::Change => "change",
            Self::Shrink => "shrink",
            Self::Rotate => "rotate",
        }
    }

    /// Does what belongs to it.
    pub async fn play(self, api: &Api) -> anyhow::Result<()> {
        match self {
            // Starting the operator is all of it.
            Self::Install => Ok(()),
            Self::Join => join(api).await,
            Self::Rule => rule(api).await,
            Self::Change => change(api).await,
            Self::Shrink => shrink(api).await,
            Self::Rotate => rotate(api).await,
        }
    }
}

async fn join(api: &Api) -> anyhow::Result<()> {
    for namespace in ["shop", "edge"] {
        api.apply(objects::namespace(namespace)).await?;
    }
    for (namespace, account) in [
        ("shop", "web"),
        ("shop", "api"),
        ("shop", "old"),
        ("edge", "door"),
    ] {
        api.apply(objects::account(namespace, account)).await?;
    }
    for (name, number) in [("web", 10), ("web-v1", 11), ("web-v2", 12), ("api", 13)] {
        api.apply(objects::service("shop", name, number)).await?;
    }
    api.apply(objects::service("edge", "door", 14)).await?;
    for pod in [
        Pod::new("shop", "web-v1-a", "web", 11),
        Pod::new("shop", "web-v2-a", "web", 12),
        Pod::new("shop", "api-a", "api", 13),
        Pod::new("shop", "old-a", "old", 15),
        Pod::new("edge", "door-a", "door", 14),
    ] {
        pod.create(api).await?;
    }
    for (service, pods) in [
        ("web", &["web-v1-a", "web-v2-a"][..]),
        ("web-v1", &["web-v1-a"]),
        ("web-v2", &["web-v2-a"]),
        ("api", &["api-a"]),
    ] {
        api.apply(objects::slice("shop", service, pods)).await?;
    }
    Ok(())
}

async fn rule(api: &Api) -> anyhow::Result<()> {
    seen(api, objects::group("shop", "pages", "/pages")).await?;
    seen(api, objects::group("shop", "unused", "/nowhere")).await?;
    seen(api, objects::tcp_route("shop", "plain")).await?;
    seen(
        api,
        objects::split("shop", "web", &[("web-v1", 90), ("web-v2", 10)]),
    )
    .await?;
    // Its Service and its backend do not exist.
    seen(api, objects::split("shop", "broken", &[("nobody", 1)])).await?;
    seen(
        api,
        objects::target("shop", "web", &["api"], &[("HTTPRouteGroup", "pages")]),
    )
    .await?;
    seen(
        api,
        objects::target("shop", "api", &["web"], &[("TCPRoute", "plain")]),
    )
    .await?;
    seen(
        api,
        objects::target("edge", "door", &["door"], &[("HTTPRouteGroup", "missing")]),
    )
    .await?;
    Ok(())
}

async fn change(api: &Api) -> anyhow::Result<()> {
    seen(
        api,
        objects::split("shop", "web", &[("web-v1", 50), ("web-v2", 50)]),
    )
    .await?;
    seen(api, objects::group("shop", "pages", "/other")).await?;
    seen(
        api,
        objects::target("shop", "web", &["api", "old"], &[("HTTPRouteGroup", "pages")]),
    )
    .await?;
    seen(api, objects::group("edge", "missing", "/found")).await?;
    api.apply(objects::account("shop", "new")).await?;
    Pod::new("shop", "new-a", "new", 16).create(api).await?;
    api.apply(objects::service("shop", "new", 16)).await?;
    api.apply(objects::slice("shop", "new", &["new-a"])).await?;
    api.apply(objects::slice("shop", "web", &["web-v2-a"])).await?;
    Ok(())
}

/// Applies an object, and waits until its status is of its generation: kinds are watched apart, and what refers to an
/// object that is not seen yet would be told of now and then.
async fn seen(api: &Api, object: Value) -> anyhow::Result<()> {
    let path = Place::of(&object).path();
    let generation = api.apply(object).await?["metadata"]["generation"].clone();
    let start = Instant::now();
    loop {
        let found = api.get(&path).await?.unwrap_or_default();
        let conditions = found["status"]["conditions"].as_array();
        if conditions.is_some_and(|all| all.iter().any(|one| one["observedGeneration"] == generation)) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < SEEN_WITHIN,
            "{path} has no status of its generation"
        );
        tokio::time::sleep(LOOK).await;
    }
}

async fn shrink(api: &Api) -> anyhow::Result<()> {
    let smi = |group: &str, kind: &str, name: &str| {
        format!("/apis/{group}.smi-spec.io/v1alpha4/namespaces/shop/{kind}/{name}")
    };
    api.delete(&smi("split", "trafficsplits", "broken")).await?;
    api.delete(&smi("access", "traffictargets", "api")).await?;
    api.delete(&smi("specs", "httproutegroups", "unused")).await?;
    api.delete("/api/v1/namespaces/shop/pods/old-a").await?;
    api.delete("/api/v1/namespaces/shop/serviceaccounts/old").await?;
    end_namespace(api, "edge").await
}

async fn rotate(api: &Api) -> anyhow::Result<()> {
    // A change of the authority waits for proxies that are Ready, and there are none behind these pods.
    for pod in api.list("/api/v1/pods").await? {
        let (namespace, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
        if let (Some(namespace), Some(name)) = (namespace.as_str(), name.as_str()) {
            api.apply_status(objects::readiness(namespace, name, "False"))
                .await?;
        }
    }
    api.merge(
        &format!("{MESH}/default"),
        &json!({"metadata": {"annotations": {"smilax.dev/rotate": "root/first"}}}),
    )
    .await?;
    Ok(())
}

/// Plays the controller of namespaces: what is in it goes, then the namespace.
pub async fn end_namespace(api: &Api, name: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{name}");
    api.delete(&path).await?;
    empty(api, name).await?;
    if let Some(mut namespace) = api.get(&path).await? {
        namespace["spec"]["finalizers"] = json!([]);
        // It may be gone meanwhile.
        api.send("PUT", &format!("{path}/finalize"), "application/json", &namespace)
            .await
            .ok();
    }
    Ok(())
}

async fn empty(api: &Api, name: &str) -> anyhow::Result<()> {
    let core = ["pods", "services", "serviceaccounts", "configmaps", "events"]
        .map(|kind| format!("/api/v1/namespaces/{name}/{kind}"));
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{name}/endpointslices");
    let smi = SMI.iter().filter_map(|path| {
        let (group, kind) = path.rsplit_once('/')?;
        Some(format!("{group}/namespaces/{name}/{kind}"))
    });
    for collection in smi.chain(core).chain([slices]) {
        for object in api.list(&collection).await? {
            if let Some(name) = object["metadata"]["name"].as_str() {
                api.delete(&format!("{collection}/{name}")).await?;
            }
        }
    }
    Ok(())
}

/// Brings the cluster back to before the operator ever ran, with a MeshConfig.
pub async fn reset(api: &Api) -> anyhow::Result<()> {
    for namespace in api.list("/api/v1/namespaces").await? {
        let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with("kube-") && !matches!(name, SYSTEM | "default") {
            end_namespace(api, name).await?;
        }
    }
    for namespace in [SYSTEM, "default"] {
        for event in api
            .list(&format!("/api/v1/namespaces/{namespace}/events"))
            .await?
        {
            let name = event["metadata"]["name"].as_str().unwrap_or_default();
            api.delete(&format!("/api/v1/namespaces/{namespace}/events/{name}"))
                .await?;
        }
    }
    for secret in ["smilax-ca", "smilax-webhook-tls"] {
        api.delete(&format!("/api/v1/namespaces/{SYSTEM}/secrets/{secret}"))
            .await?;
    }
    api.delete(&format!(
        "/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/smilax-operator"
    ))
    .await?;
    api.delete(&format!("{MESH}/default")).await?;
    for path in [DEFINITIONS, WEBHOOKS[0], WEBHOOKS[1]] {
        for object in api.list(path).await? {
            if let Some(change) = without_bundle(&object) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                api.merge(&format!("{path}/{name}"), &change).await?;
            }
        }
    }
    api.apply(objects::mesh()).await?;
    Ok(())
}

/// The change that takes the bundle of the webhooks out, where there is one.
fn without_bundle(object: &Value) -> Option<Value> {
    if let Value::Array(hooks) = &object["webhooks"] {
        let mut hooks = hooks.clone();
        let mut carried = false;
        for hook in &mut hooks {
            carried |= hook["clientConfig"]
                .as_object_mut()
                .is_some_and(|config| config.remove("caBundle").is_some());
        }
        return carried.then(|| json!({"webhooks": hooks}));
    }
    object.pointer("/spec/conversion/webhook/clientConfig/caBundle")?;
    Some(json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": null}}}}}))
}
