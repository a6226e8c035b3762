//! Which connections stay once it is known whose they are. Each of them holds tens of kilobytes for TLS and HTTP/2, and an
//! address proves little: the share of one address is that of a whole node.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use smilax_core::admission::{self, Activity, Admissions, Busy, Caps};
use tokio_util::sync::CancellationToken;

/// Connections without an identity, each for one certificate. A newcomer takes the place of one that asks for nothing.
const STRANGERS: Caps = Caps { all: 512, of_one: 64 };
/// Connections of one pod. Its proxy keeps one; more come about while it reconnects, and the oldest gives way.
const OF_ONE_POD: usize = 4;

/// The connections whose handshake is done.
#[derive(Debug)]
pub(super) struct Crowd {
    strangers: Admissions<CancellationToken>,
    pods: Pods,
}

/// A place for one connection, given back when dropped.
#[derive(Debug)]
pub(super) enum Place {
    /// Of one without an identity.
    Stranger {
        /// What it is busy with, which decides who gives way.
        activity: Arc<Activity>,
        _place: admission::Place<CancellationToken>,
    },
    /// Of a pod.
    Pod { _place: PodPlace },
    /// Of another replica of the operator: a certificate that is of no pod.
    Replica,
}

impl Place {
    /// What the connection is busy with, where that decides who gives way.
    pub(super) fn activity(&self) -> Option<Arc<Activity>> {
        match self {
            Self::Stranger { activity, .. } => Some(Arc::clone(activity)),
            Self::Pod { .. } | Self::Replica => None,
        }
    }
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            strangers: Admissions::new(STRANGERS, Busy::GivesWay),
            pods: Pods::default(),
        }
    }

    /// A place for a connection without an identity. `end` ends it when it has to give way. `None`: it is refused.
    pub(super) fn stranger(&self, address: IpAddr, end: &CancellationToken) -> Option<Place> {
        let activity = Activity::new();
        let (place, gives_way) = self.strangers.enter(address, &activity, end.clone())?;
        if let Some(other) = gives_way {
            other.cancel();
        }
        Some(Place::Stranger {
            activity,
            _place: place,
        })
    }

    /// A place for a connection of the pod with this UID. `end` ends it when it has to give way.
    pub(super) fn pod(&self, uid: &str, end: &CancellationToken) -> Place {
        Place::Pod {
            _place: self.pods.enter(uid, end),
        }
    }
}

/// Connections by the UID of their pod, the oldest first.
#[derive(Clone, Debug, Default)]
struct Pods(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    next: u64,
    of_pod: HashMap<Box<str>, VecDeque<(u64, CancellationToken)>>,
}

/// The place of one connection of a pod.
#[derive(Debug)]
pub(super) struct PodPlace {
    pods: Pods,
    uid: Box<str>,
    number: u64,
}

impl Pods {
    fn enter(&self, uid: &str, end: &CancellationToken) -> PodPlace {
        let mut register = self.0.lock();
        let number = register.next;
        register.next += 1;
        let connections = register.of_pod.entry(uid.into()).or_default();
        if connections.len() >= OF_ONE_POD
            && let Some((_, oldest)) = connections.pop_front()
        {
            oldest.cancel();
        }
        connections.push_back((number, end.clone()));
        PodPlace {
            pods: self.clone(),
            uid: uid.into(),
            number,
        }
    }
}

impl Drop for PodPlace {
    fn drop(&mut self) {
        let mut register = self.pods.0.lock();
        let Some(connections) = register.of_pod.get_mut(&self.uid) else {
            return;
        };
        connections.retain(|(number, _)| *number != self.number);
        if connections.is_empty() {
            register.of_pod.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many connections of one pod, and what ends each.
    fn connections(crowd: &Crowd, uid: &str, count: usize) -> Vec<(Place, CancellationToken)> {
        (0..count)
            .map(|_| {
                let end = CancellationToken::new();
                (crowd.pod(uid, &end), end)
            })
            .collect()
    }

    fn ended(all: &[(Place, CancellationToken)]) -> usize {
        all.iter().filter(|(_, end)| end.is_cancelled()).count()
    }

    #[test]
    fn s38_the_oldest_connections_of_a_pod_give_way() {
        let crowd = Crowd::new();
        let all = connections(&crowd, "a", 10);
        assert_eq!(ended(&all), 10 - OF_ONE_POD);
        let (gone, left) = all.split_at(10 - OF_ONE_POD);
        assert_eq!((ended(gone), ended(left)), (gone.len(), 0));
    }

    #[test]
    fn s38_a_pod_takes_nothing_from_another() {
        let crowd = Crowd::new();
        let other = connections(&crowd, "b", OF_ONE_POD);
        let _crowded = connections(&crowd, "a", 10);
        assert_eq!(ended(&other), 0);
    }

    #[test]
    fn s38_a_pod_that_is_gone_leaves_no_trace() {
        let crowd = Crowd::new();
        drop(connections(&crowd, "a", 10));
        assert!(crowd.pods.0.lock().of_pod.is_empty());
    }

    #[test]
    fn s38_connections_without_an_identity_that_ask_for_nothing_give_way() {
        let crowd = Crowd::new();
        let address = IpAddr::from([10, 0, 0, 1]);
        let end = CancellationToken::new();
        let Some(Place::Stranger { activity, _place }) = crowd.stranger(address, &end) else {
            panic!("there is room for the first");
        };
        let _asking = activity.begin();
        let idle: Vec<_> = (0..STRANGERS.of_one)
            .map(|_| {
                let end = CancellationToken::new();
                (crowd.stranger(address, &end), end)
            })
            .collect();
        assert!(!end.is_cancelled(), "it asks for something");
        assert!(idle[0].1.is_cancelled());
        assert!(idle.iter().all(|(place, _)| place.is_some()));
    }
}
