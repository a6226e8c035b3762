//! The environment of the tests, read in one place.

use std::path::PathBuf;

/// A variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The kubeconfig, named explicitly: a test run must never meet a cluster by accident.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    variable("SMILAX_E2E_KUBECONFIG")
        .or_else(|| variable("KUBECONFIG"))
        .map(PathBuf::from)
}

/// Whether namespaces are kept after their tests.
pub(crate) fn keep() -> bool {
    variable("SMILAX_E2E_KEEP").is_some()
}

/// Whether tests that take many minutes run whole.
pub(crate) fn slow() -> bool {
    variable("SMILAX_E2E_SLOW").is_some()
}

/// Name of the test application's image.
#[must_use]
pub fn testapp_image() -> String {
    let registry = variable("SMILAX_IMAGE_REGISTRY").unwrap_or_else(|| "localhost".to_owned());
    let version = variable("SMILAX_VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    format!("{registry}/smilax-testapp:{version}")
}

/// The command line of the mesh: `SMILAX_CLI`, or what cargo built in this tree.
pub(crate) fn smilax() -> PathBuf {
    variable("SMILAX_CLI").map_or_else(|| repository().join("target/debug/smilax"), PathBuf::from)
}

/// Root of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
