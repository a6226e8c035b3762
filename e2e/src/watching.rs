//! Every version of an object that there was, not only those that a look happens to see.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::objects::Object;
use crate::wait::{Progress, wait_until};

/// A `kubectl get --watch`, until this is dropped.
#[derive(Debug)]
pub struct Watching {
    process: Child,
    seen: Arc<Mutex<Vec<Version>>>,
}

/// A version of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// When it was heard of.
    pub at: Instant,
    /// The object.
    pub object: Value,
}

impl Watching {
    /// Begins, and has seen the object as it is now.
    ///
    /// # Panics
    /// When `kubectl` does not show it.
    #[track_caller]
    pub fn begin(kubectl: &Kubectl, object: &Object) -> Self {
        let mut command = Command::new(kubectl.program());
        command.env("KUBECONFIG", kubectl.kubeconfig());
        if let Some(namespace) = kubectl.namespace() {
            command.args(["--namespace", namespace]);
        }
        let started = command
            .args(["get", &object.reference(), "--watch", "--output=json"])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => panic!("kubectl cannot be started: {error}"),
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = process.stdout.take() {
            let seen = Arc::clone(&seen);
            // It ends with the process.
            std::thread::spawn(move || {
                let objects = serde_json::Deserializer::from_reader(output).into_iter();
                for object in objects.map_while(Result::ok) {
                    let at = Instant::now();
                    seen.lock().push(Version { at, object });
                }
            });
        }
        let watching = Self { process, seen };
        wait_until(&format!("{} is watched", object.reference()), || {
            Progress::when(!watching.seen.lock().is_empty(), (), || "nothing".to_owned())
        });
        watching
    }

    /// All versions so far.
    pub fn versions(&self) -> Vec<Version> {
        self.seen.lock().clone()
    }

    /// Conditions that were True of a generation and, of the same one, were not any more.
    pub fn flaps(&self) -> Vec<String> {
        let versions: Vec<Value> = self
            .versions()
            .into_iter()
            .map(|version| version.object)
            .collect();
        flaps(&versions)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn flaps(versions: &[Value]) -> Vec<String> {
    let conditions = |object: &Value| {
        object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    for pair in versions.windows(2) {
        let [before, after] = pair else { continue };
        if before["metadata"]["generation"] != after["metadata"]["generation"] {
            continue;
        }
        let after = conditions(after);
        for condition in conditions(before).iter().filter(|one| one["status"] == "True") {
            let now = after.iter().find(|one| one["type"] == condition["type"]);
            if now.is_none_or(|now| now["status"] != "True") {
                found.push(format!("{condition} became {now:?}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(generation: u32, status: &str) -> Value {
        json!({
            "metadata": {"generation": generation},
            "status": {"conditions": [{"type": "Programmed", "status": status}]},
        })
    }

    #[test]
    fn a_condition_flaps_when_it_was_true_and_is_not_for_the_same_generation() {
        let versions = [
            version(1, "Unknown"),
            version(1, "True"),
            version(1, "Unknown"),
            version(1, "True"),
        ];
        assert_eq!(flaps(&versions).len(), 1);
        assert_eq!(
            flaps(&[version(1, "True"), json!({"metadata": {"generation": 1}})]).len(),
            1
        );
    }

    #[test]
    fn another_generation_begins_anew() {
        assert!(flaps(&[version(1, "True"), version(2, "True"), version(3, "Unknown")]).is_empty());
    }
}
