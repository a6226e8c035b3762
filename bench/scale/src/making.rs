//! Makes the mesh, and the clients in it.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use smilax_chaos::api::{Api, Place};
use smilax_chaos::world::SYSTEM;
use smilax_core::workload_connection::OperatorEndpoint;
use smilax_core::{TrustDomain, Workload};
use smilax_operator::authority::{Authority, Material, Subject};
use smilax_proxy::tls::{Credentials, Trust};
use time::OffsetDateTime;

use crate::client::Client;
use crate::mesh::{self, ACCOUNT, Shape};

/// API calls under way at once.
const CONCURRENCY: usize = 16;
/// How long a call is tried again: the injector may not serve yet.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(300);
/// Addresses of loopback that the operator is reached by: [`FIRST_ADDRESS`] and what follows. Who connects to one has
/// the same, and the operator bounds what one address may do.
pub const ADDRESSES: u32 = 100;
/// The first of them.
pub const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 199, 1, 1);
const WORKLOAD_PORT: u16 = 8444;
/// Longer than any experiment.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(12);

/// Makes everything but the pods. The operator need not run.
///
/// # Errors
/// When the API server refuses.
pub async fn services(api: &Api, shape: Shape) -> anyhow::Result<()> {
    each(shape.all_namespaces().map(mesh::namespace), |object| {
        create(api, object)
    })
    .await?;
    each(shape.all_namespaces().map(mesh::account), |object| {
        create(api, object)
    })
    .await?;
    let objects = shape.all_namespaces().flat_map(|namespace| {
        let names = shape.services_of(namespace).into_iter().enumerate();
        names.flat_map(move |(number, name)| {
            let pods = shape.behind(namespace, number);
            let slice = mesh::slice(shape, namespace, &name, &pods);
            [mesh::service(namespace, &name), slice]
        })
    });
    each(objects, |object| create(api, object)).await
}

/// Makes the pods, by way of the injector, and says that they run.
///
/// # Errors
/// When the API server or the injector refuses.
pub async fn pods(api: &Api, shape: Shape) -> anyhow::Result<()> {
    let pods = (0..shape.namespaces)
        .flat_map(|namespace| (0..shape.proxies_of_one()).map(move |pod| (namespace, pod)));
    each(pods, |(namespace, number)| async move {
        let pod = mesh::pod(namespace, number);
        let path = Place::of(&pod).path();
        create(api, pod).await?;
        let status = mesh::pod_status(shape.address(namespace, number), "True");
        api.merge(&format!("{path}/status"), &status).await?;
        Ok(())
    })
    .await
}

async fn each<T, F>(items: impl Iterator<Item = T>, make: impl Fn(T) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    futures::stream::iter(items.map(make))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

async fn create(api: &Api, object: Value) -> anyhow::Result<()> {
    let place = Place::of(&object);
    let mut tries = 0;
    loop {
        match api
            .send("POST", &place.collection, "application/json", &object)
            .await
        {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
            Err(error) if tries == TRIES => return Err(error).with_context(|| place.path()),
            Err(_) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A client for each proxy that is not whole, with a certificate as the operator would have signed it.
///
/// # Errors
/// When the authority or the pods cannot be read.
pub async fn clients(api: &Api, shape: Shape) -> anyhow::Result<(Vec<Client>, Arc<Trust>)> {
    let now = OffsetDateTime::now_utc();
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/smilax-ca");
    let secret = api.get(&path).await?.context("there is no authority yet")?;
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret)?;
    let data = secret.data.unwrap_or_default();
    let data = data.into_iter().map(|(key, value)| (key, value.0)).collect();
    let authority = Authority::examine(Material::from_data(&data)?, now)?;
    let domain = TrustDomain::default();
    let trust = Arc::new(Trust::new(authority.bundle(), domain.clone())?);
    let mut clients = Vec::new();
    for namespace in 0..shape.namespaces {
        let name = mesh::namespace_name(namespace);
        let uids = uids(api, &name).await?;
        let workload = Workload::new(name.as_str(), ACCOUNT);
        for pod in shape.light_of(namespace) {
            let pod_name = mesh::pod_name(pod);
            let uid = uids.get(&pod_name).context("a pod is missing")?;
            let subject = Subject {
                trust_domain: &domain,
                workload: &workload,
                pod_uid: Some(uid),
            };
            let (issued, key) = authority.sign_own(&subject, CERTIFICATE_LIFE, now)?;
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            let number = clients.len();
            clients.push(Client {
                number,
                pod: pod_name,
                credentials: Credentials::new(&key.into(), issued.chain.as_bytes())?,
                operator: operator(number)?,
                uses: shape.uses(namespace, pod),
            });
        }
    }
    Ok((clients, trust))
}

async fn uids(api: &Api, namespace: &str) -> anyhow::Result<HashMap<String, String>> {
    let pods = api.list(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let mut uids = HashMap::new();
    for pod in pods {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let injected = text("/metadata/annotations/smilax.dev~1inject-status");
        ensure!(
            injected.as_deref() == Some("injected"),
            "a pod is not injected: {injected:?}"
        );
        uids.insert(
            text("/metadata/name").context("no name")?,
            text("/metadata/uid").context("no UID")?,
        );
    }
    Ok(uids)
}

fn operator(client: usize) -> anyhow::Result<OperatorEndpoint> {
    let nth = u32::try_from(client)? % ADDRESSES;
    let address = Ipv4Addr::from(u32::from(FIRST_ADDRESS) + nth);
    Ok(OperatorEndpoint {
        addresses: vec![SocketAddr::new(IpAddr::V4(address), WORKLOAD_PORT)],
        workload: Workload::new(SYSTEM, "smilax-operator"),
    })
}
