//! The mesh that is measured: names, numbers and objects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use smilax_core::endpoints::DestinationPortName;
use smilax_core::{DestinationName, Resource};

/// Account of every pod.
pub const ACCOUNT: &str = "app";
/// Service that all accounts hold.
pub const SHARED: &str = "shared";
/// Namespace of it, and of the objects that concern everybody.
pub const FIRST: usize = 0;
/// Port of every Service.
pub const PORT: u16 = 80;
/// Port of every pod.
pub const POD_PORT: u16 = 8080;
/// Endpoints of each Service.
pub const ENDPOINTS: usize = 10;
/// Services that a proxy uses, the one that all hold among them.
pub const USES: usize = 10;
/// Services of one namespace at most.
const SERVICES_OF_ONE: usize = 20;
/// First address of pods.
const PODS: u32 = u32::from_be_bytes([10, 128, 0, 0]);

/// How large a mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Namespaces with proxies.
    pub namespaces: usize,
    /// Proxies in all of them.
    pub proxies: usize,
    /// Services in all, beside the one that is shared.
    pub services: usize,
    /// Of the proxies, those that are whole; spread over the namespaces.
    pub whole: usize,
}

impl Shape {
    /// Proxies of one namespace.
    pub fn proxies_of_one(self) -> usize {
        self.proxies / self.namespaces
    }

    /// Of them, those that are whole: its first pods.
    pub fn whole_of(self, namespace: usize) -> usize {
        self.whole / self.namespaces + usize::from(namespace < self.whole % self.namespaces)
    }

    /// Proxies that are light clients.
    pub fn light(self) -> usize {
        self.proxies - self.whole
    }

    /// Those of one namespace, by number of their pods.
    pub fn light_of(self, namespace: usize) -> std::ops::Range<usize> {
        self.whole_of(namespace)..self.proxies_of_one()
    }

    /// Services of one of the namespaces with proxies.
    pub fn services_of_one(self) -> usize {
        (self.services / self.namespaces).min(SERVICES_OF_ONE)
    }

    /// Namespaces that hold the Services that are left. Nobody of the connected calls these.
    pub fn further_namespaces(self) -> usize {
        (self.services - self.services_of_one() * self.namespaces).div_ceil(SERVICES_OF_ONE)
    }

    /// All namespaces, by number; those with proxies first.
    pub fn all_namespaces(self) -> std::ops::Range<usize> {
        0..self.namespaces + self.further_namespaces()
    }

    /// Services of a namespace, by name.
    pub fn services_of(self, namespace: usize) -> Vec<String> {
        let count = if namespace < self.namespaces {
            self.services_of_one()
        } else {
            SERVICES_OF_ONE
        };
        let mut names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
        if namespace == FIRST {
            names.push(SHARED.to_owned());
        }
        names
    }

    /// Pods of a namespace, by number: proxies, or just enough for the endpoints.
    pub fn pods_of(self, namespace: usize) -> usize {
        if namespace < self.namespaces {
            self.proxies_of_one()
        } else {
            0
        }
    }

    /// Address of a pod.
    pub fn address(self, namespace: usize, pod: usize) -> IpAddr {
        // Endpoints without pods lie beyond the pods.
        let index = namespace * self.proxies_of_one().max(SERVICES_OF_ONE * ENDPOINTS) + pod;
        Ipv4Addr::from(PODS + u32::try_from(index).unwrap_or(u32::MAX / 2)).into()
    }

    /// The pods that are behind a Service, by number.
    pub fn behind(self, namespace: usize, service: usize) -> Vec<usize> {
        let pods = self.pods_of(namespace);
        (0..ENDPOINTS)
            .map(|number| match pods {
                0 => service * ENDPOINTS + number,
                pods => (service * 2 + number) % pods,
            })
            .collect()
    }

    /// What a proxy uses: Services of its own namespace, and the one that all hold.
    pub fn uses(self, namespace: usize, pod: usize) -> Vec<Resource> {
        let services = self.services_of_one();
        let own = (0..services.min(USES - 1)).map(|number| {
            let service = (pod + number * 2 + number / 10) % services;
            port_of(namespace, &format!("s{service}"))
        });
        let mut ports: Vec<DestinationPortName> = own.collect();
        ports.push(port_of(FIRST, SHARED));
        ports.sort();
        ports.dedup();
        ports.into_iter().map(Resource::Endpoints).collect()
    }
}

/// Name of a namespace.
pub fn namespace_name(number: usize) -> String {
    format!("mesh-{number:03}")
}

/// Name of a pod.
pub fn pod_name(number: usize) -> String {
    format!("app-{number:03}")
}

/// The port of a Service.
pub fn port_of(namespace: usize, service: &str) -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new(namespace_name(namespace), service),
        port: PORT,
    }
}

