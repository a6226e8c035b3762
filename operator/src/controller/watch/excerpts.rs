//! What is kept of each kind that is watched, and how many objects are asked for at once.

use smilax_compiler::ingest;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY};

use crate::controller::kinds::{SmiKind, Watched};
use crate::excerpt::{Excerpt, Shape};
use Shape::{Apart, Beginning, Costs, Each, First, Listed, Members, Name, Short, Where, Whole, With};

const KIB: usize = 1024;

/// Annotations that decide something.
const DECISIVE: Shape = Beginning(&["smilax.dev/", "conversion.smilax.dev/"]);
const ANNOTATIONS: Shape = Apart(64 * KIB, &DECISIVE);
/// What an older version holds that the stored one cannot may fill all of the 256 KiB that the API server takes.
const SMI_ANNOTATIONS: Shape = Apart(320 * KIB, &DECISIVE);
/// Any of them may be selected by.
const LABELS: Shape = Apart(64 * KIB, &Whole);
/// Only the operator reads what it wrote here.
const STATUS: Shape = Apart(128 * KIB, &Whole);

/// What is kept of the metadata of most kinds, and these members beside it.
macro_rules! metadata {
    ($annotations:expr $(, $more:expr)*) => {
        Members(&[
            ("name", Name),
            ("namespace", Name),
            ("uid", Name),
            ("resourceVersion", Name),
            ("generation", Whole),
            ("creationTimestamp", Whole),
            ("deletionTimestamp", Whole),
            ("annotations", $annotations),
            $($more),*
        ])
    };
}

const LABELLED: Shape = metadata!(ANNOTATIONS, ("labels", LABELS));
const UNLABELLED: Shape = metadata!(ANNOTATIONS);
const OF_SMI: Shape = metadata!(SMI_ANNOTATIONS);
const OF_NODE: Shape = Members(&[
    ("name", Name),
    ("resourceVersion", Name),
    ("labels", Members(&[("topology.kubernetes.io/zone", Whole)])),
]);
const OF_SLICE: Shape = Members(&[
    ("name", Name),
    ("namespace", Name),
    ("resourceVersion", Name),
    ("labels", Members(&[("kubernetes.io/service-name", Whole)])),
]);

const SERVICE: Shape = Members(&[
    ("clusterIP", Whole),
    ("clusterIPs", Whole),
    ("type", Whole),
    ("externalName", Whole),
    ("internalTrafficPolicy", Whole),
    ("sessionAffinity", Whole),
    ("selector", Whole),
    (
        "ports",
        Each(&Members(&[
            ("name", Whole),
            ("port", Whole),
            ("protocol", Whole),
            ("appProtocol", Whole),
            ("targetPort", Whole),
        ])),
    ),
]);

const ENDPOINT: Shape = Members(&[
    ("addresses", First),
    ("conditions", Whole),
    ("zone", Whole),
    ("nodeName", Whole),
    ("hints", Members(&[("forZones", Whole)])),
    ("targetRef", Members(&[("kind", Whole), ("name", Whole)])),
]);

/// What a sidecar is started with is short; what is longer is no sidecar's, and only has to differ from it.
const ARGUMENTS: Shape = Each(&Short(KIB));

const CONTAINER: Shape = Members(&[
    ("name", Whole),
    ("image", Short(4 * KIB)),
    ("command", ARGUMENTS),
    ("args", ARGUMENTS),
    ("restartPolicy", Whole),
    (
        "ports",
        Each(&Members(&[
            ("name", Whole),
            ("containerPort", Whole),
            ("protocol", Whole),
        ])),
    ),
    ("volumeMounts", Each(&Members(&[("name", Whole)]))),
    // What our containers were given when the pod was made.
    (
        "env",
        Where {
            key: "name",
            values: &ingest::SIDECAR_VARIABLES,
            each: &Members(&[("name", Short(KIB)), ("value", Short(4 * KIB))]),
        },
    ),
]);

/// Volumes that may hold a token.
const VOLUMES: Shape = With {
    key: "projected",
    each: &Costs(4 * KIB, &VOLUME),
};

const VOLUME: Shape = Members(&[
    ("name", Whole),
    (
        "projected",
        Members(&[(
            "sources",
            With {
                key: "serviceAccountToken",
                each: &Members(&[("serviceAccountToken", Members(&[("audience", Short(KIB))]))]),
            },
        )]),
    ),
]);

