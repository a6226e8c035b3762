//! What the webhooks know of the cluster.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use smilax_compiler::Modes;

/// A Namespace, as far as injection asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceView {
    /// Its name.
    pub name: String,
    /// All its labels: ours, and those of Pod Security.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; ours suffice.
    pub annotations: BTreeMap<String, String>,
    /// What it lets in, by these annotations and the settings of the mesh.
    pub modes: Modes,
}

/// Access to Namespaces.
pub trait ClusterView: Send + Sync {
    /// The Namespace as last watched. `None` while the watch has not delivered it.
    fn namespace(&self, name: &str) -> Option<NamespaceView>;

    /// Asks the API server, for a Namespace that [`Self::namespace`] does not know yet: one that was made a moment ago, or
    /// before the first list is complete. `None` when there is none or when the API server does not answer; it must
    /// end within about 2 seconds, since the caller has 5.
    fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>>;
}
