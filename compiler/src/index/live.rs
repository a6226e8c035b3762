//! What comes and goes: Services, pods and EndpointSlices, kept findable by address, and told to those who follow them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Owner;
use super::{Index, Moved, Touched};
use crate::model::{Pod, Service, Slice};

type Name = Arc<str>;

impl Index {
    /// Takes in a Service, or that it is gone.
    #[expect(clippy::needless_pass_by_value, reason = "as every other kind is taken in")]
    pub fn set_service(&mut self, namespace: &str, key: Name, value: Option<Service>) {
        let services = &mut self.contents.entry(namespace.into()).or_default().services;
        let before = put(services, &key, value);
        if services.get(&key) != before.as_ref() {
            self.service_moved(namespace, &key, before.as_ref());
            self.touch(namespace, Touched::Services);
        }
    }

    /// Takes in every Service that there is; what is not among them is gone.
    pub fn reset_services(&mut self, all: impl IntoIterator<Item = (Name, Name, Service)>) {
        for (namespace, fresh) in self.by_namespace(all) {
            let services = &mut self.contents.entry(namespace.clone()).or_default().services;
            let changed = replace(services, fresh);
            for (key, before) in &changed {
                self.service_moved(&namespace, key, before.as_ref());
            }
            if !changed.is_empty() {
                self.touch(&namespace, Touched::Services);
            }
        }
    }

    /// Takes in a pod, or that it is gone.
    #[expect(clippy::needless_pass_by_value, reason = "as every other kind is taken in")]
    pub fn set_pod(&mut self, namespace: &str, key: Name, value: Option<Pod>) {
        let pods = &mut self.contents.entry(namespace.into()).or_default().pods;
        let before = put(pods, &key, value);
        let after = pods.get(&key);
        if after != before.as_ref() {
            let policy = !same_policy(before.as_ref(), after);
            self.pod_moved(namespace, &key, before.as_ref());
            if policy {
                self.touch(namespace, Touched::Others);
            }
        }
    }

    /// Takes in every pod that there is; what is not among them is gone.
    pub fn reset_pods(&mut self, all: impl IntoIterator<Item = (Name, Name, Pod)>) {
        for (namespace, fresh) in self.by_namespace(all) {
            let pods = &mut self.contents.entry(namespace.clone()).or_default().pods;
            let changed = replace(pods, fresh);
            let policy = changed
                .iter()
                .any(|(key, before)| !same_policy(before.as_ref(), pods.get(key)));
            for (key, before) in &changed {
                self.pod_moved(&namespace, key, before.as_ref());
            }
            if policy {
                self.touch(&namespace, Touched::Others);
            }
        }
    }

    /// Takes in an EndpointSlice, or that it is gone. For policy, only a Service's way from no ready endpoint to some, or
    /// back, changes anything: pods come and go without a compile.
    pub fn set_slice(&mut self, namespace: &str, key: &Name, value: Option<Slice>) {
        let name = Name::from(namespace);
        let slices = &mut self.contents.entry(name.clone()).or_default().slices;
        let after = value.as_ref().map(|slice| slice.service.clone());
        let concerned: BTreeSet<Name> = slices.service_of(key).cloned().into_iter().chain(after).collect();
        let ready = |slices: &super::Slices| -> Vec<bool> {
            let any = |service: &Name| slices.of(service).any(Slice::is_ready);
            concerned.iter().map(any).collect()
        };
        let before = ready(slices);
        if !slices.set(key, value) {
            return;
        }
        let policy = before != ready(slices);
        let moved = concerned.iter().map(|service| (name.clone(), service.clone()));
        self.moved.services.extend(moved);
        for service in &concerned {
            self.note_endpoints_by_hand(&name, service);
        }
        if policy {
            self.touch(namespace, Touched::Others);
        }
    }

    /// Takes in every EndpointSlice that there is; what is not among them is gone.
    pub fn reset_slices(&mut self, all: impl IntoIterator<Item = (Name, Name, Slice)>) {
        let mut gone: BTreeSet<(Name, Name)> = BTreeSet::new();
        for (namespace, contents) in &self.contents {
            let names = contents.slices.names();
            gone.extend(names.map(|slice| (namespace.clone(), slice.clone())));
        }
        for (namespace, key, value) in all {
            self.set_slice(&namespace, &key, Some(value));
            gone.remove(&(namespace, key));
        }
        for (namespace, key) in gone {
            self.set_slice(&namespace, &key, None);
        }
    }

    /// Whether some endpoint of a Service is ready.
    pub fn is_ready(&self, namespace: &str, service: &str) -> bool {
        self.contents
            .get(namespace)
            .is_some_and(|contents| contents.slices.of(service).any(Slice::is_ready))
    }

    /// What may have changed since the last call, for those who follow endpoints and addresses.
    pub fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    /// Namespace of the Service with this virtual address.
    pub fn service_namespace_at(&self, address: IpAddr) -> Option<&Name> {
        self.addresses.at(address).find_map(|owner| match owner {
            Owner::Service(namespace, _) => Some(namespace),
            Owner::Pod(..) => None,
        })
    }

