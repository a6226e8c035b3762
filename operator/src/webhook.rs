//! The webhooks that the API server calls: `/inject`, `/validate`, `/keys` and `/convert`, over TLS.
//!
//! ```text
//! connection ─► TLS ─► request ─► body, within a budget ─► what it is about ─► what its objects take, counted
//!                                                                                  │ within a budget
//!                                        answer ◄─ decision (pure, off the event loop) ◄─ objects
//! ```
//!
//! Nothing is made of the objects in a body before it is known what that takes. What takes too much is answered like any
//! other fault of an object. A request that finds no room in time is answered with 429 and when to try again.
//!
//! A review that can be read is answered with 200 and its `uid`, whatever the decision. A body that cannot is answered
//! with 400. What this process could not decide (it does not know the Namespace and the API server does not answer) is
//! answered with 500, so that the `failurePolicy` of the configuration decides.

mod bodies;
mod body;
mod budget;
mod decide;
mod judge;
mod metrics;
mod namespaces;
mod review;
mod route;
mod server;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use metrics::WebhookMetrics;
pub use route::Routes;
pub use server::serve;

use crate::cluster_view::ClusterView;
use crate::inject::InjectSettings;

/// What the webhooks decide by.
#[derive(Clone)]
pub struct WebhookState {
    /// Access to Namespaces.
    pub view: Arc<dyn ClusterView>,
    /// How sidecars are made; may be swapped at any time.
    pub settings: Arc<ArcSwap<InjectSettings>>,
    /// What is counted.
    pub metrics: WebhookMetrics,
}

impl fmt::Debug for WebhookState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookState").finish_non_exhaustive()
    }
}

/// One of the webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Webhook {
    Inject,
    Validate,
    Keys,
    Convert,
}

impl Webhook {
    const ALL: [Self; 4] = [Self::Inject, Self::Validate, Self::Keys, Self::Convert];

    fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Validate => "validate",
            Self::Keys => "keys",
            Self::Convert => "convert",
        }
    }

    /// The webhook that answers under a path.
    fn at(path: &str) -> Option<Self> {
        let word = path.strip_prefix('/')?;
        Self::ALL.into_iter().find(|webhook| webhook.as_str() == word)
    }
}

#[cfg(test)]
mod tests;
