//! Deletes a namespace when nobody holds it any more, even when that is because the tests were killed.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::complain;
use crate::kubectl::Kubectl;

/// A process that waits for the end of its input, which comes when this is dropped or our own process is gone.
#[derive(Debug)]
pub(super) struct Guard {
    _child: Option<Child>,
}

impl Guard {
    /// Guards a namespace.
    pub(super) fn of(kubectl: &Kubectl, namespace: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", "cat; exec \"$0\" delete namespace \"$1\" --wait=false"])
            .args([kubectl.program(), namespace])
            .env("KUBECONFIG", kubectl.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not of our group: what interrupts the tests must not interrupt this.
            .process_group(0)
            .spawn();
        if let Err(error) = &child {
            complain(&format!(
                "namespace {namespace} will stay behind: cannot run sh: {error}"
            ));
        }
        Self { _child: child.ok() }
    }
}
