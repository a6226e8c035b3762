//! Health probes and lifecycle hooks that kubelet sends to the proxy, which asks the application.
//!
//! The table is fixed when a pod is injected and travels in the proxy's environment as JSON. Only what stands in it
//! is ever asked, so the probe port cannot be used to reach anything else of the application. Its paths begin with a segment that
//! nobody can guess, so that a hook is run by those only who may read the pod, as kubelet may.

use serde::{Deserialize, Serialize};

/// Every probe and hook of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeTable(pub Vec<Probe>);

/// One probe or hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Path on the probe port that stands for it: `/<`[`PathKey`]`>/<container>/<`[`Purpose`]`>`. Pods that were injected by versions
    /// up to 0.1 have no key in it.
    pub path: String,
    /// Port of the application, 1 to 65535.
    pub port: u16,
    /// How long the application may take, in seconds; at least 1.
    pub timeout_seconds: u32,
    /// What to ask.
    pub check: Check,
}

impl ProbeTable {
    /// Ports that kubelet expects to speak HTTP, in plaintext.
    pub fn http_ports(&self) -> impl Iterator<Item = u16> {
        let is_http = |probe: &&Probe| {
            let scheme = Scheme::Http;
            matches!(&probe.check, Check::Http { scheme: asked, .. } if *asked == scheme)
        };
        self.0.iter().filter(is_http).map(|probe| probe.port)
    }
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

/// First segment of every path on the probe port of one pod: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathKey(String);

impl PathKey {
    const DIGITS: usize = 32;

    /// Of 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random)))
    }

    /// Path on the probe port that stands for this probe or hook of a container.
    pub fn path(&self, purpose: Purpose, container: &str) -> String {
        format!("/{}{}", self.0, purpose.label(container))
    }

    /// The key that a path begins with, if it has one.
    pub fn of_path(path: &str) -> Option<Self> {
        let (first, _) = path.strip_prefix('/')?.split_once('/')?;
        Self::parse(first)
    }

    fn parse(text: &str) -> Option<Self> {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        (text.len() == Self::DIGITS && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }
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

    /// What this probe or hook of a container is called, and how its path ends.
    pub fn label(self, container: &str) -> String {
        format!("/{container}/{}", self.as_str())
    }

    /// Whether a path stands for this probe or hook of a container.
    pub fn is_at(self, path: &str, container: &str) -> bool {
        path.strip_suffix(&self.label(container)).is_some_and(|before| {
            before.is_empty() || before.strip_prefix('/').and_then(PathKey::parse).is_some()
        })
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
    /// The key of its paths, if all have the same.
    pub fn key(&self) -> Option<PathKey> {
        let mut keys = self.0.iter().map(|probe| PathKey::of_path(&probe.path));
        let first = keys.next()??;
        keys.all(|key| key.as_ref() == Some(&first)).then_some(first)
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
    }

    #[test]
    fn a_path_says_what_it_is_asked_for() {
        for purpose in Purpose::ALL {
            let probe = Probe {
                path: key().path(purpose, "app"),
                port: 80,
                timeout_seconds: 1,
                check: Check::Tcp,
            };
            assert_eq!(probe.purpose(), Some(purpose));
        }
        assert_eq!(Purpose::PreStop.label("app"), "/app/preStop");
    }

    #[test]
    fn s11_a_path_begins_with_the_key_of_its_pod() {
        let path = key().path(Purpose::PreStop, "app");
        assert_eq!(path, "/000000000000000000000000000000ff/app/preStop");
        assert_eq!(PathKey::of_path(&path), Some(key()));
        for without in [
            "/app/preStop",
            "/",
            "",
            "/00ff/app/preStop",
            "/000000000000000000000000000000FF/app/preStop",
        ] {
            assert_eq!(PathKey::of_path(without), None, "{without}");
        }
    }

    #[test]
    fn a_path_is_known_with_a_key_and_without_one() {
        let keyed = key().path(Purpose::PreStop, "app");
        for path in [keyed.as_str(), "/app/preStop"] {
            assert!(Purpose::PreStop.is_at(path, "app"), "{path}");
        }
        for path in [
            "/x/app/preStop",
            "/bapp/preStop",
            "app/preStop",
            "/app/preStop/",
            "//app/preStop",
        ] {
            assert!(!Purpose::PreStop.is_at(path, "app"), "{path}");
        }
    }

    #[test]
    fn a_table_has_a_key_when_all_its_paths_have_it() {
        let table = |paths: &[String]| {
            let probe = |path: &String| Probe {
                path: path.clone(),
                port: 80,
                timeout_seconds: 1,
                check: Check::Tcp,
            };
            ProbeTable(paths.iter().map(probe).collect()).key()
        };
        let ours = key().path(Purpose::PreStop, "app");
        let other = PathKey::new([1; 16]).path(Purpose::PreStop, "app");
        assert_eq!(table(&[ours.clone(), ours.clone()]), Some(key()));
        assert_eq!(table(&[ours.clone(), other]), None);
        assert_eq!(table(&[ours, "/app/liveness".to_owned()]), None);
        assert_eq!(table(&[]), None);
    }

    fn key() -> PathKey {
        PathKey::new(255_u128.to_be_bytes())
    }
}
