//! Everything that was seen, by namespace, and what changed since it was last asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smilax_core::TrustDomain;
use smilax_core::convention::{OPERATOR_ACCOUNT, WORKLOAD_PORT, WORKLOAD_SERVICE, key};
use smilax_core::name::Workload;
use smilax_core::workload_connection::OperatorEndpoint;

use crate::model::{
    Account, Addressing, Namespace, Pod, RouteGroup, Service, Split, Unsupported, UnsupportedKind,
};
use crate::plan::{self, NamespacePlan};

type Name = Arc<str>;

/// The objects of the cluster, as plain data.
///
/// Changes go in through `set_…`, with `None` for an object that is gone, and through `reset_…` after a relist. They
/// mark what depends on them; [`Index::take_dirty`] hands that out. Equal content marks nothing.
#[derive(Debug, Default)]
pub struct Index {
    settings: Settings,
    namespaces: BTreeMap<Name, Namespace>,
    contents: BTreeMap<Name, Contents>,
    plans: HashMap<Name, Arc<NamespacePlan>>,
    dirty: BTreeSet<Name>,
    /// Where proxies reach the operator, by its Service.
    operator: Option<OperatorEndpoint>,
}

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Suffix of the cluster's DNS names.
    pub cluster_domain: String,
    /// First part of every identity.
    pub trust_domain: TrustDomain,
    /// Namespace of the operator; `None` for a mesh that runs without one, or is compiled from files.
    pub installation: Option<Name>,
    /// How `pathRegex` is anchored.
    pub path_regex_mode: PathRegexMode,
    /// How header expressions are anchored.
    pub header_regex_mode: HeaderRegexMode,
}

/// Anchoring of `pathRegex`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathRegexMode {
    /// At the start only, as the text of SMI says.
    #[default]
    Prefix,
    /// At both ends, as Open Service Mesh read it.
    Full,
}

/// Anchoring of header expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderRegexMode {
    /// At both ends: the stricter reading.
    #[default]
    Full,
    /// Anywhere in the value, as Traefik Mesh and NGINX Service Mesh read it.
    Search,
}

/// What lies in one namespace.
#[derive(Debug, Default)]
pub struct Contents {
    /// Services by name.
    pub services: BTreeMap<Name, Service>,
    /// ServiceAccounts by name.
    pub accounts: BTreeMap<Name, Account>,
    /// Pods by name.
    pub pods: BTreeMap<Name, Pod>,
    /// TrafficSplits by name.
    pub splits: BTreeMap<Name, Split>,
    /// HTTPRouteGroups by name.
    pub groups: BTreeMap<Name, RouteGroup>,
    /// Objects that are stored only.
    pub unsupported: BTreeMap<(UnsupportedKind, Name), Unsupported>,
    /// Ready endpoints of each EndpointSlice, by Service and slice.
    pub ready: BTreeMap<(Name, Name), usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: TrustDomain::default(),
            installation: None,
            path_regex_mode: PathRegexMode::default(),
            header_regex_mode: HeaderRegexMode::default(),
        }
    }
}

/// Accessors of one kind: a single change, and a relist that is compared with what was known.
macro_rules! kind {
    ($set:ident, $reset:ident, $field:ident, $key:ty, $value:ty, $word:literal) => {
        #[doc = concat!("Takes in a ", $word, ", or that it is gone.")]
        pub fn $set(&mut self, namespace: &str, key: $key, value: Option<$value>) {
            let contents = self.contents.entry(namespace.into()).or_default();
            let changed = match value {
                Some(value) if contents.$field.get(&key) == Some(&value) => false,
                Some(value) => {
                    contents.$field.insert(key, value);
                    true
                }
                None => contents.$field.remove(&key).is_some(),
            };
            if changed {
                self.touch(namespace);
            }
        }

        #[doc = concat!("Takes in every ", $word, " that there is; what is not among them is gone.")]
        pub fn $reset(&mut self, all: impl IntoIterator<Item = (Name, $key, $value)>) {
            let mut next: BTreeMap<Name, BTreeMap<$key, $value>> = BTreeMap::new();
            for (namespace, key, value) in all {
                next.entry(namespace).or_default().insert(key, value);
            }
            let known: BTreeSet<Name> = self.contents.keys().chain(next.keys()).cloned().collect();
            for namespace in known {
                let fresh = next.remove(&namespace).unwrap_or_default();
                let contents = self.contents.entry(namespace.clone()).or_default();
                if contents.$field != fresh {
                    contents.$field = fresh;
                    self.touch(&namespace);
                }
            }
        }
    };
}

