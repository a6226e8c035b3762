//! Builders for tests: small clusters in one namespace, `shop`.

use std::collections::BTreeMap;
use std::sync::Arc;

use smilax_core::config::{ContainerPort, Protocol};
use smilax_core::endpoints::EndpointState;

use crate::index::{Index, Settings};
use crate::model::{
    Account, Addressing, Binding, GroupMatch, InboundUdp, Meta, Namespace, Pod, PortRoute, Reach, Reference,
    RouteGroup, RoutePorts, Rule, Rules, Service, Sidecar, Slice, SliceEndpoint, SlicePort, Split,
    SplitBackend, Subject, Target,
};
use crate::plan::NamespacePlan;

pub(crate) const SHOP: &str = "shop";

/// Objects on their way into an index, in order of arrival.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    settings: Settings,
    pub(crate) changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Namespace(Namespace),
    Account(Account),
    Service(Service, bool),
    Pod(Pod),
    Split(Split),
    Group(RouteGroup),
    Target(Target),
    Binding(Binding),
    TcpRoute(PortRoute),
    UdpRoute(PortRoute),
    /// By name, in `shop`; `None` when it is gone.
    Slice(&'static str, Option<Slice>),
    /// A pod that is gone, by name, in `shop`.
    PodGone(&'static str),
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    pub(crate) fn namespace(self, name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Self {
        self.with(Change::Namespace(Namespace {
            name: name.into(),
            labels: map(labels),
            annotations: map(annotations),
            ..Namespace::default()
        }))
    }

    pub(crate) fn account(self, namespace: &str, name: &str, annotations: &[(&str, &str)]) -> Self {
        self.with(Change::Account(Account {
            meta: named(namespace, name),
            annotations: map(annotations),
        }))
    }

    pub(crate) fn service(self, service: ServiceBuilder) -> Self {
        self.with(Change::Service(service.0, service.1))
    }

    pub(crate) fn split(self, split: SplitBuilder) -> Self {
        self.with(Change::Split(split.0))
    }

    pub(crate) fn group(self, group: GroupBuilder) -> Self {
        self.with(Change::Group(group.0))
    }

    pub(crate) fn add_group(self, group: RouteGroup) -> Self {
        self.with(Change::Group(group))
    }

    pub(crate) fn pod(self, name: &str, labels: &[(&str, &str)]) -> Self {
        self.with(Change::Pod(Pod {
            meta: named(SHOP, name),
            account: "web".into(),
            labels: map(labels),
            ..Pod::default()
        }))
    }

    pub(crate) fn injected_pod(self, namespace: &str, name: &str, account: &str) -> Self {
        self.with(Change::Pod(Pod {
            meta: named(namespace, name),
            account: account.into(),
            sidecar: Some(sidecar()),
            ..Pod::default()
        }))
    }

    pub(crate) fn add_pod(self, pod: PodBuilder) -> Self {
        self.with(Change::Pod(pod.0))
    }

    pub(crate) fn target(self, target: TargetBuilder) -> Self {
        self.with(Change::Target(target.0))
    }

    pub(crate) fn binding(self, binding: Binding) -> Self {
        self.with(Change::Binding(binding))
    }

    /// A TCPRoute of `shop`; no ports means all.
    pub(crate) fn tcp_route(self, name: &str, ports: &[i64]) -> Self {
        self.with(Change::TcpRoute(port_route(name, ports)))
    }

    pub(crate) fn udp_route(self, name: &str) -> Self {
        self.with(Change::UdpRoute(port_route(name, &[])))
    }

    pub(crate) fn slice(self, name: &'static str, slice: Slice) -> Self {
        self.with(Change::Slice(name, Some(slice)))
    }

    pub(crate) fn index(&self) -> Index {
        let mut index = Index::new(self.settings.clone());
        for change in &self.changes {
            apply(&mut index, change.clone());
        }
        index
    }

    pub(crate) fn plan(self) -> NamespacePlan {
        (*self.index().plan(SHOP)).clone()
    }
}

pub(crate) fn apply(index: &mut Index, change: Change) {
    match change {
        Change::Namespace(one) => index.set_namespace(&one.name.clone(), Some(one)),
        Change::Account(one) => {
            index.set_account(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one));
        }
        Change::Service(one, ready) => {
            let (namespace, name) = (one.meta.namespace.clone(), one.meta.name.clone());
            let slice = ready.then(|| slice(&name, [endpoint("10.1.0.1")]));
            index.set_slice(&namespace, &format!("{name}-ready").into(), slice);
            index.set_service(&namespace, name, Some(one));
        }
        Change::Slice(name, one) => index.set_slice(SHOP, &name.into(), one),
        Change::PodGone(name) => index.set_pod(SHOP, name.into(), None),
        Change::Pod(one) => index.set_pod(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one)),
        Change::Split(one) => index.set_split(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one)),
        Change::Group(one) => index.set_group(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one)),
        Change::Target(one) => {
            index.set_target(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one));
        }
        Change::Binding(one) => {
            index.set_binding(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one));
        }
        Change::TcpRoute(one) => {
            index.set_tcp_route(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one));
        }
        Change::UdpRoute(one) => {
            index.set_udp_route(&one.meta.namespace.clone(), one.meta.name.clone(), Some(one));
        }
    }
}

