//! What is watched, and how far each watch is.

use kube::core::{ApiResource, GroupVersionKind};
use smilax_compiler::model::UnsupportedKind;

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
    /// Stored only, for now.
    Unsupported(UnsupportedKind),
}

impl SmiKind {
    /// Every SMI kind that is a resource.
    pub const ALL: [Self; 6] = [
        Self::TrafficSplit,
        Self::HttpRouteGroup,
        Self::Unsupported(UnsupportedKind::TrafficTarget),
        Self::Unsupported(UnsupportedKind::IdentityBinding),
        Self::Unsupported(UnsupportedKind::TcpRoute),
        Self::Unsupported(UnsupportedKind::UdpRoute),
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
            Self::Unsupported(kind) => kind.as_str(),
        }
    }

    /// API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::TrafficSplit => "split.smi-spec.io",
            Self::Unsupported(UnsupportedKind::TrafficTarget | UnsupportedKind::IdentityBinding) => {
                "access.smi-spec.io"
            }
            Self::HttpRouteGroup | Self::Unsupported(_) => "specs.smi-spec.io",
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
            Self::Unsupported(UnsupportedKind::TrafficTarget) => "traffictargets",
            Self::Unsupported(UnsupportedKind::IdentityBinding) => "identitybindings",
            Self::Unsupported(UnsupportedKind::TcpRoute) => "tcproutes",
            Self::Unsupported(UnsupportedKind::UdpRoute) => "udproutes",
        }
    }

    /// Name of its CustomResourceDefinition.
    pub fn definition(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }
}

impl Watched {
    /// Everything that must have been listed before anything is written.
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
            Self::Smi(kind) => kind.kind(),
        }
    }
}
