//! Pods, Namespaces and settings for tests.

use serde_json::{Value, json};
use smilax_compiler::Modes;
use smilax_compiler::index::Settings;
use smilax_core::convention::key;
use smilax_core::probe::PathKey;
use smilax_core::{LogFilter, SourceRanges};

use super::settings::{InjectSettings, ProxyLogFormat, PullPolicy, Resources};
use super::{InjectRequest, Outcome, inject};
use crate::cluster_view::NamespaceView;

pub(crate) fn settings() -> InjectSettings {
    InjectSettings {
        proxy_image: "registry.example/smilax-proxy:0.1.0".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        resources: Resources::parse("50m", "1", "32Mi", "128Mi").unwrap(),
        log_level: LogFilter::default(),
        log_format: ProxyLogFormat::Json,
        metrics_sources: SourceRanges::default(),
        drain_seconds: 30,
        cluster_domain: "cluster.local".to_owned(),
        version: "0.1.0".to_owned(),
        installation_namespace: "smilax-system".to_owned(),
    }
}

/// What would be random.
pub(crate) fn path_key() -> PathKey {
    PathKey::new([0xab; 16])
}

/// A Namespace of the mesh.
pub(crate) fn shop() -> NamespaceView {
    namespace("shop").label(key::INJECT, "enabled")
}

pub(crate) fn namespace(name: &str) -> NamespaceView {
    NamespaceView {
        name: name.to_owned(),
        ..NamespaceView::default()
    }
}

impl NamespaceView {
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self.modes = Modes::of(&Settings::default(), &self.annotations).0;
        self
    }
}

/// A pod under construction.
#[derive(Clone, Debug)]
pub(crate) struct Pod(pub(crate) Value);

/// A container under construction.
#[derive(Clone, Debug)]
pub(crate) struct Container(pub(crate) Value);

pub(crate) fn container(name: &str) -> Container {
    Container(json!({"name": name, "image": format!("registry.example/{name}:1")}))
}

/// A pod with one container, `web`.
pub(crate) fn pod() -> Pod {
    bare().container(container("web").port("http", 8080))
}

/// A pod without any container.
pub(crate) fn bare() -> Pod {
    Pod(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web", "version": "v2"}},
        "spec": {"serviceAccountName": "web", "containers": [], "terminationGracePeriodSeconds": 30},
    }))
}

impl Pod {
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    pub(crate) fn owner(mut self, kind: &str, name: &str) -> Self {
        self.0["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true}]);
        self
    }

    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    pub(crate) fn container(self, container: Container) -> Self {
        self.push("containers", container.0)
    }

    pub(crate) fn init_container(self, container: Container) -> Self {
        self.push("initContainers", container.0)
    }

    pub(crate) fn volume(self, volume: Value) -> Self {
        self.push("volumes", volume)
    }

    fn push(mut self, field: &str, value: Value) -> Self {
        let list = super::pod::list_mut(&mut self.0["spec"], field).unwrap();
        list.push(value);
        self
    }

    pub(crate) fn inject_into(&self, namespace: &NamespaceView) -> Outcome {
        inject(&InjectRequest {
            pod: &self.0,
            namespace,
            settings: &settings(),
            path_key: &path_key(),
        })
    }

    /// Injects into [`shop`], which must work without warnings.
    pub(crate) fn injected(&self) -> Value {
        match self.inject_into(&shop()) {
            Outcome::Injected { pod, warnings } if warnings.is_empty() => pod,
            other => panic!("{other:?}"),
        }
    }
}

impl Container {
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    pub(crate) fn port(mut self, name: &str, number: u16) -> Self {
        let list = super::pod::list_mut(&mut self.0, "ports").unwrap();
        list.push(json!({"name": name, "containerPort": number, "protocol": "TCP"}));
        self
    }

    pub(crate) fn resources(self, cpu: &str, memory: &str) -> Self {
        let both = json!({"cpu": cpu, "memory": memory});
        self.with("resources", json!({"requests": both, "limits": both}))
    }
}