fn port_route(name: &str, ports: &[i64]) -> PortRoute {
    PortRoute {
        meta: named(SHOP, name),
        ports: if ports.is_empty() {
            RoutePorts::All
        } else {
            RoutePorts::Listed(ports.to_vec())
        },
    }
}

#[derive(Clone)]
pub(crate) struct PodBuilder(pub(crate) Pod);

/// A pod of account `web` without a proxy.
pub(crate) fn pod(name: &str) -> PodBuilder {
    PodBuilder(Pod {
        meta: named(SHOP, name),
        account: "web".into(),
        ..Pod::default()
    })
}

impl PodBuilder {
    pub(crate) fn of(mut self, namespace: &str) -> Self {
        self.0.meta = named(namespace, &self.0.meta.name);
        self
    }

    pub(crate) fn account(mut self, account: &str) -> Self {
        self.0.account = account.into();
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn injected(mut self) -> Self {
        self.0.sidecar = Some(sidecar());
        self
    }

    pub(crate) fn finished(mut self) -> Self {
        self.0.finished = true;
        self
    }

    pub(crate) fn on_host_network(mut self) -> Self {
        self.0.host_network = true;
        self
    }

    pub(crate) fn at(mut self, address: &str) -> Self {
        self.0.addresses.push(address.parse().unwrap());
        self
    }

    pub(crate) fn named_port(mut self, name: &str, port: u16) -> Self {
        self.0.port_names.insert(name.to_owned(), port);
        self
    }

    /// A port that the redirect leaves alone, or that a pod without a sidecar asks to be called on in plaintext.
    pub(crate) fn skipping(mut self, port: u16) -> Self {
        let ports = if self.0.injected() {
            &mut self.0.skip_inbound
        } else {
            &mut self.0.asks_to_skip
        };
        ports.push((port, port));
        self
    }
}

fn sidecar() -> Sidecar {
    Sidecar {
        image: "registry.example/smilax-proxy:0.1.0".to_owned(),
        inbound_udp: InboundUdp::Open,
        access: None,
    }
}

#[derive(Clone)]
pub(crate) struct TargetBuilder(pub(crate) Target);

/// A target about an account of `shop`, without sources and rules.
pub(crate) fn target(name: &str, account: &str) -> TargetBuilder {
    TargetBuilder(Target {
        meta: named(SHOP, name),
        destination: subject("ServiceAccount", None, account),
        ..Target::default()
    })
}

fn subject(kind: &str, namespace: Option<&str>, name: &str) -> Subject {
    Subject {
        kind: kind.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
        name: name.to_owned(),
    }
}

impl TargetBuilder {
    pub(crate) fn of(mut self, namespace: &str) -> Self {
        self.0.meta = named(namespace, &self.0.meta.name);
        self
    }

    pub(crate) fn about(mut self, kind: &str, name: &str) -> Self {
        self.0.destination = subject(kind, None, name);
        self
    }

    pub(crate) fn destination_namespace(mut self, namespace: &str) -> Self {
        self.0.destination.namespace = Some(namespace.to_owned());
        self
    }

    pub(crate) fn port(mut self, port: crate::model::DestinationPort) -> Self {
        self.0.destination_port = port;
        self
    }

    pub(crate) fn from(self, namespace: &str, account: &str) -> Self {
        self.source("ServiceAccount", Some(namespace), account)
    }

    pub(crate) fn source(mut self, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        self.0.sources.push(subject(kind, namespace, name));
        self
    }

    pub(crate) fn rule(self, kind: &str, name: &str) -> Self {
        self.matches(kind, name, &[])
    }

    pub(crate) fn matches(mut self, kind: &str, name: &str, matches: &[&str]) -> Self {
        let rule = Rule {
            kind: kind.to_owned(),
            name: name.to_owned(),
            matches: matches.iter().map(|&one| one.to_owned()).collect(),
        };
        match &mut self.0.rules {
            Rules::Listed(rules) => rules.push(rule),
            other => *other = Rules::Listed(vec![rule]),
        }
        self
    }

    pub(crate) fn rules(mut self, rules: Rules) -> Self {
        self.0.rules = rules;
        self
    }
}

/// A binding that means the pods with this label.
pub(crate) fn binding(namespace: &str, name: &str, key: &str, value: &str) -> Binding {
    Binding {
        meta: named(namespace, name),
        labels: Some(map(&[(key, value)])),
        ..Binding::default()
    }
}

pub(crate) struct ServiceBuilder(Service, bool);

/// A Service of port 80 with a ready endpoint; its address follows from its name.
pub(crate) fn service(name: &str) -> ServiceBuilder {
    let last = name
        .bytes()
        .fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    ServiceBuilder(
        Service {
            meta: named(SHOP, name),
            addressing: Addressing::Virtual(vec![std::net::Ipv4Addr::new(10, 0, 0, last).into()]),
            ports: BTreeMap::from([(80, Protocol::Http)]),
            target_ports: BTreeMap::from([(80, ContainerPort::Number(80))]),
            port_names: BTreeMap::from([(80, String::new())]),
            reach: Reach::All,
            other_ports: std::collections::BTreeSet::new(),
            selector: BTreeMap::new(),
        },
        true,
    )
}

impl ServiceBuilder {
    pub(crate) fn into_inner(self) -> Service {
        self.0
    }

