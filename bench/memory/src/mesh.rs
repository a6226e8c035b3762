//! The mesh: ten Services that are called, and any number that are not.

use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use smilax_chaos::api::{Api, Place};

/// Account of every pod.
pub const ACCOUNT: &str = "app";
/// Namespace of the callers, and of half of what they call: their configuration names these Services.
pub const OWN: &str = "own";
/// Namespace of the other half: the operator is asked for these on first use.
pub const OTHER: &str = "other";
/// Services that are called.
pub const CALLED: usize = 10;
/// Endpoints of each Service.
pub const ENDPOINTS: u8 = 10;
/// Port of every Service.
pub const PORT: u16 = 80;
/// Port of every endpoint; the operator is in the same network, and has 8080.
pub const POD_PORT: u16 = 9000;
/// Services of each namespace that nobody calls.
const SERVICES_OF_ONE: usize = 20;
/// API calls under way at once.
const CONCURRENCY: usize = 16;

/// A Service that is called: its namespace and name.
pub fn called() -> impl Iterator<Item = (&'static str, String)> {
    (0..CALLED).map(|number| {
        let namespace = if number < CALLED / 2 { OWN } else { OTHER };
        (namespace, format!("s{number}"))
    })
}

/// Addresses of the endpoints of a Service that is called, by its number.
pub fn endpoints_of_called(number: usize) -> impl Iterator<Item = Ipv4Addr> {
    let service = u8::try_from(number).unwrap_or(u8::MAX);
    (1..=ENDPOINTS).map(move |endpoint| Ipv4Addr::new(10, 129, service, endpoint))
}

/// Makes what is called, and returns the virtual addresses.
///
/// # Errors
/// When the API server refuses.
pub async fn make_called(api: &Api) -> anyhow::Result<Vec<Ipv4Addr>> {
    for name in [OWN, OTHER] {
        api.apply(namespace(name)).await?;
        api.apply(account(name)).await?;
    }
    let mut addresses = Vec::new();
    for (number, (namespace, name)) in called().enumerate() {
        let made = api.apply(service(namespace, &name)).await?;
        let address = made["spec"]["clusterIP"].as_str().context("no address")?;
        addresses.push(address.parse()?);
        let endpoints: Vec<Ipv4Addr> = endpoints_of_called(number).collect();
        api.apply(slice(namespace, &name, &endpoints)).await?;
    }
    Ok(addresses)
}

/// Makes Services that nobody calls, so that there are so many in all.
///
/// # Errors
/// When the API server refuses.
pub async fn grow(api: &Api, from: usize, to: usize) -> anyhow::Result<()> {
    ensure!(CALLED <= from && from <= to, "a mesh only grows");
    let first = |services: usize| (services - CALLED).div_ceil(SERVICES_OF_ONE);
    let namespaces = first(from)..first(to);
    each(api, namespaces.clone().map(|number| namespace(&uncalled(number)))).await?;
    each(api, namespaces.map(|number| account(&uncalled(number)))).await?;
    let objects = (from - CALLED..to - CALLED).flat_map(|number| {
        let (namespace, name) = (uncalled(number / SERVICES_OF_ONE), format!("s{number}"));
        let base = u32::from(Ipv4Addr::new(10, 130, 0, 0))
            + u32::try_from(number).unwrap_or(0) * u32::from(ENDPOINTS);
        let endpoints: Vec<Ipv4Addr> = (0..u32::from(ENDPOINTS))
            .map(|endpoint| Ipv4Addr::from(base + endpoint))
            .collect();
        [service(&namespace, &name), slice(&namespace, &name, &endpoints)]
    });
    each(api, objects).await
}

/// Namespaces of the mesh when it has so many Services.
pub fn namespaces(services: usize) -> usize {
    2 + (services - CALLED).div_ceil(SERVICES_OF_ONE)
}

fn uncalled(number: usize) -> String {
    format!("uncalled-{number}")
}

async fn each(api: &Api, objects: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    futures::stream::iter(objects.map(|object| create(api, object)))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Without reading it first: there are thousands.
async fn create(api: &Api, object: Value) -> anyhow::Result<()> {
    let place = Place::of(&object);
    let made = api
        .send("POST", &place.collection, "application/json", &object)
        .await;
    match made {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).with_context(|| place.path()),
    }
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"smilax.dev/inject": "enabled"}},
    })
}

fn account(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}})
}

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": PORT, "targetPort": POD_PORT}]},
    })
}

fn slice(namespace: &str, service: &str, endpoints: &[Ipv4Addr]) -> Value {
    let endpoint = |address: &Ipv4Addr| {
        json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": POD_PORT, "protocol": "TCP"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_called_is_named_by_the_callers_configuration() {
        assert_eq!(
            called().filter(|(namespace, _)| *namespace == OWN).count(),
            CALLED / 2
        );
    }

    #[test]
    fn a_larger_mesh_has_more_namespaces_and_no_larger_ones() {
        assert_eq!(
            (namespaces(10), namespaces(1_000), namespaces(10_000)),
            (2, 52, 502)
        );
    }
}
