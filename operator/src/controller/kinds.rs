//! What is watched, and how far each watch is.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind that the index is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// Namespaces.
    Namespace,
    /// ServiceAccounts.
    ServiceAccount,
    /// Services.
    Service,
    /// Pods.
    Pod,
    /// EndpointSlices.
    EndpointSlice,
    /// The ConfigMaps that we write.
    ConfigMap,
    /// Settings of the mesh.
    MeshConfig,
    /// Nodes, of which only the zone counts.
    Node,
    /// LimitRanges, which may not let a sidecar in.
    LimitRange,
    /// An SMI kind.
    Smi(SmiKind),
}

/// SMI kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SmiKind {
    /// TrafficSplit.
    TrafficSplit,
    /// HTTPRouteGroup.
    HttpRouteGroup,
    /// TrafficTarget.
    TrafficTarget,
    /// IdentityBinding.
    IdentityBinding,
    /// TCPRoute.
    TcpRoute,
    /// UDPRoute.
    UdpRoute,
}

impl SmiKind {
    /// Every SMI kind that is a resource.
    pub const ALL: [Self; 6] = [
        Self::TrafficSplit,
        Self::HttpRouteGroup,
        Self::TrafficTarget,
        Self::IdentityBinding,
        Self::TcpRoute,
        Self::UdpRoute,
    ];

    /// The kind that the API spells so.
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.kind() == kind)
    }

    /// Kind as the API spells it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::TrafficSplit => "TrafficSplit",
            Self::HttpRouteGroup => "HTTPRouteGroup",
            Self::TrafficTarget => "TrafficTarget",
            Self::IdentityBinding => "IdentityBinding",
            Self::TcpRoute => "TCPRoute",
            Self::UdpRoute => "UDPRoute",
        }
    }

    /// API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::TrafficSplit => "split.smi-spec.io",
            Self::TrafficTarget | Self::IdentityBinding => "access.smi-spec.io",
            Self::HttpRouteGroup | Self::TcpRoute | Self::UdpRoute => "specs.smi-spec.io",
        }
    }

    /// The stored version of the resource.
    pub fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group(), "v1alpha4", self.kind());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }

    /// Name of the resource in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::TrafficSplit => "trafficsplits",
            Self::HttpRouteGroup => "httproutegroups",
            Self::TrafficTarget => "traffictargets",
            Self::IdentityBinding => "identitybindings",
            Self::TcpRoute => "tcproutes",
            Self::UdpRoute => "udproutes",
        }
    }

    /// Name of its CustomResourceDefinition.
    pub fn definition(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }
}

impl Watched {
    /// Everything that must have been listed before anything is written or told. Nodes are not among it: without their
    /// zones, callers only do without a preference. Nor are LimitRanges, which only make a refusal clearer.
    pub fn all() -> impl Iterator<Item = Self> {
        let builtin = [
            Self::Namespace,
            Self::ServiceAccount,
            Self::Service,
            Self::Pod,
            Self::EndpointSlice,
            Self::ConfigMap,
            Self::MeshConfig,
        ];
        builtin.into_iter().chain(SmiKind::ALL.into_iter().map(Self::Smi))
    }

    /// Word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::ConfigMap => "ConfigMap",
            Self::MeshConfig => "MeshConfig",
            Self::Node => "Node",
            Self::LimitRange => "LimitRange",
            Self::Smi(kind) => kind.kind(),
        }
    }
}