    pub(crate) fn port(self, port: u16) -> Self {
        self.protocol(port, Protocol::Http)
    }

    pub(crate) fn protocol(mut self, port: u16, protocol: Protocol) -> Self {
        self.0.ports.insert(port, protocol);
        self.0.target_ports.insert(port, ContainerPort::Number(port));
        self
    }

    /// Leads from a port to a named one of the pods.
    pub(crate) fn leading_to(mut self, port: u16, name: &str) -> Self {
        self.0
            .target_ports
            .insert(port, ContainerPort::Name(name.to_owned()));
        self
    }

    pub(crate) fn of(mut self, namespace: &str) -> Self {
        self.0.meta.namespace = namespace.into();
        self
    }

    pub(crate) fn reached(mut self, reach: Reach) -> Self {
        self.0.reach = reach;
        self
    }

    pub(crate) fn at(mut self, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|one| one.parse().unwrap());
        self.0.addressing = Addressing::Virtual(addresses.collect());
        self
    }

    pub(crate) fn headless(mut self) -> Self {
        self.0.addressing = Addressing::Headless;
        self
    }

    pub(crate) fn external(mut self, name: &str) -> Self {
        self.0.addressing = Addressing::External(name.to_owned());
        self
    }

    pub(crate) fn not_ready(mut self) -> Self {
        self.1 = false;
        self
    }

    pub(crate) fn selecting(mut self, key: &str, value: &str) -> Self {
        self.0.selector.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A slice of a Service of `shop` whose port without a name leads to 8080.
pub(crate) fn slice(service: &str, endpoints: impl IntoIterator<Item = SliceEndpoint>) -> Slice {
    Slice {
        service: service.into(),
        ports: Box::new([SlicePort {
            name: "".into(),
            number: 8080,
        }]),
        endpoints: endpoints.into_iter().collect(),
    }
}

/// A ready endpoint without a pod.
pub(crate) fn endpoint(address: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: address.parse().unwrap(),
        state: Some(EndpointState::Ready),
        zone: None,
        for_zones: Box::default(),
        node: None,
        pod: None,
    }
}

/// A ready endpoint of a pod.
pub(crate) fn endpoint_of(pod: &str, address: &str) -> SliceEndpoint {
    SliceEndpoint {
        pod: Some(pod.into()),
        ..endpoint(address)
    }
}

pub(crate) struct SplitBuilder(Split);

/// A split named like its root.
pub(crate) fn split(root: &str) -> SplitBuilder {
    SplitBuilder(Split {
        meta: named(SHOP, root),
        root: root.to_owned(),
        ..Split::default()
    })
}

impl SplitBuilder {
    pub(crate) fn of(mut self, namespace: &str) -> Self {
        self.0.meta.namespace = namespace.into();
        self
    }

    pub(crate) fn into_inner(self) -> Split {
        self.0
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.0.meta.name = name.into();
        self
    }

    pub(crate) fn created(mut self, at: i64) -> Self {
        self.0.meta.created = at;
        self
    }

    pub(crate) fn backend(mut self, service: &str, weight: i64) -> Self {
        self.0.backends.push(SplitBackend {
            service: service.to_owned(),
            weight,
        });
        self
    }

    pub(crate) fn matching(self, group: &str) -> Self {
        self.reference("HTTPRouteGroup", "", group)
    }

    pub(crate) fn reference(mut self, kind: &str, group: &str, name: &str) -> Self {
        self.0.matches.push(Reference {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
        self
    }
}

pub(crate) struct GroupBuilder(RouteGroup);

pub(crate) fn group(name: &str) -> GroupBuilder {
    GroupBuilder(RouteGroup {
        meta: named(SHOP, name),
        ..RouteGroup::default()
    })
}

impl GroupBuilder {
    pub(crate) fn into_inner(self) -> RouteGroup {
        self.0
    }

    pub(crate) fn of(mut self, namespace: &str) -> Self {
        self.0.meta.namespace = namespace.into();
        self
    }

    pub(crate) fn path(mut self, name: &str, regex: &str) -> Self {
        self.0.matches.push(GroupMatch {
            name: name.to_owned(),
            path_regex: Some(regex.to_owned()),
            ..GroupMatch::default()
        });
        self
    }

    pub(crate) fn header(mut self, name: &str, header: &str, regex: &str) -> Self {
        self.0.matches.push(GroupMatch {
            name: name.to_owned(),
            headers: vec![(header.to_owned(), regex.to_owned())],
            ..GroupMatch::default()
        });
        self
    }
}

pub(crate) fn named(namespace: &str, name: &str) -> Meta {
    Meta {
        namespace: Arc::from(namespace),
        name: Arc::from(name),
        uid: format!("uid-{namespace}-{name}"),
        generation: 1,
        created: 0,
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
