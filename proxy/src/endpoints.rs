//! Where the pods of destinations are, as far as the operator has told.
//!
//! ```text
//! operator ─► Endpoints (shared, swapped whole) ─► Balanced (of one worker) ─► Picked, for one request
//! worker, on first use ─► Wanted ─► Interest ─► operator
//! ```
//!
//! What is not told is reached at its virtual address.

pub mod balanced;
pub mod wanted;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use smilax_core::{DestinationPortName, Endpoint};

pub use balanced::{Balanced, Picked};
pub use wanted::Wanted;

/// What the operator has told of endpoints. The control thread writes it, workers read it.
#[derive(Debug, Default)]
pub struct Endpoints {
    known: Arc<ArcSwap<Known>>,
}

/// The endpoints of every port that is subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Another one whenever anything has changed.
    pub version: u64,
    /// The zone that callers here are in, if it is known.
    pub zone: Option<Arc<str>>,
    ports: HashMap<DestinationPortName, Told>,
}

/// The endpoints of one port, by family.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PortEndpoints {
    /// Those with an IPv4 address.
    pub v4: Box<[Endpoint]>,
    /// Those with an IPv6 address.
    pub v6: Box<[Endpoint]>,
}

/// Endpoints, and on which stream they were told.
#[derive(Clone, Debug)]
struct Told {
    stream: u64,
    endpoints: Arc<PortEndpoints>,
}

/// The endpoints of one port, for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    #[serde(flatten)]
    of: DestinationPortName,
    endpoints: Vec<Endpoint>,
}

impl Endpoints {
    /// Nothing is known yet but perhaps the zone that callers here are in.
    pub fn in_zone(zone: Option<&str>) -> Self {
        let known = Known {
            zone: zone.map(Arc::from),
            ..Known::default()
        };
        Self {
            known: Arc::new(ArcSwap::from_pointee(known)),
        }
    }

    /// Callers here are in this zone.
    pub fn prefer(&self, zone: Box<str>) {
        if self.known.load().zone.as_deref() != Some(&zone) {
            tracing::info!(%zone, "endpoints that are meant for this zone are preferred");
            self.change(|known| known.zone = Some(zone.into()));
        }
    }

    /// What workers read.
    pub fn shared(&self) -> &Arc<ArcSwap<Known>> {
        &self.known
    }

    /// Takes what the stream of this number tells; `None` where the virtual address is to be used.
    pub fn tell(&self, stream: u64, of: DestinationPortName, endpoints: Option<Vec<Endpoint>>) {
        let now = self.known.load();
        let Some(endpoints) = endpoints else {
            return self.forget(&[of]);
        };
        let (v4, v6) = endpoints
            .into_iter()
            .partition::<Vec<_>, _>(|endpoint| endpoint.address.is_ipv4());
        let told = PortEndpoints {
            v4: v4.into(),
            v6: v6.into(),
        };
        // Workers that hold equal endpoints need not look at them again.
        let same = now.ports.get(&of).filter(|known| *known.endpoints == told);
        let endpoints = same.map_or_else(|| Arc::new(told), |known| Arc::clone(&known.endpoints));
        self.change(|known| {
            known.ports.insert(of, Told { stream, endpoints });
        });
    }

    /// Forgets the endpoints of these ports.
    pub fn forget(&self, of: &[DestinationPortName]) {
        if of.iter().any(|name| self.known.load().ports.contains_key(name)) {
            self.change(|known| known.ports.retain(|name, _| !of.contains(name)));
        }
    }

    /// Forgets what no stream after the one of this number has told again.
    pub fn forget_stream(&self, stream: u64) {
        if self.known.load().ports.values().any(|told| told.stream <= stream) {
            self.change(|known| known.ports.retain(|_, told| told.stream > stream));
        }
    }

    /// Endpoints that are known.
    pub fn count(&self) -> usize {
        let known = self.known.load();
        let counts = known.ports.values().map(|told| told.endpoints.iter().count());
        counts.sum()
    }