    /// The pod that has an address for itself. One that ends has its address until it is gone.
    pub(crate) fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        let pods = self.owners(address).filter_map(|owner| match owner {
            Owner::Service(..) => None,
            Owner::Pod(namespace, name) => self.contents.get(namespace)?.pods.get(name),
        });
        pods.filter(|pod| !pod.host_network)
            .min_by_key(|pod| pod.finished)
    }

    /// Who has an address.
    pub(crate) fn owners(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        self.addresses.at(address)
    }

    fn service_moved(&mut self, namespace: &str, key: &Name, before: Option<&Service>) {
        let namespace = Name::from(namespace);
        let Some(contents) = self.contents.get(&namespace) else {
            return;
        };
        let after = contents.services.get(key);
        // What its pods speak is told of their addresses too.
        let its = |pod: &&Pod| {
            before
                .into_iter()
                .chain(after)
                .any(|service| service.selects(pod))
        };
        let pods = contents.pods.values().filter(its);
        self.moved
            .addresses
            .extend(pods.flat_map(|pod| pod.addresses.iter().copied()));
        let addresses = |service: Option<&Service>| -> Vec<IpAddr> {
            service.map(|one| one.addresses().to_vec()).unwrap_or_default()
        };
        let (before, after) = (addresses(before), addresses(after));
        let owner = Owner::Service(namespace.clone(), key.clone());
        self.moved
            .addresses
            .extend(self.addresses.set(&owner, &before, &after));
        self.note_endpoints_by_hand(&namespace, key);
        self.moved.services.insert((namespace, key.clone()));
    }

    /// Remembers where the endpoints of a Service are, if no selector chose them.
    fn note_endpoints_by_hand(&mut self, namespace: &Name, service: &Name) {
        let contents = self.contents.get(namespace);
        let by_hand = contents.filter(|contents| {
            let service = contents.services.get(service);
            service.is_some_and(|service| service.selector.is_empty())
        });
        let slices = by_hand.map(|contents| contents.slices.of(service));
        let addresses = slices.into_iter().flatten().flat_map(|slice| &slice.endpoints);
        let addresses = addresses
            .map(|endpoint| endpoint.address.to_canonical())
            .collect();
        self.by_hand.set((namespace.clone(), service.clone()), addresses);
    }

    fn pod_moved(&mut self, namespace: &str, key: &Name, before: Option<&Pod>) {
        let namespace = Name::from(namespace);
        let Some(contents) = self.contents.get(&namespace) else {
            return;
        };
        let addresses =
            |pod: Option<&Pod>| -> Vec<IpAddr> { pod.map(|one| one.addresses.clone()).unwrap_or_default() };
        let (left, taken) = (addresses(before), addresses(contents.pods.get(key)));
        let owner = Owner::Pod(namespace.clone(), key.clone());
        self.addresses.set(&owner, &left, &taken);
        // Whatever changed of the pod may be what is told of it.
        for address in left.into_iter().chain(taken) {
            self.moved.services.extend(self.by_hand.at(address).cloned());
            self.moved.addresses.insert(address);
        }
        let naming = contents.slices.naming(key).cloned();
        // An endpoint that names no pod must prove to be one of those that are selected, whichever that is.
        let its = |service: &&Service| {
            let mut states = before.into_iter().chain(contents.pods.get(key));
            states.any(|pod| service.selects(pod))
        };
        let selecting = contents.services.values().filter(its);
        let services = naming.chain(selecting.map(|service| service.meta.name.clone()));
        self.moved
            .services
            .extend(services.map(|service| (namespace.clone(), service)));
    }

    /// By namespace, with every namespace that is known.
    fn by_namespace<T>(
        &self,
        all: impl IntoIterator<Item = (Name, Name, T)>,
    ) -> BTreeMap<Name, BTreeMap<Name, T>> {
        let mut next: BTreeMap<Name, BTreeMap<Name, T>> = self
            .contents
            .keys()
            .map(|name| (name.clone(), BTreeMap::new()))
            .collect();
        for (namespace, key, value) in all {
            next.entry(namespace).or_default().insert(key, value);
        }
        next
    }
}

/// Puts a value in its place, and gives what was there.
fn put<T>(known: &mut BTreeMap<Name, T>, key: &Name, value: Option<T>) -> Option<T> {
    match value {
        Some(value) => known.insert(key.clone(), value),
        None => known.remove(key),
    }
}

/// Puts other values in the place of all, and gives what was there where it was different.
fn replace<T: PartialEq>(known: &mut BTreeMap<Name, T>, fresh: BTreeMap<Name, T>) -> Vec<(Name, Option<T>)> {
    let mut before = std::mem::replace(known, fresh);
    let mut changed = Vec::new();
    for (key, value) in known.iter() {
        let was = before.remove(key);
        if was.as_ref() != Some(value) {
            changed.push((key.clone(), was));
        }
    }
    changed.extend(before.into_iter().map(|(key, was)| (key, Some(was))));
    changed
}

/// Whether two states of a pod are the same but for its addresses, which no policy looks at.
fn same_policy(before: Option<&Pod>, after: Option<&Pod>) -> bool {
    let policy = |pod: &Pod| Pod {
        addresses: Vec::new(),
        ..pod.clone()
    };
    before.map(policy) == after.map(policy)
}
