//! How the installation wants its sidecars.

use std::fmt;
use std::str::FromStr;

use smilax_compiler::keys::{Quantity, QuantityError};
use smilax_core::{LogFilter, SourceRanges};

/// What is the same for every sidecar unless annotations say otherwise.
#[derive(Clone, Debug)]
pub struct InjectSettings {
    /// Image of the proxy.
    pub proxy_image: String,
    /// When kubelet pulls it.
    pub pull_policy: PullPolicy,
    /// Requests and limits.
    pub resources: Resources,
    /// Log filter.
    pub log_level: LogFilter,
    /// Form of log lines.
    pub log_format: ProxyLogFormat,
    /// From where metrics of sidecars may be read.
    pub metrics_sources: SourceRanges,
    /// How long draining may take, in seconds.
    pub drain_seconds: u32,
    /// Suffix of the cluster's DNS names.
    pub cluster_domain: String,
    /// Version of the proxy, as the pod label announces it.
    pub version: String,
    /// Namespace of the installation, which is never injected.
    pub installation_namespace: String,
}

/// When kubelet pulls an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node lacks it.
    #[default]
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

/// Form of the proxy's log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyLogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU that is reserved.
    pub cpu_request: Quantity,
    /// CPU that is not exceeded.
    pub cpu_limit: Quantity,
    /// Memory that is reserved.
    pub memory_request: Quantity,
    /// Memory beyond which the container is killed.
    pub memory_limit: Quantity,
}

impl Resources {
    /// Reads the four.
    ///
    /// # Errors
    /// The first that is no quantity above zero.
    pub fn parse(
        cpu_request: &str,
        cpu_limit: &str,
        memory_request: &str,
        memory_limit: &str,
    ) -> Result<Self, QuantityError> {
        Ok(Self {
            cpu_request: cpu_request.parse()?,
            cpu_limit: cpu_limit.parse()?,
            memory_request: memory_request.parse()?,
            memory_limit: memory_limit.parse()?,
        })
    }
}

impl PullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl ProxyLogFormat {
    /// As the proxy reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// A word that is no pull policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pull policy: write Always, IfNotPresent or Never")]
pub struct PullPolicyError(String);

impl FromStr for PullPolicy {
    type Err = PullPolicyError;

    fn from_str(text: &str) -> Result<Self, PullPolicyError> {
        [Self::Always, Self::IfNotPresent, Self::Never]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| PullPolicyError(text.to_owned()))
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
