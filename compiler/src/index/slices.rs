//! The EndpointSlices of a namespace, found by their Service and by the pods that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::Slice;

type Name = Arc<str>;

/// EndpointSlices, and the ways to them.
#[derive(Debug, Default)]
pub struct Slices {
    /// By name.
    known: BTreeMap<Name, Slice>,
    /// Service and slice.
    services: BTreeSet<(Name, Name)>,
    /// Pod, Service and slice.
    pods: BTreeSet<(Name, Name, Name)>,
}

impl Slices {
    /// Takes in a slice, or that it is gone. Gives whether that changed anything.
    pub(super) fn set(&mut self, name: &Name, value: Option<Slice>) -> bool {
        if self.known.get(name) == value.as_ref() {
            return false;
        }
        if let Some(before) = self.known.remove(name) {
            self.services.remove(&(before.service.clone(), name.clone()));
            for pod in pods(&before) {
                self.pods
                    .remove(&(pod.clone(), before.service.clone(), name.clone()));
            }
        }
        if let Some(after) = value {
            self.services.insert((after.service.clone(), name.clone()));
            for pod in pods(&after) {
                self.pods
                    .insert((pod.clone(), after.service.clone(), name.clone()));
            }
            self.known.insert(name.clone(), after);
        }
        true
    }

    /// The Service that a slice is of.
    pub(super) fn service_of(&self, name: &str) -> Option<&Name> {
        self.known.get(name).map(|slice| &slice.service)
    }

    /// Names of all.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.known.keys()
    }

    /// The slices of a Service.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.services
            .range((Name::from(service), Name::from(""))..)
            .take_while(move |(name, _)| &**name == service)
            .filter_map(|(_, slice)| self.known.get(slice))
    }

    /// Services with a slice that names a pod.
    pub(super) fn naming<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = &'a Name> {
        let empty = || Name::from("");
        self.pods
            .range((Name::from(pod), empty(), empty())..)
            .take_while(move |(name, _, _)| &**name == pod)
            .map(|(_, service, _)| service)
    }
}

fn pods(slice: &Slice) -> impl Iterator<Item = &Name> {
    slice
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.pod.as_ref())
}
