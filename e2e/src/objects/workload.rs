//! Workloads that run the test application.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Object, port};
use crate::environment;

/// Which kind of workload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Deployment,
    StatefulSet { service: String },
    DaemonSet,
    Job,
    CronJob { schedule: String },
    Pod,
}

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Restarts the container.
    Liveness,
    /// Takes it out of Services.
    Readiness,
    /// Holds back the other two.
    Startup,
}

/// A workload, whose pods bear the label `app` with its name.
#[derive(Clone, Debug)]
pub struct Workload {
    kind: Kind,
    name: String,
    replicas: u32,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    account: Option<String>,
    arguments: Vec<String>,
    ports: Vec<Value>,
    probes: BTreeMap<&'static str, Value>,
    pod: Value,
    container: Value,
}

impl Workload {
    /// A Deployment with one replica that serves every port.
    pub fn deployment(name: &str) -> Self {
        Self::serving(Kind::Deployment, name)
    }

    /// A StatefulSet behind this headless Service.
    pub fn stateful_set(name: &str, service: &str) -> Self {
        let service = service.to_owned();
        Self::serving(Kind::StatefulSet { service }, name)
    }

    /// A DaemonSet.
    pub fn daemon_set(name: &str) -> Self {
        Self::serving(Kind::DaemonSet, name)
    }

    /// A Job.
    pub fn job(name: &str) -> Self {
        Self::running(Kind::Job, name)
    }

    /// A CronJob.
    pub fn cron_job(name: &str, schedule: &str) -> Self {
        let schedule = schedule.to_owned();
        Self::running(Kind::CronJob { schedule }, name)
    }

    /// A bare pod that serves every port.
    pub fn pod(name: &str) -> Self {
        Self::serving(Kind::Pod, name)
    }

    fn running(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            replicas: 1,
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            annotations: BTreeMap::new(),
            account: None,
            arguments: Vec::new(),
            ports: Vec::new(),
            probes: BTreeMap::new(),
            pod: json!({}),
            container: json!({}),
        }
    }

    fn serving(kind: Kind, name: &str) -> Self {
        let mut workload = Self::running(kind, name).command(&["serve"]);
        for (flag, name, number) in [
            ("http-port", "http", port::HTTP),
            ("https-port", "https", port::HTTPS),
            ("grpc-port", "grpc", port::GRPC),
            ("tcp-port", "tcp", port::TCP),
            ("server-first-port", "tcp-greet", port::GREET),
        ] {
            workload = workload
                .argument(&format!("--{flag}={number}"))
                .port(name, number);
        }
        workload.probe(
            Probe::Readiness,
            json!({"httpGet": {"path": "/healthz", "port": "http"}}),
        )
    }

    /// Number of replicas.
    #[must_use]
    pub fn replicas(mut self, count: u32) -> Self {
        self.replicas = count;
        self
    }

    /// A label of its pods.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// An annotation of its pods.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The account that its pods run under.
    #[must_use]
    pub fn account(mut self, name: &str) -> Self {
        self.account = Some(name.to_owned());
        self
    }

    /// What the test application does instead of serving; ports and probes go with it.
    #[must_use]
    pub fn command(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.ports.clear();
        self.probes.clear();
        self
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more named container port.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16) -> Self {
        self.ports.push(json!({"name": name, "containerPort": number}));
        self
    }

    /// A probe, asked every second; the handler as the API writes it.
    #[must_use]
    pub fn probe(mut self, which: Probe, handler: Value) -> Self {
        let mut probe = json!({"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 30});
        merge(&mut probe, handler);
        self.probes.insert(which.field(), probe);
        self
    }

    /// Without this probe.
    #[must_use]
    pub fn without(mut self, which: Probe) -> Self {
        self.probes.remove(which.field());
        self
    }

    /// More of the pod's `spec`.
    #[must_use]
    pub fn pod_spec(mut self, more: Value) -> Self {
        merge(&mut self.pod, more);
        self
    }

    /// More of the container.
    #[must_use]
    pub fn container(mut self, more: Value) -> Self {
        merge(&mut self.container, more);
        self
    }

    fn template(&self) -> Value {
        let mut container = json!({
            "name": "app",
            "image": environment::testapp_image(),
            "imagePullPolicy": "IfNotPresent",
            "args": self.arguments,
            "ports": self.ports,
            "env": [{"name": "NAME", "value": self.name}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        });
        for (field, probe) in &self.probes {
            container[*field] = probe.clone();
        }
        merge(&mut container, self.container.clone());
        let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 20});
        if let Some(account) = &self.account {
            spec["serviceAccountName"] = json!(account);
        }
        if matches!(self.kind, Kind::Job | Kind::CronJob { .. }) {
            spec["restartPolicy"] = json!("Never");
        }
        merge(&mut spec, self.pod.clone());
        json!({"metadata": {"labels": self.labels, "annotations": self.annotations}, "spec": spec})
    }
}

impl Probe {
    fn field(self) -> &'static str {
        match self {
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
            Self::Startup => "startupProbe",
        }
    }
}

impl From<Workload> for Object {
    fn from(workload: Workload) -> Self {
        let template = workload.template();
        let selector = json!({"matchLabels": {"app": workload.name}});
        let job = json!({"backoffLimit": 0, "activeDeadlineSeconds": 120, "template": template});
        let (version, kind, spec) = match workload.kind {
            Kind::Deployment => (
                "apps/v1",
                "Deployment",
                json!({"replicas": workload.replicas, "selector": selector, "template": template}),
            ),
            Kind::StatefulSet { service } => (
                "apps/v1",
                "StatefulSet",
                json!({
                    "replicas": workload.replicas, "selector": selector, "template": template,
                    "serviceName": service, "podManagementPolicy": "Parallel",
                }),
            ),
            Kind::DaemonSet => (
                "apps/v1",
                "DaemonSet",
                json!({"selector": selector, "template": template}),
            ),
            Kind::Job => ("batch/v1", "Job", job),
            Kind::CronJob { schedule } => (
                "batch/v1",
                "CronJob",
                json!({"schedule": schedule, "jobTemplate": {"spec": job}}),
            ),
            Kind::Pod => ("v1", "Pod", template["spec"].clone()),
        };
        let mut object = json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": workload.name}, "spec": spec,
        });
        if kind == "Pod" {
            object["metadata"]["labels"] = json!(workload.labels);
            object["metadata"]["annotations"] = json!(workload.annotations);
        }
        Self(object)
    }
}

/// Lays one JSON object over another, deeply; what is no object is replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
