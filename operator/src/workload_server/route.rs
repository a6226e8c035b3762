//! Which request is answered how.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use kube::Client;
use smilax_core::Workload;
use smilax_core::convention::OPERATOR_ACCOUNT;
use smilax_core::workload_connection::{CERTIFICATE_PATH, CONNECT_PATH};
use tokio_util::sync::CancellationToken;

use super::fleet::FleetStore;
use super::issue::Issuing;
use super::metrics::WorkloadMetrics;
use super::peer::Peer;
use super::publish::Hub;
use super::relay::FLEET_PATH;
use super::tls::Contexts;
use crate::controller::State;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What answers proxies.
#[derive(Debug)]
pub struct Server {
    pub(super) contexts: Contexts,
    pub(super) fleet: Arc<FleetStore>,
    pub(super) hub: Arc<Hub>,
    pub(super) issuing: Issuing,
    pub(super) metrics: WorkloadMetrics,
    namespace: String,
}

/// At the other end of a connection.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// Whom its certificate names; `None` without one.
    pub(super) peer: Option<Peer>,
}

impl Server {
    /// Certificates of this lifetime, from what `contexts` says is in use.
    pub fn new(
        (client, state, namespace): (Client, Arc<State>, String),
        contexts: Contexts,
        (fleet, hub): (Arc<FleetStore>, Arc<Hub>),
        lifetime: Duration,
        metrics: WorkloadMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            contexts,
            fleet,
            hub,
            issuing: Issuing::new(client, state, lifetime),
            metrics,
            namespace,
        })
    }

    pub(super) async fn answer(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
        closing: CancellationToken,
    ) -> Answer {
        let path = request.uri().path();
        if !matches!(path, CERTIFICATE_PATH | CONNECT_PATH | FLEET_PATH) {
            return refusal(StatusCode::NOT_FOUND, "there is nothing here");
        }
        if request.method() != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        }
        match (path, &caller.peer) {
            (CERTIFICATE_PATH, _) => self.issue(caller, request.into_body()).await,
            (CONNECT_PATH, Some(peer)) => match &peer.pod_uid {
                Some(uid) => self.connect(&peer.workload, uid, request.into_body(), &closing),
                None => refusal(StatusCode::FORBIDDEN, "the certificate is not a pod's"),
            },
            (FLEET_PATH, Some(peer)) if self.is_operator(peer) => {
                self.take_fleet(request.into_body(), closing).await
            }
            (FLEET_PATH, Some(_)) => refusal(StatusCode::FORBIDDEN, "only for the operator itself"),
            (_, None) => refusal(StatusCode::UNAUTHORIZED, "a certificate of the mesh is needed"),
            (_, Some(_)) => refusal(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    pub(super) fn count_handshake(&self, outcome: &str) {
        self.metrics.handshakes.with_label_values(&[outcome]).inc();
    }

    /// Pods' certificates carry a UID, so that no pod is taken for the operator.
    fn is_operator(&self, peer: &Peer) -> bool {
        peer.pod_uid.is_none() && self.is_own(&peer.workload)
    }

    /// Whether this is the account that the operator itself runs under.
    pub(super) fn is_own(&self, workload: &Workload) -> bool {
        *workload.namespace == *self.namespace && &*workload.account == OPERATOR_ACCOUNT
    }
}

pub(super) fn refusal(status: StatusCode, reason: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", format!("{reason}\n"))
}

pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