impl Index {
    /// An empty index.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Where proxies reach the operator; `None` until its Service has an address.
    pub fn operator(&self) -> Option<&OperatorEndpoint> {
        self.operator.as_ref()
    }

    fn find_operator(&self) -> Option<OperatorEndpoint> {
        let namespace = self.settings.installation.as_ref()?;
        let service = self.contents.get(namespace)?.services.get(WORKLOAD_SERVICE)?;
        match &service.addressing {
            Addressing::Virtual(addresses) if !addresses.is_empty() => Some(OperatorEndpoint {
                addresses: addresses
                    .iter()
                    .map(|&address| (address, WORKLOAD_PORT).into())
                    .collect(),
                workload: Workload::new(namespace.clone(), OPERATOR_ACCOUNT),
            }),
            _ => None,
        }
    }

    kind!(set_service, reset_services, services, Name, Service, "Service");
    kind!(
        set_account,
        reset_accounts,
        accounts,
        Name,
        Account,
        "ServiceAccount"
    );
    kind!(set_pod, reset_pods, pods, Name, Pod, "pod");
    kind!(set_split, reset_splits, splits, Name, Split, "TrafficSplit");
    kind!(
        set_group,
        reset_groups,
        groups,
        Name,
        RouteGroup,
        "HTTPRouteGroup"
    );
    kind!(
        set_unsupported,
        reset_unsupported_of_all_kinds,
        unsupported,
        (UnsupportedKind, Name),
        Unsupported,
        "object that is stored only"
    );

    /// Takes in a namespace, or that it is gone.
    pub fn set_namespace(&mut self, name: &str, value: Option<Namespace>) {
        let changed = match value {
            Some(value) if self.namespaces.get(name) == Some(&value) => false,
            Some(value) => {
                self.namespaces.insert(name.into(), value);
                true
            }
            None => self.namespaces.remove(name).is_some(),
        };
        if changed {
            self.touch(name);
        }
    }

    /// Takes in every namespace that there is.
    pub fn reset_namespaces(&mut self, all: impl IntoIterator<Item = Namespace>) {
        let next: BTreeMap<Name, Namespace> = all.into_iter().map(|one| (one.name.clone(), one)).collect();
        let known: BTreeSet<Name> = self.namespaces.keys().chain(next.keys()).cloned().collect();
        for name in known {
            self.set_namespace(&name, next.get(&name).cloned());
        }
    }

    /// Takes in every object of one stored-only kind; other kinds stay.
    pub fn reset_unsupported(&mut self, kind: UnsupportedKind, all: impl IntoIterator<Item = Unsupported>) {
        let others = self
            .contents
            .values()
            .flat_map(|contents| contents.unsupported.values());
        let mut next: Vec<Unsupported> = others.filter(|one| one.kind != kind).cloned().collect();
        next.extend(all);
        self.reset_unsupported_of_all_kinds(
            next.into_iter()
                .map(|one| (one.meta.namespace.clone(), (one.kind, one.meta.name.clone()), one)),
        );
    }

