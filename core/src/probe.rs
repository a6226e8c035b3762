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
    /// Path on the probe port that stands for it: `/<container>/<`[`Purpose`]`>`.
    pub path: String,
    /// Port of the application, 1 to 65535.
    pub port: u16,
    /// How long the application may take, in seconds; at least 1.
    pub timeout_seconds: u32,
    /// What to ask.
    pub check: Check,
}

/// What kubelet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Whether the container has to be restarted.
    Liveness,
    /// Whether the pod can be called.
    Readiness,
    /// Whether the container has started.
    Startup,
    /// Lifecycle hook after the start.
    PostStart,
    /// Lifecycle hook before the end.
    PreStop,
}

/// What is asked of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Check {
    /// A GET; healthy from 200 to 399, as kubelet judges.
    #[serde(rename_all = "camelCase")]
    Http {
        /// Path and query as the pod's author wrote them, empty if not at all; the proxy encodes them as kubelet does.
        #[serde(default)]
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

impl Purpose {
    /// Every purpose, probes before hooks.
    pub const ALL: [Self; 5] = [
        Self::Liveness,
        Self::Readiness,
        Self::Startup,
        Self::PostStart,
        Self::PreStop,
    ];

    /// Last segment of the path on the probe port.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
            Self::PostStart => "postStart",
            Self::PreStop => "preStop",
        }
    }

    /// Path on the probe port that stands for this probe or hook of a container.
    pub fn path(self, container: &str) -> String {
        format!("/{container}/{}", self.as_str())
    }
}

impl Probe {
    /// What kubelet asks for at this path. `None` for a path that injection does not write.
    pub fn purpose(&self) -> Option<Purpose> {
        let (_, purpose) = self.path.rsplit_once('/')?;
        Purpose::ALL.into_iter().find(|known| known.as_str() == purpose)
    }
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

    #[test]
    fn a_path_says_what_it_is_asked_for() {
        for purpose in Purpose::ALL {
            let probe = Probe {
                path: purpose.path("app"),
                port: 80,
                timeout_seconds: 1,
                check: Check::Tcp,
            };
            assert_eq!(probe.purpose(), Some(purpose));
        }
        assert_eq!(Purpose::PreStop.path("app"), "/app/preStop");
    }
}
