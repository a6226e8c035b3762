//! What shifts traffic by writing TrafficSplits: the code of Flagger and of Argo Rollouts, each in a Go program of its own.

use std::path::PathBuf;
use std::process::Command;

use crate::environment;
use crate::namespace::Namespace;

/// A tool, with the version of TrafficSplit that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Flagger with `meshProvider: smi:VERSION`.
    Flagger(&'static str),
    /// Argo Rollouts with `--traffic-split-api-version=VERSION`.
    ArgoRollouts(&'static str),
}

impl Tool {
    /// The names that the tool gives to the Services which take the old and the new version of an application.
    #[must_use]
    pub fn services(self, application: &str) -> [String; 2] {
        let stable = match self {
            Self::Flagger(_) => "primary",
            Self::ArgoRollouts(_) => "stable",
        };
        [format!("{application}-{stable}"), format!("{application}-canary")]
    }

    /// Sends a part of a hundred to the new version of an application.
    ///
    /// # Panics
    /// When the tool fails, with what it said.
    #[track_caller]
    pub fn shift(self, namespace: &Namespace, application: &str, canary: u32) {
        let (stable, canary) = ((100 - canary).to_string(), canary.to_string());
        let namespaced = |first: &str| {
            [
                first.to_owned(),
                namespace.name().to_owned(),
                application.to_owned(),
            ]
        };
        let (module, mut arguments) = match self {
            Self::Flagger(version) => ("flagger", namespaced(&format!("smi:{version}")).to_vec()),
            Self::ArgoRollouts(version) => ("argo-rollouts", namespaced(version).to_vec()),
        };
        if let Self::Flagger(_) = self {
            arguments.push(stable);
        }
        arguments.push(canary);
        let output = Command::new(program(module))
            .args(&arguments)
            .env("KUBECONFIG", namespace.kubectl().kubeconfig())
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!(
                "{module} {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => {
                panic!("{module} cannot be started: {error}; build it with e2e/progressive-delivery/build")
            }
        }
    }
}

fn program(module: &str) -> PathBuf {
    environment::repository()
        .join("target/progressive-delivery")
        .join(module)
}
