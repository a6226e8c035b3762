//! The table of kinds and versions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as api;

use super::schema::{no_fields, object, of, spec};
use super::{Kind, Scope, Version};
use crate::{access, mesh, specs, split};

const SMI: &[&str] = &["smi"];

pub(super) fn all() -> Vec<Kind> {
    vec![
        traffic_split(),
        traffic_target(),
        identity_binding(),
        http_route_group(),
        tcp_route(),
        udp_route(),
        mesh_config(),
    ]
}

fn traffic_split() -> Kind {
    let description = "Divides the traffic of one Service between other Services, by weight.";
    let version = |name, fields| Version {
        name,
        schema: object(
            description,
            fields,
            &["backends", "reported", "observedGeneration"],
        ),
        columns: vec![
            column("Service", ".spec.service", "The Service that clients call"),
            column("Backends", ".status.backends", "Receivers and their weights"),
            accepted(),
            resolved(),
            programmed(),
            age(),
        ],
    };
    Kind {
        group: split::GROUP,
        name: "TrafficSplit",
        plural: "trafficsplits",
        short_names: &["ts"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![
            version("v1alpha1", spec::<split::v1alpha1::TrafficSplitSpec>()),
            version("v1alpha2", spec::<split::v1alpha2::TrafficSplitSpec>()),
            version("v1alpha3", spec::<split::TrafficSplitSpec>()),
            version("v1alpha4", spec::<split::TrafficSplitSpec>()),
        ],
    }
}

fn traffic_target() -> Kind {
    let description = "Lets sources call a destination, on the routes that its rules name.";
    let version = |name, fields, destination| Version {
        name,
        schema: object(
            description,
            fields,
            &["sources", "rules", "reported", "observedGeneration"],
        ),
        columns: vec![
            column("Destination", destination, "Whose pods are called"),
            column("Sources", ".status.sources", "Who may call"),
            column("Rules", ".status.rules", "What they may call"),
            accepted(),
            resolved(),
            programmed(),
            age(),
        ],
    };
    let spec = spec::<access::TrafficTargetSpec>;
    Kind {
        group: access::GROUP,
        name: "TrafficTarget",
        plural: "traffictargets",
        short_names: &["tt"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![
            version(
                "v1alpha1",
                of::<access::v1alpha1::TrafficTargetFields>(),
                ".destination.name",
            ),
            version("v1alpha2", spec(), ".spec.destination.name"),
            version("v1alpha3", spec(), ".spec.destination.name"),
            version("v1alpha4", spec(), ".spec.destination.name"),
        ],
    }
}

fn identity_binding() -> Kind {
    let description = "Gives workloads of its namespace a name that TrafficTargets can use.";
    Kind {
        group: access::GROUP,
        name: "IdentityBinding",
        plural: "identitybindings",
        short_names: &["ib"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![Version {
            name: "v1alpha4",
            schema: object(
                description,
                spec::<access::IdentityBindingSpec>(),
                &["identities", "reported", "observedGeneration"],
            ),
            columns: vec![
                column("Identities", ".status.identities", "Workloads that are meant"),
                accepted(),
                age(),
            ],
        }],
    }
}

fn http_route_group() -> Kind {
    let description = "Names kinds of HTTP requests, for TrafficSplits and TrafficTargets to refer to.";
    let version = |name, fields| Version {
        name,
        schema: object(
            description,
            fields,
            &["matches", "reported", "observedGeneration"],
        ),
        columns: vec![
            column("Matches", ".status.matches", "Names of the matches"),
            accepted(),
            age(),
        ],
    };
    let old = of::<specs::v1alpha1::HTTPRouteGroupFields>;
    Kind {
        group: specs::GROUP,
        name: "HTTPRouteGroup",
        plural: "httproutegroups",
        short_names: &["htr"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![
            version("v1alpha1", old()),
            version("v1alpha2", old()),
            version("v1alpha3", http_route_group_fields()),
            version("v1alpha4", http_route_group_fields()),
        ],
    }
}

/// `spec`, and the deprecated place of the matches beside it.
fn http_route_group_fields() -> api::JSONSchemaProps {
    let mut fields = spec::<specs::HTTPRouteGroupSpec>();
    let alias = of::<specs::v1alpha1::HTTPRouteGroupFields>()
        .properties
        .and_then(|mut all| all.remove("matches"));
    if let Some(mut alias) = alias {
        alias.description =
            Some("Deprecated: write it under spec. Counts only when spec has no matches.".to_owned());
        fields
            .properties
            .get_or_insert_default()
            .insert("matches".to_owned(), alias);
    }
    fields
}

fn tcp_route() -> Kind {
    let description = "Names TCP traffic on some ports, for TrafficTargets to refer to.";
    let version = |name, fields| Version {
        name,
        schema: object(description, fields, &["ports", "reported", "observedGeneration"]),
        columns: vec![
            column("Ports", ".status.ports", "Ports that are meant"),
            accepted(),
            age(),
        ],
    };
    Kind {
        group: specs::GROUP,
        name: "TCPRoute",
        plural: "tcproutes",
        short_names: &["tr"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![
            version("v1alpha1", no_fields()),
            version("v1alpha2", no_fields()),
            version("v1alpha3", spec::<specs::v1alpha3::TCPRouteSpec>()),
            version("v1alpha4", spec::<specs::PortRouteSpec>()),
        ],
    }
}

fn udp_route() -> Kind {
    let description = "Names UDP traffic on some ports, for TrafficTargets to refer to.";
    Kind {
        group: specs::GROUP,
        name: "UDPRoute",
        plural: "udproutes",
        short_names: &["ur"],
        categories: SMI,
        scope: Scope::Namespaced,
        versions: vec![Version {
            name: "v1alpha4",
            schema: object(
                description,
                spec::<specs::PortRouteSpec>(),
                &["ports", "reported", "observedGeneration"],
            ),
            columns: vec![
                column("Ports", ".status.ports", "Ports that are meant"),
                accepted(),
                age(),
            ],
        }],
    }
}

fn mesh_config() -> Kind {
    let mut schema = object("Settings of the whole mesh.", spec::<mesh::MeshConfigSpec>(), &[]);
    schema.x_kubernetes_validations = Some(vec![api::ValidationRule {
        rule: format!("self.metadata.name == '{}'", mesh::NAME),
        message: Some(format!("the only MeshConfig is the one named {}", mesh::NAME)),
        ..api::ValidationRule::default()
    }]);
    Kind {
        group: mesh::GROUP,
        name: "MeshConfig",
        plural: "meshconfigs",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        versions: vec![Version {
            name: "v1alpha1",
            schema,
            columns: vec![
                column(
                    "Access",
                    ".spec.accessMode",
                    "What happens to calls that nothing allows",
                ),
                column(
                    "TLS",
                    ".spec.tlsMode",
                    "What happens to calls from outside the mesh",
                ),
                column(
                    "Trust domain",
                    ".spec.trustDomain",
                    "First part of all identities",
                ),
                accepted(),
                age(),
            ],
        }],
    }
}

fn column(name: &str, json_path: &str, description: &str) -> api::CustomResourceColumnDefinition {
    api::CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: json_path.to_owned(),
        type_: "string".to_owned(),
        description: Some(description.to_owned()),
        ..api::CustomResourceColumnDefinition::default()
    }
}

fn accepted() -> api::CustomResourceColumnDefinition {
    let path = r#".status.conditions[?(@.type=="Accepted")].status"#;
    column("Accepted", path, "Whether the mesh can make sense of it")
}

fn resolved() -> api::CustomResourceColumnDefinition {
    let path = r#".status.conditions[?(@.type=="ResolvedRefs")].status"#;
    column("Resolved", path, "Whether everything that it refers to exists")
}

fn programmed() -> api::CustomResourceColumnDefinition {
    let path = r#".status.conditions[?(@.type=="Programmed")].status"#;
    column(
        "Programmed",
        path,
        "Whether all proxies that it concerns carry it out",
    )
}

fn age() -> api::CustomResourceColumnDefinition {
    api::CustomResourceColumnDefinition {
        type_: "date".to_owned(),
        ..column("Age", ".metadata.creationTimestamp", "Since when it exists")
    }
}
