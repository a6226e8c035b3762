//! Everything that was seen, by namespace, and what changed since it was last asked.

mod addresses;
mod by_hand;
mod links;
mod live;
mod moved;
mod slices;
mod zones;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smilax_core::TrustDomain;
use smilax_core::config::{AccessMode, TlsMode, UnauthenticatedSource};
use smilax_core::workload_connection::OperatorEndpoint;

use crate::callers::CallerRules;
use crate::model::{Account, Binding, Namespace, Pod, PortRoute, RouteGroup, Service, Split, Target};
use crate::operator;
use crate::plan::{self, NamespacePlan};
use crate::token::SidecarImages;
use addresses::Addresses;
use by_hand::ByHand;
use links::{Links, Refers};

pub(crate) use addresses::Owner;
pub use moved::Moved;
pub use slices::Slices;

type Name = Arc<str>;

/// The objects of the cluster, as plain data.
///
/// Changes go in through `set_…`, with `None` for an object that is gone, and through `reset_…` after a relist. They
/// mark what depends on them; [`Index::take_dirty`] hands that out, and [`Index::take_moved`] what only those care about
/// who follow endpoints. Equal content marks nothing.
#[derive(Debug, Default)]
pub struct Index {
    settings: Settings,
    namespaces: BTreeMap<Name, Namespace>,
    contents: BTreeMap<Name, Contents>,
    plans: HashMap<Name, Arc<NamespacePlan>>,
    caller_rules: HashMap<Name, Arc<CallerRules>>,
    links: Links,
    dirty: BTreeSet<Name>,
    /// Namespaces whose objects may be held by other workloads than before.
    held_elsewhere: BTreeSet<Name>,
    addresses: Addresses,
    by_hand: ByHand,
    moved: Moved,
    /// Zones by node.
    zones: BTreeMap<Name, Name>,
    /// Where proxies reach the operator, by its Service.
    operator: Option<OperatorEndpoint>,
}

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Suffix of the cluster's DNS names.
    pub cluster_domain: String,
    /// How `pathRegex` is anchored.
    pub path_regex_mode: PathRegexMode,
    /// How header expressions are anchored.
    pub header_regex_mode: HeaderRegexMode,
    /// First part of every identity of the mesh.
    pub trust_domain: TrustDomain,
    /// What becomes of calls that nothing allows, unless a Namespace says otherwise.
    pub access_mode: AccessMode,
    /// What becomes of calls from outside the mesh, unless a Namespace says otherwise.
    pub tls_mode: TlsMode,
    /// Callers without an identity that every workload lets in.
    pub unauthenticated_sources: Vec<UnauthenticatedSource>,
    /// Where the images of sidecars come from.
    pub sidecar_images: SidecarImages,
    /// Namespace of the operator; `None` for a mesh that runs without one, or is compiled from files.
    pub installation: Option<Name>,
}

/// What a change is about, as far as other namespaces care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    /// A ServiceAccount, which TrafficTargets of other namespaces may name as a source.
    Accounts,
    /// An IdentityBinding, which they may name too.
    Bindings,
    /// A TrafficTarget.
    Targets,
    /// A Service.
    Services,
    /// Anything else.
    Others,
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
    /// TrafficTargets by name.
    pub targets: BTreeMap<Name, Target>,
    /// IdentityBindings by name.
    pub bindings: BTreeMap<Name, Binding>,
    /// TCPRoutes by name.
    pub tcp_routes: BTreeMap<Name, PortRoute>,
    /// UDPRoutes by name.
    pub udp_routes: BTreeMap<Name, PortRoute>,
    /// EndpointSlices.
    pub slices: Slices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            path_regex_mode: PathRegexMode::default(),
            header_regex_mode: HeaderRegexMode::default(),
            trust_domain: TrustDomain::default(),
            access_mode: AccessMode::default(),
            tls_mode: TlsMode::default(),
            unauthenticated_sources: Vec::new(),
            sidecar_images: SidecarImages::default(),
            installation: None,
        }
    }
}

