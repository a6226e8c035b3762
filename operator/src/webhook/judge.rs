//! Which decision a review gets. Pure but for what the view of the cluster answers.

use std::sync::Arc;

use smilax_core::probe::PathKey;

use super::Webhook;
use super::decide::{self, Decision};
use super::review::Request;
use crate::cluster_view::{ClusterView, NamespaceView};
use crate::inject::InjectSettings;

/// What decides.
#[derive(Clone)]
pub(super) struct Judge {
    pub(super) webhook: Webhook,
    pub(super) settings: Arc<InjectSettings>,
    pub(super) view: Arc<dyn ClusterView>,
}

/// A Namespace, and where it is known from.
pub(super) enum Known {
    Watched(NamespaceView),
    Newest(NamespaceView),
}

/// What came of a review.
pub(super) enum Judged {
    Decided(Decision),
    /// The API server asks only about pods that it knows to have joined, so when the watch says otherwise, it is the watch
    /// that has not heard yet.
    NotJoined(NamespaceView),
}

impl Judge {
    pub(super) fn judge(&self, request: &Request, namespace: Known, path_key: &PathKey) -> Judged {
        let settings = &self.settings;
        let namespace = match namespace {
            Known::Watched(watched)
                if self.webhook == Webhook::Inject && !decide::joins(request, &watched, settings) =>
            {
                return Judged::NotJoined(watched);
            }
            Known::Watched(namespace) | Known::Newest(namespace) => namespace,
        };
        Judged::Decided(match self.webhook {
            Webhook::Inject => decide::injection(request, &namespace, settings, path_key),
            Webhook::Keys => decide::keys(request, &namespace),
            _ if decide::is_workload(&request.about) => decide::workload(request, &namespace, settings),
            _ if decide::is_pod(&request.about) => decide::pod_change(request, settings),
            _ => decide::policy(request, self.view.as_ref()),
        })
    }
}