    /// Takes in how many endpoints of a slice are ready, or that the slice is gone. Only a Service's way from none to
    /// some, or back, changes anything: pods come and go without a compile.
    pub fn set_ready(&mut self, namespace: &str, service: &str, slice: &str, ready: Option<usize>) {
        let before = self.is_ready(namespace, service);
        let contents = self.contents.entry(namespace.into()).or_default();
        let key = (Name::from(service), Name::from(slice));
        match ready {
            Some(ready) => contents.ready.insert(key, ready),
            None => contents.ready.remove(&key),
        };
        if before != self.is_ready(namespace, service) {
            self.touch(namespace);
        }
    }

    /// Takes in every slice that there is: namespace, Service, slice, ready endpoints.
    pub fn reset_ready(&mut self, all: impl IntoIterator<Item = (Name, Name, Name, usize)>) {
        let mut gone: BTreeSet<(Name, Name, Name)> = BTreeSet::new();
        for (namespace, contents) in &self.contents {
            gone.extend(
                contents
                    .ready
                    .keys()
                    .map(|(service, slice)| (namespace.clone(), service.clone(), slice.clone())),
            );
        }
        for (namespace, service, slice, ready) in all {
            self.set_ready(&namespace, &service, &slice, Some(ready));
            gone.remove(&(namespace, service, slice));
        }
        for (namespace, service, slice) in gone {
            self.set_ready(&namespace, &service, &slice, None);
        }
    }

    /// Changes what holds for the whole mesh.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.operator = self.find_operator();
            let all: Vec<Name> = self.contents.keys().cloned().collect();
            for namespace in all {
                self.touch(&namespace);
            }
        }
    }

    /// Namespaces whose outputs may have changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.dirty)
    }

    /// Marks a namespace, so that its outputs are looked at again: after one of them was changed by somebody else.
    pub fn mark(&mut self, namespace: &str) {
        self.dirty.insert(namespace.into());
    }

    /// What holds for the whole mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// What lies in a namespace.
    pub fn contents(&self, namespace: &str) -> Option<&Contents> {
        self.contents.get(namespace)
    }

    /// Whether some endpoint of a Service is ready.
    pub fn is_ready(&self, namespace: &str, service: &str) -> bool {
        let from = (Name::from(service), Name::from(""));
        self.contents.get(namespace).is_some_and(|contents| {
            contents
                .ready
                .range(from..)
                .take_while(|((name, _), _)| &**name == service)
                .any(|(_, &ready)| ready > 0)
        })
    }

    /// The plan of a namespace, made when it is first asked for after a change.
    pub fn plan(&mut self, namespace: &str) -> Arc<NamespacePlan> {
        if let Some(plan) = self.plans.get(namespace) {
            return Arc::clone(plan);
        }
        let plan = Arc::new(plan::plan(self, namespace));
        self.plans.insert(namespace.into(), Arc::clone(&plan));
        plan
    }

    fn touch(&mut self, namespace: &str) {
        if self.settings.installation.as_deref() == Some(namespace) {
            let operator = self.find_operator();
            if self.operator != operator {
                // It stands in every configuration.
                self.operator = operator;
                self.dirty.extend(self.contents.keys().cloned());
            }
        }
        self.plans.remove(namespace);
        self.dirty.insert(namespace.into());
        // Workloads elsewhere that import from it.
        let importers: Vec<Name> = self
            .contents
            .iter()
            .filter(|(name, contents)| &***name != namespace && self.imports(name, contents, namespace))
            .map(|(name, _)| name.clone())
            .collect();
        self.dirty.extend(importers);
    }

    fn imports(&self, importer: &str, contents: &Contents, namespace: &str) -> bool {
        let own = self
            .namespaces
            .get(importer)
            .and_then(|one| one.annotations.get(key::DESTINATIONS));
        let accounts = contents
            .accounts
            .values()
            .filter_map(|account| account.annotations.get(key::DESTINATIONS));
        own.into_iter().chain(accounts).any(|list| {
            list.split(',').any(|entry| {
                entry
                    .trim()
                    .split_once('/')
                    .is_some_and(|(from, _)| from == namespace)
            })
        })
    }
}

#[cfg(test)]
mod tests;