/// Accessors of one kind: a single change, and a relist that is compared with what was known.
macro_rules! kind {
    ($set:ident, $reset:ident, $field:ident, $value:ty, $touched:ident, $word:literal) => {
        #[doc = concat!("Takes in a ", $word, ", or that it is gone.")]
        pub fn $set(&mut self, namespace: &str, key: Name, value: Option<$value>) {
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
                self.touch(namespace, Touched::$touched);
            }
        }

        #[doc = concat!("Takes in every ", $word, " that there is; what is not among them is gone.")]
        pub fn $reset(&mut self, all: impl IntoIterator<Item = (Name, Name, $value)>) {
            let mut next: BTreeMap<Name, BTreeMap<Name, $value>> = BTreeMap::new();
            for (namespace, key, value) in all {
                next.entry(namespace).or_default().insert(key, value);
            }
            let known: BTreeSet<Name> = self.contents.keys().chain(next.keys()).cloned().collect();
            for namespace in known {
                let fresh = next.remove(&namespace).unwrap_or_default();
                let contents = self.contents.entry(namespace.clone()).or_default();
                if contents.$field != fresh {
                    contents.$field = fresh;
                    self.touch(&namespace, Touched::$touched);
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

    kind!(
        set_account,
        reset_accounts,
        accounts,
        Account,
        Accounts,
        "ServiceAccount"
    );
    kind!(set_split, reset_splits, splits, Split, Others, "TrafficSplit");
    kind!(
        set_group,
        reset_groups,
        groups,
        RouteGroup,
        Others,
        "HTTPRouteGroup"
    );
    kind!(
        set_target,
        reset_targets,
        targets,
        Target,
        Targets,
        "TrafficTarget"
    );
    kind!(
        set_binding,
        reset_bindings,
        bindings,
        Binding,
        Bindings,
        "IdentityBinding"
    );
    kind!(
        set_tcp_route,
        reset_tcp_routes,
        tcp_routes,
        PortRoute,
        Others,
        "TCPRoute"
    );
    kind!(
        set_udp_route,
        reset_udp_routes,
        udp_routes,
        PortRoute,
        Others,
        "UDPRoute"
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
            self.modes_moved(&name.into());
            self.touch(name, Touched::Others);
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

    /// Changes what holds for the whole mesh.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.operator = operator::endpoint(self);
            self.touch_all();
        }
    }

    /// Namespaces whose outputs may have changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.dirty)
    }

    /// Namespaces whose outputs are as they were, but whose objects may be held by other workloads since the last call.
    pub fn take_held_elsewhere(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.held_elsewhere)
    }

    /// Marks a namespace, so that its outputs are looked at again: after one of them was changed by somebody else.
    pub fn mark(&mut self, namespace: &str) {
        self.dirty.insert(namespace.into());
    }

    /// What holds for the whole mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where proxies reach the operator, once its Service has addresses.
    pub fn operator(&self) -> Option<&OperatorEndpoint> {
        self.operator.as_ref()
    }

    /// Namespaces whose workloads ask for Services of this one.
    pub(crate) fn that_import(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.links.that_import(namespace)
    }

    /// Namespaces whose Services the workloads of this one ask for.
    pub fn imported_by(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.links.imported_by(namespace)
    }

    /// Namespaces with TrafficTargets that name something of this one as a source, itself among them perhaps.
    pub(crate) fn that_name(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.links.that_name(namespace)
    }

    /// Whether TrafficTargets of a namespace have IdentityBindings as sources.
    pub(crate) fn names_bindings(&self, namespace: &str) -> bool {
        self.links.names_bindings(namespace)
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

    /// The plan of a namespace, made when it is first asked for after a change.
    pub fn plan(&mut self, namespace: &str) -> Arc<NamespacePlan> {
        if let Some(plan) = self.plans.get(namespace) {
            return Arc::clone(plan);
        }
        let plan = Arc::new(plan::plan(self, namespace));
        self.plans.insert(namespace.into(), Arc::clone(&plan));
        plan
    }

    fn touch(&mut self, namespace: &str, touched: Touched) {
        let name = Name::from(namespace);
        self.plans.remove(namespace);
        self.dirty.insert(name.clone());
        self.moved.plans.insert(name.clone());
        self.members_moved(&name);
        self.mark_holders(namespace);
        let refers = Refers::of(self.namespaces.get(namespace), self.contents.get(namespace));
        // Pods that bindings there select may be members here, before this change or after it.
        self.held_elsewhere.extend(self.links.set(&name, refers));
        self.mark_holders(namespace);
        self.members_moved(&name);
        self.dirty.extend(self.links.that_import(namespace).cloned());
        if matches!(touched, Touched::Targets | Touched::Bindings) {
            self.caller_rules_moved(&name);
        }
        if matches!(touched, Touched::Accounts | Touched::Bindings) {
            let elsewhere: Vec<Name> = self.links.that_name(namespace).cloned().collect();
            for other in elsewhere {
                if touched == Touched::Bindings {
                    self.caller_rules_moved(&other);
                }
                self.plans.remove(&other);
                self.moved.plans.insert(other.clone());
                self.dirty.insert(other);
            }
        }
        if touched == Touched::Services {
            let operator = operator::endpoint(self);
            if operator != self.operator {
                self.operator = operator;
                self.touch_all();
            }
        }
    }

    /// Workloads of a namespace hold what they import: who they are may be different.
    fn mark_holders(&mut self, namespace: &str) {
        let imported = self.links.imported_by(namespace).cloned();
        self.held_elsewhere.extend(imported);
    }

    fn touch_all(&mut self) {
        self.plans.clear();
        let all: BTreeSet<Name> = self
            .contents
            .keys()
            .chain(self.namespaces.keys())
            .cloned()
            .collect();
        for name in &all {
            self.modes_moved(name);
        }
        self.moved.plans.extend(all.iter().cloned());
        self.moved.members.extend(all.iter().cloned());
        self.dirty.extend(all);
    }
}

#[cfg(test)]
mod tests;