/// Where a pod listens.
pub fn socket(shape: Shape, namespace: usize, pod: usize) -> SocketAddr {
    SocketAddr::new(shape.address(namespace, pod), POD_PORT)
}

/// A namespace of the mesh, whose workloads call the Service that all hold.
pub fn namespace(number: usize) -> Value {
    let shared = format!("{}/{SHARED}", namespace_name(FIRST));
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": namespace_name(number), "labels": {"smilax.dev/inject": "enabled"},
            "annotations": {"smilax.dev/destinations": shared},
        },
    })
}

/// The account of a namespace.
pub fn account(namespace: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace_name(namespace)}})
}

/// A Service.
pub fn service(namespace: usize, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace_name(namespace)},
        "spec": {"selector": {"app": ACCOUNT}, "ports": [{"name": "http", "port": PORT, "targetPort": POD_PORT}]},
    })
}

/// The EndpointSlice of a Service: these pods, by number.
pub fn slice(shape: Shape, namespace: usize, service: &str, pods: &[usize]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace_name(namespace),
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints(shape, namespace, pods),
        "ports": [{"name": "http", "port": POD_PORT, "protocol": "TCP"}],
    })
}

/// The endpoints of a slice.
pub fn endpoints(shape: Shape, namespace: usize, pods: &[usize]) -> Vec<Value> {
    let endpoint = |&pod: &usize| {
        let mut endpoint = json!({
            "addresses": [shape.address(namespace, pod)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
        });
        if shape.pods_of(namespace) > 0 {
            endpoint["targetRef"] =
                json!({"kind": "Pod", "namespace": namespace_name(namespace), "name": pod_name(pod)});
        }
        endpoint
    };
    pods.iter().map(endpoint).collect()
}

/// A pod, before it is injected.
pub fn pod(namespace: usize, number: usize) -> Value {
    let container = json!({
        "name": "application", "image": "localhost/application:1", "ports": [{"containerPort": POD_PORT}],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(number), "namespace": namespace_name(namespace), "labels": {"app": ACCOUNT},
        },
        "spec": {"serviceAccountName": ACCOUNT, "containers": [container]},
    })
}

/// That a pod runs, and whether it is Ready.
pub fn pod_status(address: IpAddr, ready: &str) -> Value {
    json!({
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

/// A TrafficSplit of one Service over two others.
pub fn split(namespace: usize, root: &str, backends: [(&str, u32); 2]) -> Value {
    let backends = backends.map(|(service, weight)| json!({"service": service, "weight": weight}));
    json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"name": root, "namespace": namespace_name(namespace)},
        "spec": {"service": root, "backends": backends},
    })
}

/// What a TrafficTarget refers to.
pub fn group(namespace: usize) -> Value {
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": "all", "namespace": namespace_name(namespace)},
        "spec": {"matches": [{"name": "all", "pathRegex": "/.*", "methods": ["GET"]}]},
    })
}

/// A TrafficTarget that lets the account of the same namespace and one more call.
pub fn target(namespace: usize, also: &str) -> Value {
    let namespace = namespace_name(namespace);
    let source = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace},
            "sources": [source(ACCOUNT), source(also)],
            "rules": [{"kind": "HTTPRouteGroup", "name": "all"}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        namespaces: 50,
        proxies: 2000,
        services: 1000,
        whole: 50,
    };

    #[test]
    fn every_proxy_uses_ten_services_and_every_service_is_used_by_few_but_the_shared_one() {
        let mut callers = std::collections::BTreeMap::<_, usize>::new();
        for pod in 0..SHAPE.proxies_of_one() {
            let uses = SHAPE.uses(3, pod);
            assert_eq!(uses.len(), USES);
            for one in uses {
                *callers.entry(one).or_default() += 1;
            }
        }
        let shared = callers.remove(&Resource::Endpoints(port_of(FIRST, SHARED)));
        assert_eq!((shared, callers.len()), (Some(40), 20));
        assert!(callers.values().all(|&count| count == 18), "{callers:?}");
    }

    #[test]
    fn whole_proxies_are_spread_over_the_namespaces_and_are_no_clients() {
        let shape = Shape { whole: 53, ..SHAPE };
        let whole: Vec<usize> = (0..5).map(|namespace| shape.whole_of(namespace)).collect();
        assert_eq!(whole, [2, 2, 2, 1, 1]);
        let light: usize = (0..50).map(|namespace| shape.light_of(namespace).len()).sum();
        assert_eq!(light, shape.light());
    }

    #[test]
    fn a_larger_mesh_has_more_namespaces_and_no_larger_ones() {
        let larger = Shape {
            services: 10_000,
            ..SHAPE
        };
        assert_eq!(
            (SHAPE.further_namespaces(), larger.further_namespaces()),
            (0, 450)
        );
        assert_eq!(larger.services_of_one(), SHAPE.services_of_one());
    }
}
