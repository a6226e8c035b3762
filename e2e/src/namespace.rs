//! A namespace of a test's own: made fresh, described when the test fails, deleted afterwards.

mod guard;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use smilax_core::ProxyConfig;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, config_map_name};

use self::guard::Guard;
use crate::client::Client;
use crate::environment;
use crate::kubectl::{Kubectl, KubectlError};
use crate::mesh::Mesh;
use crate::objects::{Object, Workload};
use crate::status::{self, Condition, Event};
use crate::wait::{Progress, wait_until};

/// What is written down when a test fails.
const DESCRIBED: &str = "pods,services,endpointslices,configmaps,serviceaccounts,deployments,statefulsets,daemonsets,jobs,\
                         cronjobs,trafficsplits,httproutegroups,traffictargets,tcproutes.specs.smi-spec.io,identitybindings";

/// Whether a namespace is in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// Its pods get a sidecar.
    Enabled,
    /// They get none unless they ask for it.
    NotAsked,
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    kubectl: Kubectl,
    operator: Kubectl,
    described: AtomicBool,
    guard: Option<Guard>,
}

impl Namespace {
    /// A new namespace whose name begins with `e2e-` and `purpose`.
    pub fn fresh(mesh: &Mesh, purpose: &str, inject: Inject) -> Self {
        let name = format!("e2e-{purpose}-{}", unique());
        let mut labels = json!({"smilax-e2e": "true"});
        if inject == Inject::Enabled {
            labels["smilax.dev/inject"] = json!("enabled");
        }
        let kubectl = mesh.kubectl().within(&name);
        must(mesh.kubectl().feed(
            &["create", "--filename=-"],
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        ));
        let namespace = Self {
            guard: (!environment::keep()).then(|| Guard::of(mesh.kubectl(), &name)),
            name,
            kubectl,
            operator: mesh.operator(),
            described: AtomicBool::new(false),
        };
        // A pod made before its account is refused.
        wait_until("the namespace has its default account", || {
            match namespace.kubectl.get(&["serviceaccount", "default"]) {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Pending(error.to_string()),
            }
        });
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Applies an object.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn apply(&self, object: impl Into<Object>) -> Object {
        let object = object.into();
        must(self.kubectl.feed(&["apply", "--filename=-"], &object.0));
        object
    }

    /// Applies an object that must be refused, and gives what the API server said.
    ///
    /// # Panics
    /// When it is taken.
    #[track_caller]
    pub fn refused(&self, object: impl Into<Object>) -> String {
        let object = object.into();
        match self.kubectl.feed(&["apply", "--filename=-"], &object.0) {
            Ok(_) => panic!("this was taken and should have been refused: {}", object.0),
            Err(error) => error.stderr,
        }
    }

    /// Deletes an object and waits until it is gone.
    #[track_caller]
    pub fn delete(&self, object: &Object) {
        must(
            self.kubectl
                .run(&["delete", &object.reference(), "--timeout=60s"]),
        );
    }

    /// Writes an annotation of the namespace itself, or takes it away with `None`.
    #[track_caller]
    pub fn annotate(&self, key: &str, value: Option<&str>) {
        let change = match value {
            Some(value) => format!("{key}={value}"),
            None => format!("{key}-"),
        };
        must(
            self.kubectl
                .run(&["annotate", "namespace", &self.name, "--overwrite", &change]),
        );
    }

    /// Waits until workloads such as `deployment/web` are rolled out.
    #[track_caller]
    pub fn ready(&self, workloads: &[&str]) {
        for workload in workloads {
            must(
                self.kubectl
                    .run(&["rollout", "status", workload, "--timeout=120s"]),
            );
        }
    }

    /// An object as it is stored.
    #[track_caller]
    pub fn read(&self, object: &Object) -> Value {
        must(self.kubectl.get(&[&object.reference()]))
    }

    /// Waits until a condition of the object's newest generation has this status and reason.
    #[track_caller]
    pub fn await_condition(&self, object: &Object, kind: &str, status: &str, reason: &str) -> Condition {
        let what = format!("{} is {kind}={status} for {reason}", object.reference());
        wait_until(&what, || {
            let stored = match self.kubectl.get(&[&object.reference()]) {
                Ok(stored) => stored,
                Err(error) => return Progress::Pending(error.to_string()),
            };
            let generation = stored["metadata"]["generation"].as_i64().unwrap_or_default();
            match status::condition(&stored, kind) {
                Some(found)
                    if found.observed_generation == generation
                        && found.status == status
                        && found.reason == reason =>
                {
                    Progress::Done(found)
                }
                _ => Progress::Pending(format!("generation {generation}, {}", stored["status"])),
            }
        })
    }

    /// Events about an object.
    #[track_caller]
    pub fn events(&self, object: &Object) -> Vec<Event> {
        let selector = format!(
            "involvedObject.kind={},involvedObject.name={}",
            object.kind(),
            object.name()
        );
        let events = must(self.kubectl.list(&["events", "--field-selector", &selector]));
        events.iter().map(status::event).collect()
    }

    /// Waits for an Event with this reason.
    #[track_caller]
    pub fn await_event(&self, object: &Object, reason: &str) -> Event {
        let what = format!("an Event {reason} tells of {}", object.reference());
        wait_until(&what, || {
            let events = self.events(object);
            match events.iter().find(|event| event.reason == reason) {
                Some(event) => Progress::Done(event.clone()),
                None => Progress::Pending(format!("{events:?}")),
            }
        })
    }

    /// Pods whose label `app` has this value, and that are not on their way out.
    #[track_caller]
    pub fn pods(&self, app: &str) -> Vec<Value> {
        let mut pods = must(self.kubectl.list(&["pods", "--selector", &format!("app={app}")]));
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// The only pod of an app, as soon as there is one.
    #[track_caller]
    pub fn pod(&self, app: &str) -> Value {
        wait_until(&format!("there is one pod of {app}"), || {
            let mut pods = self.pods(app);
            match (pods.pop(), pods.is_empty()) {
                (Some(pod), true) => Progress::Done(pod),
                (pod, _) => Progress::Pending(format!("{} pods", pods.len() + usize::from(pod.is_some()))),
            }
        })
    }

    /// An account, and a client that runs under it.
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        self.account(name);
        self.apply(Workload::deployment(name).account(name));
        self.ready(&[&format!("deployment/{name}")]);
        Client::of(self, name, name)
    }

    /// An account.
    #[track_caller]
    pub fn account(&self, name: &str) -> Object {
        self.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
    }

    /// The configuration that the mesh wrote for an account.
    pub fn policy(&self, account: &str) -> Result<ProxyConfig, String> {
        policy(&self.kubectl, account)
    }

    /// Writes down what may tell why a test failed; once.
    pub fn describe(&self) {
        if self.described.swap(true, Ordering::Relaxed) {
            return;
        }
        let folder = environment::repository().join("target/e2e").join(&self.name);
        if let Err(error) = self.describe_in(&folder) {
            complain(&format!("cannot write {}: {error}", folder.display()));
        } else {
            complain(&format!(
                "objects, Events and logs of {} are in {}",
                self.name,
                folder.display()
            ));
        }
    }

    fn describe_in(&self, folder: &PathBuf) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let write = |file: &str, output: Result<String, KubectlError>| {
            fs::write(
                folder.join(file),
                output.unwrap_or_else(|error| format!("{error}\n")),
            )
        };
        write("pods.txt", self.kubectl.run(&["get", "pods", "--output=wide"]))?;
        write(
            "objects.yaml",
            self.kubectl.run(&["get", DESCRIBED, "--output=yaml"]),
        )?;
        write(
            "events.txt",
            self.kubectl.run(&["get", "events", "--sort-by=.lastTimestamp"]),
        )?;
        write(
            "operator.log",
            self.operator.run(&[
                "logs",
                "--selector=app.kubernetes.io/name=smilax-operator",
                "--prefix",
                "--tail=1000",
            ]),
        )?;
        for pod in self.kubectl.list(&["pods"]).unwrap_or_default() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let logs = ["logs", name, "--all-containers", "--prefix", "--tail=1000"];
            write(&format!("{name}.log"), self.kubectl.run(&logs))?;
            let metrics = "http://127.0.0.1:15020/metrics";
            let exec = [
                "exec",
                name,
                "--container=app",
                "--",
                "/smilax-testapp",
                "get",
                metrics,
            ];
            let page = self.kubectl.run(&exec).map(|page| page.replace("\\n", "\n"));
            write(&format!("{name}.metrics"), page)?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.describe();
        }
        if self.guard.is_none() {
            complain(&format!(
                "namespace {} is kept, as SMILAX_E2E_KEEP asks",
                self.name
            ));
        }
    }
}

