//! The cluster, through `kubectl`: what users type is what is tested.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::environment;

/// `kubectl` with the kubeconfig that the environment names.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: String,
    kubeconfig: PathBuf,
    namespace: Option<String>,
}

/// A `kubectl` that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubectlError {
    /// The command, for people.
    pub command: String,
    /// What it said.
    pub stderr: String,
}

impl KubectlError {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.stderr.contains("(NotFound)") || self.stderr.contains("not found")
    }
}

impl fmt::Display for KubectlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.command, self.stderr.trim_end())
    }
}

impl Kubectl {
    /// The `kubectl` of the environment.
    ///
    /// # Panics
    /// When neither `SMILAX_E2E_KUBECONFIG` nor `KUBECONFIG` names a kubeconfig.
    pub fn of_environment() -> Self {
        let Some(kubeconfig) = environment::kubeconfig() else {
            panic!(
                "these tests need a cluster with Smilax in it, and its kubeconfig named in SMILAX_E2E_KUBECONFIG or KUBECONFIG.\n\
                 One is made, used and named by: make e2e\n\
                 or, step by step: make cluster-up cluster-load install, then export KUBECONFIG=$(e2e/cluster/cluster kubeconfig)"
            );
        };
        // kubectl would take a missing file for a cluster on localhost.
        assert!(
            std::env::split_paths(&kubeconfig).any(|path| path.is_file()),
            "the kubeconfig {} does not exist; to create a test cluster, run: make cluster-up",
            kubeconfig.display()
        );
        Self {
            program: environment::variable("SMILAX_KUBECTL").unwrap_or_else(|| "kubectl".to_owned()),
            kubeconfig,
            namespace: None,
        }
    }

    /// The same in a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..self.clone()
        }
    }

    /// The namespace that it is in, if it is in one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The program itself.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// The kubeconfig, for other programs.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs a command and gives its standard output.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn run(&self, arguments: &[&str]) -> Result<String, KubectlError> {
        self.run_with(arguments, None).map(|output| text(&output.stdout))
    }

    /// Runs a command and gives what it warned of, which `kubectl` writes to standard error.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn warnings(&self, arguments: &[&str], input: &Value) -> Result<String, KubectlError> {
        self.run_with(arguments, Some(input))
            .map(|output| text(&output.stderr))
    }

    /// Runs a command that gets a manifest on its standard input.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn feed(&self, arguments: &[&str], manifest: &Value) -> Result<String, KubectlError> {
        self.run_with(arguments, Some(manifest))
            .map(|output| text(&output.stdout))
    }

    /// An object, or a list of objects.
    ///
    /// # Errors
    /// When the API server refuses, or the object does not exist.
    pub fn get(&self, arguments: &[&str]) -> Result<Value, KubectlError> {
        let mut all = vec!["get", "--output=json"];
        all.extend(arguments);
        let json = self.run(&all)?;
        serde_json::from_str(&json).map_err(|error| KubectlError {
            command: self.describe(&all),
            stderr: format!("cannot parse its output as JSON: {error}"),
        })
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>, KubectlError> {
        let list = self.get(arguments)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    fn run_with(&self, arguments: &[&str], input: Option<&Value>) -> Result<Output, KubectlError> {
        let failed = |stderr: String| KubectlError {
            command: self.describe(arguments),
            stderr,
        };
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        let mut child = command
            .args(arguments)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("cannot run {}: {error}", self.program)))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // What it does not read, it complains about itself.
            let _ = stdin.write_all(input.to_string().as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(output)
        } else {
            // What the program in a pod printed before it failed tells more than its code.
            Err(failed(format!(
                "{}{}",
                text(&output.stderr),
                text(&output.stdout)
            )))
        }
    }

    fn describe(&self, arguments: &[&str]) -> String {
        let namespace = self
            .namespace
            .as_ref()
            .map(|namespace| format!("--namespace {namespace} "))
            .unwrap_or_default();
        format!("kubectl {namespace}{}", arguments.join(" "))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