/// As k8s-openapi decodes them, most of a container is room for what is not there.
const CONTAINERS: Shape = Each(&Costs(KIB, &CONTAINER));

/// Only what mounts something may hold a token. They are not left out when there are too many: one of those could be the
/// one that must not get a certificate.
const EPHEMERAL_CONTAINERS: Shape = With {
    key: "volumeMounts",
    each: &Costs(KIB, &CONTAINER),
};

const POD: Shape = Members(&[
    ("hostNetwork", Whole),
    ("serviceAccountName", Whole),
    ("containers", CONTAINERS),
    ("initContainers", CONTAINERS),
    ("ephemeralContainers", EPHEMERAL_CONTAINERS),
    ("volumes", VOLUMES),
]);

const POD_STATUS: Shape = Members(&[
    ("phase", Whole),
    ("podIP", Whole),
    ("podIPs", Whole),
    (
        "conditions",
        Where {
            key: "type",
            values: &["Ready"],
            each: &Members(&[("type", Short(KIB)), ("status", Short(KIB))]),
        },
    ),
]);

/// What is kept of an SMI object when only its status is asked for.
pub(crate) fn status_of(kind: SmiKind) -> Excerpt {
    Excerpt {
        kind: Watched::Smi(kind).word(),
        shape: Members(&[
            ("apiVersion", Whole),
            ("kind", Whole),
            ("metadata", UNLABELLED),
            ("status", Whole),
        ]),
        bytes: 128 * KIB,
    }
}

/// What is kept of an object of this kind.
pub(crate) fn excerpt(kind: Watched) -> Excerpt {
    let (shape, bytes) = match kind {
        Watched::Namespace => (Members(&[("metadata", LABELLED)]), 128 * KIB),
        Watched::ServiceAccount => (Members(&[("metadata", UNLABELLED)]), 128 * KIB),
        Watched::Service => (Members(&[("metadata", UNLABELLED), ("spec", SERVICE)]), 512 * KIB),
        Watched::Pod => {
            let shape = Members(&[("metadata", LABELLED), ("spec", POD), ("status", POD_STATUS)]);
            (shape, 128 * KIB)
        }
        Watched::EndpointSlice => {
            let shape = Members(&[
                ("metadata", OF_SLICE),
                ("addressType", Whole),
                ("endpoints", Each(&ENDPOINT)),
                ("ports", Whole),
            ]);
            (shape, 2048 * KIB)
        }
        Watched::ConfigMap => {
            let shape = Members(&[
                ("metadata", UNLABELLED),
                ("immutable", Whole),
                ("data", Listed(&[POLICY_KEY, TRUST_BUNDLE_KEY, SIGNATURE_KEY])),
                ("binaryData", Listed(&[PACKED_POLICY_KEY])),
            ]);
            // More than the API server stores.
            (shape, 2048 * KIB)
        }
        Watched::Node => (
            Members(&[("apiVersion", Whole), ("kind", Whole), ("metadata", OF_NODE)]),
            16 * KIB,
        ),
        Watched::LimitRange => (Members(&[("metadata", UNLABELLED), ("spec", Whole)]), 128 * KIB),
        Watched::MeshConfig | Watched::Smi(_) => {
            let shape = Members(&[
                ("apiVersion", Whole),
                ("kind", Whole),
                ("metadata", OF_SMI),
                ("spec", Whole),
                ("matches", Whole),
                ("status", STATUS),
            ]);
            let most = match kind {
                // All that its definition allows: an access rule that does not count would leave its pods open.
                Watched::Smi(SmiKind::TrafficTarget) => 4096,
                _ => 2048,
            };
            (shape, most * KIB)
        }
    };
    Excerpt {
        kind: kind.word(),
        shape,
        bytes,
    }
}

/// Objects in one answer to a list: the excerpts of one answer are held together.
pub(super) fn page(kind: Watched) -> u32 {
    match kind {
        Watched::Namespace | Watched::ServiceAccount | Watched::Node => 100,
        Watched::Pod | Watched::LimitRange => 50,
        Watched::Service | Watched::EndpointSlice => 25,
        Watched::Smi(SmiKind::TrafficTarget) => 2,
        Watched::ConfigMap | Watched::MeshConfig | Watched::Smi(_) => 5,
    }
}

#[cfg(test)]
mod crowded;
#[cfg(test)]
mod tests;