/// The configuration that the mesh wrote for an account of the namespace of this `kubectl`.
pub(crate) fn policy(kubectl: &Kubectl, account: &str) -> Result<ProxyConfig, String> {
    let name = config_map_name(account);
    let map = kubectl
        .get(&["configmap", &name])
        .map_err(|error| error.to_string())?;
    let policy = match map["binaryData"][PACKED_POLICY_KEY].as_str() {
        Some(packed) => BASE64_STANDARD
            .decode(packed)
            .map_err(|error| error.to_string())?,
        None => map["data"][POLICY_KEY].as_str().unwrap_or_default().into(),
    };
    smilax_core::config::decode(&policy).map_err(|error| format!("ConfigMap {name}: {error}"))
}

/// What the cluster answers when it must.
///
/// # Panics
/// When `kubectl` failed.
#[track_caller]
pub fn must<T>(result: Result<T, KubectlError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Tells a person who reads the test's output.
pub(crate) fn complain(text: &str) {
    #[expect(clippy::print_stderr, reason = "the output of a test is for people")]
    {
        eprintln!("{text}");
    }
}

/// Differs between the namespaces of one run, and between runs.
fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mark = (u64::from(std::process::id()) << 20) ^ seconds;
    format!(
        "{:x}-{}",
        mark & 0xff_ffff,
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}
