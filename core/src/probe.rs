//! Health probes and lifecycle hooks that kubelet sends to the proxy, which asks the application.
//!
//! The table is fixed when a pod is injected and travels in the proxy's environment as JSON. Only what stands in it
//! is ever asked, so the probe port cannot be used to reach anything else of the application.

use serde::{Deserialize, Serialize};

/// Every probe and hook of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeTable(pub Vec<Probe>);

/// One probe or hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Path on the probe port that stands for it: `/<container>/<liveness|readiness|startup|postStart|preStop>`.
    pub path: String,
    /// Port of the application, 1 to 65535.
    pub port: u16,
    /// How long the application may take, in seconds; at least 1.
    pub timeout_seconds: u32,
    /// What to ask.
    pub check: Check,
}

/// What is asked of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Check {
    /// A GET; healthy from 200 to 399, as kubelet judges.
    #[serde(rename_all = "camelCase")]
    Http {
        /// Path with query.
        path: String,
        /// Whether over TLS, whose certificate kubelet does not verify either.
        scheme: Scheme,
        /// Headers that the probe names, in order; `Host` among them if named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
    /// A connection that is accepted.
    Tcp,
    /// `grpc.health.v1.Health/Check` answers `SERVING`.
    Grpc {
        /// Service that is asked for; empty for the server as a whole.
        #[serde(default)]
        service: String,
    },
}

/// Scheme of an HTTP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS without verification.
    Https,
}

impl ProbeTable {
    /// The probe that stands at this path.
    pub fn get(&self, path: &str) -> Option<&Probe> {
        self.0.iter().find(|probe| probe.path == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_travels_as_json_and_comes_back() {
        let table = ProbeTable(vec![
            Probe {
                path: "/app/liveness".into(),
                port: 8080,
                timeout_seconds: 1,
                check: Check::Http {
                    path: "/healthz?full=1".into(),
                    scheme: Scheme::Https,
                    headers: vec![("Host".into(), "app".into())],
                },
            },
            Probe {
                path: "/app/readiness".into(),
                port: 9000,
                timeout_seconds: 3,
                check: Check::Grpc {
                    service: String::new(),
                },
            },
        ]);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<ProbeTable>(&json).unwrap(), table);
        assert!(table.get("/app/readiness").is_some() && table.get("/app/startup").is_none());
    }
}
