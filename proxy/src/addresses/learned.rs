//! What was learned by looking up addresses, for the operator and for people.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use smilax_core::ObjectRef;
use smilax_core::config::{Destination, RouteConfig};
use smilax_core::workload_connection::MOST_LEARNED;

use super::{Addresses, Behind, Known};

/// An address, and what stands behind it, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressStatus {
    address: SocketAddr,
    found: Kind,
    /// A destination, and others that its routes lead to.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    destinations: Vec<Destination>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Nothing,
    Destination,
    Pod,
}

impl Addresses {
    /// The objects that learned routes come from, each with its generation: splits, then the groups that they refer to. Where two
    /// answers carry different generations of one, the older counts: it is still enforced at one of the addresses.
    pub fn learned(&self) -> Vec<ObjectRef> {
        learned(&self.shared().load())
    }

    /// Everything that is known, for people.
    pub fn status(&self) -> Vec<AddressStatus> {
        let known = self.shared().load();
        let mut all: Vec<AddressStatus> = known
            .iter()
            .map(|(&address, behind)| AddressStatus {
                address,
                found: match behind {
                    Behind::Nothing => Kind::Nothing,
                    Behind::Destinations(_) => Kind::Destination,
                    Behind::Pod(_) => Kind::Pod,
                },
                destinations: match behind {
                    Behind::Destinations(destinations) => destinations.to_vec(),
                    Behind::Nothing | Behind::Pod(_) => Vec::new(),
                },
            })
            .collect();
        all.sort_by_key(|one| one.address);
        all
    }
}

fn learned(known: &Known) -> Vec<ObjectRef> {
    let destinations = known.values().filter_map(|behind| match behind {
        Behind::Destinations(destinations) => Some(destinations.iter()),
        Behind::Nothing | Behind::Pod(_) => None,
    });
    let ports = destinations.flatten().flat_map(|one| &one.ports);
    let routes: Vec<&RouteConfig> = ports.flat_map(|port| &port.routes).collect();
    let splits = oldest(routes.iter().map(|route| &route.source));
    let groups = oldest(routes.iter().flat_map(|route| &route.groups));
    splits
        .into_iter()
        .chain(groups)
        .take(MOST_LEARNED)
        .cloned()
        .collect()
}

/// Each object once, with its oldest generation.
fn oldest<'a>(objects: impl Iterator<Item = &'a ObjectRef>) -> Vec<&'a ObjectRef> {
    let mut oldest = BTreeMap::new();
    for object in objects {
        let name = (&object.kind, &object.namespace, &object.name);
        let known = oldest.entry(name).or_insert(object);
        if object.generation < known.generation {
            *known = object;
        }
    }
    oldest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use smilax_core::Found;

    use super::*;

    fn found(root: &str, generation: i64) -> Behind {
        let source =
            json!({"kind": "TrafficSplit", "namespace": "shop", "name": root, "generation": generation});
        let group =
            json!({"kind": "HTTPRouteGroup", "namespace": "shop", "name": "beta", "generation": generation});
        let route = json!({
            "source": source, "groups": [group], "backends": [{"destination": "shop/v1", "weight": 1}],
        });
        let destination = json!({
            "name": format!("shop/{root}"), "addresses": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "http", "routes": [route.clone(), route]}],
        });
        let destinations: Vec<Destination> = serde_json::from_value(json!([destination])).unwrap();
        Found::Destinations(destinations).into()
    }

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    #[test]
    fn each_object_is_named_once_with_the_oldest_generation() {
        let known = Known::from([
            (address(1), found("web", 4)),
            (address(2), found("web", 3)),
            (address(3), found("cart", 1)),
            (address(4), Behind::Nothing),
        ]);
        let named: Vec<_> = learned(&known)
            .iter()
            .map(|one| format!("{one} {}", one.generation))
            .collect();
        assert_eq!(
            named,
            [
                "TrafficSplit/shop/cart 1",
                "TrafficSplit/shop/web 3",
                "HTTPRouteGroup/shop/beta 1"
            ]
        );
    }

    #[test]
    fn no_more_objects_are_named_than_the_operator_takes_and_splits_come_first() {
        let many = (0..200).map(|number| (address(number), found(&format!("web-{number}"), 1)));
        let named = learned(&many.collect());
        assert_eq!(named.len(), MOST_LEARNED);
        assert!(named.iter().all(|one| &*one.kind == "TrafficSplit"));
    }

    #[test]
    fn people_see_what_stands_behind_each_address() {
        let addresses = Addresses::default();
        addresses.publish(Known::from([
            (address(2), Behind::Nothing),
            (address(1), found("web", 4)),
        ]));
        let status: Value = serde_json::to_value(addresses.status()).unwrap();
        assert_eq!(status[0]["address"], "10.0.0.1:80");
        assert_eq!(status[0]["destinations"][0]["name"], "shop/web");
        assert_eq!(status[1], json!({"address": "10.0.0.2:80", "found": "nothing"}));
    }
}
