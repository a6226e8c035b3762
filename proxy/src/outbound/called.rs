//! What a request was for, in words for whoever sent it: the Service that was called, and what a split made of that.

use smilax_core::{ObjectRef, PortRoutes};

/// A backend, by namespace and name.
pub(super) type BackendName<'a> = (&'a str, &'a str);

/// Names what was called, and the backend that was chosen. A split is named where one alone leads to that backend.
pub(super) fn described(routes: &PortRoutes, (namespace, name): BackendName<'_>) -> String {
    let own = &routes.own;
    let service = format!("Service {} port {}", own.destination, own.port);
    let is_own = *own.destination.namespace == *namespace && *own.destination.name == *name;
    if is_own {
        return service;
    }
    let leading = routes.routes.iter().filter(|route| {
        let mut backends = route.backends.iter();
        backends.any(|one| *one.destination.namespace == *namespace && *one.destination.name == *name)
    });
    let mut sources = leading.map(|route| &route.source);
    let Some(first) = sources.next() else {
        return service;
    };
    let backend = format!("backend {namespace}/{name}");
    if sources.all(|source| source.is_same_object(first)) {
        let ObjectRef {
            kind,
            namespace,
            name,
            ..
        } = first;
        format!("{service}, {kind} {namespace}/{name}, {backend}")
    } else {
        format!("{service}, {backend}")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::json;
    use smilax_core::{PodView, RouteTable, config};

    use super::*;

    /// Service shop/web with these splits, each leading to one backend.
    fn said(splits: &[(&str, &str)], backend: BackendName<'_>) -> String {
        let service = |name: &str, last: u8| {
            json!({
                "name": format!("shop/{name}"), "addresses": [format!("10.0.0.{last}")],
                "ports": [{"port": 80, "protocol": "http"}],
            })
        };
        let mut web = service("web", 1);
        let routes = splits.iter().map(|(name, to)| {
            json!({
                "source": {"kind": "TrafficSplit", "namespace": "shop", "name": name},
                "backends": [{"destination": format!("shop/{to}"), "weight": 1}],
            })
        });
        web["ports"][0]["routes"] = routes.collect();
        let text = json!({
            "revision": "1.1", "workload": {"namespace": "shop", "account": "client"},
            "destinations": [web, service("web-v1", 2), service("web-v2", 3)],
        });
        let config = config::decode(text.to_string().as_bytes()).unwrap();
        let table = RouteTable::lower(&config, &PodView::default()).unwrap();
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        described(table.port(address).unwrap(), backend)
    }

    #[test]
    fn a_service_without_a_split_is_named() {
        assert_eq!(said(&[], ("shop", "web")), "Service shop/web port 80");
    }

    #[test]
    fn the_split_and_its_backend_are_named() {
        assert_eq!(
            said(&[("canary", "web-v2"), ("rest", "web-v1")], ("shop", "web-v2")),
            "Service shop/web port 80, TrafficSplit shop/canary, backend shop/web-v2"
        );
    }

    #[test]
    fn of_two_splits_that_lead_to_one_backend_none_is_blamed() {
        assert_eq!(
            said(&[("canary", "web-v2"), ("rest", "web-v2")], ("shop", "web-v2")),
            "Service shop/web port 80, backend shop/web-v2"
        );
    }

    #[test]
    fn a_backend_that_no_split_leads_to_is_not_named() {
        assert_eq!(said(&[], ("unknown", "unknown")), "Service shop/web port 80");
    }
}
