//! Builders of the objects that tests apply.

mod access;
mod service;
mod smi;
mod workload;

use serde_json::Value;

pub use access::{IdentityBinding, TcpRoute, TrafficTarget};
pub use service::Service;
pub use smi::{Match, RouteGroup, SplitVersion, TrafficSplit};
pub use workload::{Probe, Workload};

/// Ports of the test application.
pub mod port {
    /// HTTP/1.1 and HTTP/2; Services offer it at 80.
    pub const HTTP: u16 = 8080;
    /// HTTPS that the application itself ends; Services offer it at 443.
    pub const HTTPS: u16 = 8443;
    /// gRPC, and HTTP like every other.
    pub const GRPC: u16 = 9000;
    /// TCP where the client speaks first.
    pub const TCP: u16 = 9001;
    /// TCP where the server speaks first.
    pub const GREET: u16 = 9002;
}

/// An object as it is applied, or as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object(pub Value);

impl Object {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// What `kubectl get` calls it: `TrafficSplit.v1alpha4.split.smi-spec.io/web`.
    pub fn reference(&self) -> String {
        let version = self.0["apiVersion"].as_str().unwrap_or_default();
        let kind = self.kind();
        let name = self.name();
        match version.split_once('/') {
            Some((group, version)) => format!("{kind}.{version}.{group}/{name}"),
            None => format!("{kind}/{name}"),
        }
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<&Self> for Object {
    fn from(object: &Self) -> Self {
        object.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reference_pins_the_version_that_was_applied() {
        let split = Object::from(TrafficSplit::of("web").version(SplitVersion::V1alpha2));
        assert_eq!(split.reference(), "TrafficSplit.v1alpha2.split.smi-spec.io/web");
        let service = Object::from(Service::named("web"));
        assert_eq!(service.reference(), "Service/web");
    }

    #[test]
    fn a_split_is_written_as_its_version_writes_it() {
        let split = TrafficSplit::of("web")
            .backend("web-v1", 90)
            .backend("web-v2", "100m");
        assert_eq!(
            Object::from(split.clone().matching("ab")).0["spec"],
            json!({
                "service": "web",
                "backends": [{"service": "web-v1", "weight": 90}, {"service": "web-v2", "weight": "100m"}],
                "matches": [{"kind": "HTTPRouteGroup", "name": "ab"}],
            })
        );
        assert_eq!(Object::from(split).0["apiVersion"], "split.smi-spec.io/v1alpha4");
    }

    #[test]
    fn a_cron_job_holds_its_pod_two_levels_down() {
        let object = Object::from(Workload::cron_job("tick", "* * * * *").command(&["sleep", "1"])).0;
        let pod = &object["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["args"], json!(["sleep", "1"]));
        assert_eq!(pod["restartPolicy"], "Never");
    }

    #[test]
    fn a_server_is_probed_by_the_name_of_its_port() {
        let object = Object::from(Workload::deployment("web")).0;
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], "http");
        assert_eq!(object["spec"]["selector"]["matchLabels"], json!({"app": "web"}));
    }
}