    /// All of them, for people.
    pub fn status(&self) -> Vec<PortStatus> {
        let known = self.known.load();
        let mut status: Vec<_> = known
            .ports
            .iter()
            .map(|(of, told)| PortStatus {
                of: of.clone(),
                endpoints: told.endpoints.iter().cloned().collect(),
            })
            .collect();
        status.sort_by(|a, b| a.of.cmp(&b.of));
        status
    }

    /// Only the control thread does this.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = Known::clone(&self.known.load());
        change(&mut known);
        known.version += 1;
        self.known.store(Arc::new(known));
    }
}

impl Known {
    /// The endpoints of a port, if they were told.
    pub fn port(&self, of: &DestinationPortName) -> Option<&Arc<PortEndpoints>> {
        Some(&self.ports.get(of)?.endpoints)
    }
}

impl PortEndpoints {
    /// Of either family.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.v4.iter().chain(&self.v6)
    }
}

#[cfg(test)]
mod tests {
    use smilax_core::{DestinationName, EndpointState};

    use super::*;

    fn of(port: u16) -> DestinationPortName {
        DestinationPortName {
            destination: DestinationName::new("shop", "web"),
            port,
        }
    }

    fn endpoint(address: &str) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            workload: None,
            state: EndpointState::Ready,
            zone: None,
            for_zones: vec![],
            node: None,
        }
    }

    fn known(endpoints: &Endpoints, port: u16) -> Option<Arc<PortEndpoints>> {
        endpoints.known.load().port(&of(port)).cloned()
    }

    #[test]
    fn endpoints_are_kept_by_family_and_replaced_whole() {
        let endpoints = Endpoints::default();
        let told = ["10.0.0.1:80", "[fd00::1]:80"].map(endpoint);
        endpoints.tell(1, of(80), Some(told.to_vec()));
        let first = known(&endpoints, 80).unwrap();
        assert_eq!((&first.v4[..], &first.v6[..]), (&told[..1], &told[1..]));
        endpoints.tell(1, of(80), Some(told[1..].to_vec()));
        assert_eq!(endpoints.count(), 1);
    }

    #[test]
    fn what_is_told_again_need_not_be_looked_at_again() {
        let endpoints = Endpoints::default();
        let told = vec![endpoint("10.0.0.1:80")];
        endpoints.tell(1, of(80), Some(told.clone()));
        let first = known(&endpoints, 80).unwrap();
        endpoints.tell(2, of(80), Some(told));
        assert!(Arc::ptr_eq(&first, &known(&endpoints, 80).unwrap()));
    }

    #[test]
    fn where_the_virtual_address_is_to_be_used_nothing_is_known() {
        let endpoints = Endpoints::default();
        endpoints.tell(1, of(80), Some(vec![endpoint("10.0.0.1:80")]));
        endpoints.tell(1, of(80), None);
        assert_eq!(known(&endpoints, 80), None);
    }

    #[test]
    fn a_zone_that_is_told_again_is_no_news() {
        let endpoints = Endpoints::in_zone(Some("a"));
        endpoints.prefer("a".into());
        assert_eq!(endpoints.known.load().version, 0);
        endpoints.prefer("b".into());
        let known = endpoints.known.load();
        assert_eq!((known.version, known.zone.as_deref()), (1, Some("b")));
    }

    #[test]
    fn of_a_lost_stream_only_that_stays_which_a_later_one_has_told_again() {
        let endpoints = Endpoints::default();
        for port in [80, 81] {
            endpoints.tell(1, of(port), Some(vec![endpoint("10.0.0.1:80")]));
        }
        endpoints.tell(2, of(81), Some(vec![endpoint("10.0.0.1:80")]));
        endpoints.forget_stream(1);
        assert_eq!(known(&endpoints, 80), None);
        assert!(known(&endpoints, 81).is_some());
        let version = endpoints.known.load().version;
        endpoints.forget_stream(1);
        assert_eq!(endpoints.known.load().version, version, "nothing has changed");
    }
}
