//! The log of a container until its end, which no API gives any more when its pod is gone.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::kubectl::Kubectl;
use crate::namespace::complain;

/// A `kubectl logs --follow` of the container `app` of a pod.
#[derive(Debug)]
pub struct Following {
    process: Option<Child>,
    reader: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    /// Begins.
    pub fn begin(kubectl: &Kubectl, pod: &str) -> Self {
        let mut command = Command::new(kubectl.program());
        command.env("KUBECONFIG", kubectl.kubeconfig());
        if let Some(namespace) = kubectl.namespace() {
            command.args(["--namespace", namespace]);
        }
        let started = command
            .args(["logs", "--follow", "--container=app", pod])
            .stdout(Stdio::piped())
            .spawn();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut process = started
            .inspect_err(|error| complain(&format!("kubectl cannot be started: {error}")))
            .ok();
        let output = process.as_mut().and_then(|process| process.stdout.take());
        let reader = output.map(|output| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().push(line);
                }
            })
        });
        Self {
            process,
            reader,
            lines,
        }
    }

    /// Waits for the end of the log, which comes with that of the container, and gives its lines.
    pub fn end(mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        std::mem::take(&mut *self.lines.lock())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
