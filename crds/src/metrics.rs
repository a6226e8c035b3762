//! `TrafficMetrics` (metrics.smi-spec.io): computed on request, never stored, so it has types but no manifest.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta, Time};
use serde::{Deserialize, Serialize};

/// API group of TrafficMetrics.
pub const GROUP: &str = "metrics.smi-spec.io";

/// Names of the metrics, in the order in which they are always given.
pub const NAMES: [&str; 5] = [
    "p99_response_latency",
    "p90_response_latency",
    "p50_response_latency",
    "success_count",
    "failure_count",
];

/// Traffic of one resource, or between two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficMetrics {
    /// `metrics.smi-spec.io/v1alpha1` or `/v1alpha2`.
    pub api_version: String,
    /// `TrafficMetrics`.
    pub kind: String,
    /// Name and namespace of the resource; the creation time is that of the answer.
    pub metadata: ObjectMeta,
    /// When the traffic was looked at.
    pub timestamp: Time,
    /// How far back, as in `30s`.
    pub window: String,
    /// The resource.
    pub resource: ObjectReference,
    /// The other end of the traffic.
    pub edge: Edge,
    /// The backend of a TrafficSplit that the traffic went to. v1alpha2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// One of each of [`NAMES`].
    pub metrics: Vec<Metric>,
}

/// The other end of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Which way the traffic goes, seen from the resource.
    pub direction: Direction,
    /// Who observed it. v1alpha2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The other resource; none means all of them.
    pub resource: Option<ObjectReference>,
}

/// Which way the traffic goes, seen from the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the other end.
    To,
    /// From the other end.
    From,
}

/// Who observed the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The caller.
    Client,
    /// The called.
    Server,
}

/// A backend of a TrafficSplit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The root Service.
    pub apex: String,
    /// The backend Service.
    pub name: String,
    /// Its present weight.
    pub weight: u32,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// One of [`NAMES`].
    pub name: String,
    /// `ms` for latencies, none for counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The value, in thousandths rounded down.
    pub value: Quantity,
}

/// Several of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficMetricsList {
    /// `metrics.smi-spec.io/v1alpha1` or `/v1alpha2`.
    pub api_version: String,
    /// `TrafficMetricsList`.
    pub kind: String,
    /// Where the list is found.
    pub metadata: ListMeta,
    /// The kind of resource, or for edges the resource, that was asked for.
    pub resource: ObjectReference,
    /// One per resource, edge, or backend.
    pub items: Vec<TrafficMetrics>,
}
