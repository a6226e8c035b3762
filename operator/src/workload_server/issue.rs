//! `/v1/certificate`: a token and a key in, a certificate out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use kube::Client;
use smilax_compiler::{NotASidecar, judge_token};
use smilax_core::admission::Network;
use smilax_core::workload_connection::{CertificateRequest, CertificateResponse, MOST_REQUEST_BYTES};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::limit::Limiter;
use super::review::{self, Holder, ReviewError};
use super::route::{Answer, Caller, Server, refusal, whole};
use crate::authority::{CsrError, IssueError, PublicKey, Subject};
use crate::call::CallError;
use crate::controller::kinds::Watched;
use crate::controller::{State, watch};
use crate::places::{NoPlace, Places, Size};

/// For the body, and for everything after it.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Questions that one address may lead to: a node's, where addresses are translated.
const ADDRESS_BURST: u32 = 64;
const ADDRESS_PERIOD: Duration = Duration::from_millis(100);
/// The same for a /64 of IPv6, which may be that of a node with all its pods, or of many nodes.
const NETWORK_BURST: u32 = 512;
const NETWORK_PERIOD: Duration = Duration::from_millis(20);
/// Certificates of one pod. It needs one, and one whenever the issuer changes.
const POD_BURST: u32 = 6;
const POD_PERIOD: Duration = Duration::from_secs(10);
/// Lines of log about refusals of one address, or /64 of IPv6.
const LOG_BURST: u32 = 5;
const LOG_PERIOD: Duration = Duration::from_mins(1);
/// Pods that the API server is asked for at once, by namespace.
const LOOKS: Size = Size {
    all: 4,
    of_one: 2,
    patience: Duration::from_secs(2),
};

/// What issuing needs.
pub(super) struct Issuing {
    client: Client,
    /// The same, which sees excerpts of pods.
    excerpts: Client,
    looks: Places<Arc<str>>,
    state: Arc<State>,
    lifetime: Duration,
    addresses: Limiter<IpAddr>,
    networks: Limiter<Network>,
    pods: Limiter<String>,
    lines: Limiter<Network>,
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuing").finish_non_exhaustive()
    }
}

/// Why no certificate is given.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the request is not complete within {} s", BODY_TIME.as_secs())]
    Slow,
    #[error("the request is larger than {MOST_REQUEST_BYTES} bytes, or was not sent to its end")]
    TooLarge,
    #[error("the request is malformed: {0}")]
    Malformed(String),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("pod {0} is not there, or is another one by now")]
    Gone(String),
    #[error("pod {0}: {1}")]
    NotASidecar(String, NotASidecar),
    #[error("the identity of the operator is not given to pods")]
    Operator,
    #[error("too many requests; wait {} s", .0.as_secs() + 1)]
    TooMany(Duration),
    #[error("the operator is busy with other pods; try again")]
    Busy,
    #[error("the operator has no authority to sign with")]
    NoAuthority,
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Issuing {
    pub(super) fn new(client: Client, state: Arc<State>, lifetime: Duration) -> Self {
        Self {
            excerpts: watch::excerpts_of(&client, Watched::Pod),
            looks: Places::new(LOOKS),
            client,
            state,
            lifetime,
            addresses: Limiter::new(ADDRESS_BURST, ADDRESS_PERIOD),
            networks: Limiter::new(NETWORK_BURST, NETWORK_PERIOD),
            pods: Limiter::new(POD_BURST, POD_PERIOD),
            lines: Limiter::new(LOG_BURST, LOG_PERIOD),
        }
    }

    /// Takes one of the questions that an address may lead to, or says how long to wait for it. One that has none left takes
    /// none of its network.
    fn ask(&self, address: IpAddr) -> Result<(), Duration> {
        self.addresses.take(address)?;
        self.networks.take(Network::of(address))
    }

    /// Whether the pod lives, and nobody but its sidecar holds the token.
    async fn judge(&self, holder: &Holder) -> Result<(), Refusal> {
        let (known, images) = self.state.read(|inner| {
            let images = inner.index.settings().sidecar_images.clone();
            let contents = inner.index.contents(&holder.workload.namespace);
            let pod = contents.and_then(|contents| contents.pods.get(holder.pod.as_str()));
            let known = pod.is_some_and(|pod| {
                pod.meta.uid == holder.pod_uid
                    && pod.account == holder.workload.account
                    && !pod.finished
                    && judge_token(pod, &images).is_ok()
            });
            (known, images)
        });
        if known {
            return Ok(());
        }
        // The watch may be behind a pod that was made or changed a moment ago, and a pod that was replaced under its name.
        let name = || format!("{}/{}", holder.workload.namespace, holder.pod);
        let place = self.looks.take(Arc::clone(&holder.workload.namespace), 1);
        let place = place.await.map_err(|NoPlace| Refusal::Busy)?;
        let pod = review::pod(&self.excerpts, holder)
            .await
            .map_err(ReviewError::from)?
            .ok_or_else(|| Refusal::Gone(name()))?;
        drop(place);
        judge_token(&pod, &images).map_err(|why| Refusal::NotASidecar(name(), why))
    }
}

impl Server {
    pub(super) async fn issue<B>(&self, caller: &Caller, body: B) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.try_issue(caller, body).await {
            Ok(response) => {
                self.count_request("issued");
                let body = serde_json::to_vec(&response).unwrap_or_default();
                whole(StatusCode::OK, "application/json", body)
            }
            Err(refused) => {
                self.count_request(refused.word());
                if self.issuing.lines.take(Network::of(caller.address)).is_ok() {
                    tracing::info!(address = %caller.address, reason = %refused, "no certificate given");
                }
                let mut answer = refusal(refused.status(), &refused.to_string());
                if let Some(wait) = refused.wait() {
                    let wait = HeaderValue::from(wait.as_secs() + 1);
                    answer.headers_mut().insert(header::RETRY_AFTER, wait);
                }
                answer
            }
        }
    }

    async fn try_issue<B>(&self, caller: &Caller, body: B) -> Result<CertificateResponse, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Before anybody is asked: a token that is not valid costs the API server as much as one that is.
        self.issuing.ask(caller.address).map_err(Refusal::TooMany)?;
        let body = timeout(BODY_TIME, Limited::new(body, MOST_REQUEST_BYTES).collect())
            .await
            .map_err(|_| Refusal::Slow)?
            .map_err(|_| Refusal::TooLarge)?
            .to_bytes();
        // What is wrong is not repeated: the request holds a token.
        let request: CertificateRequest = serde_json::from_slice(&body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            Refusal::Malformed(format!("{:?} at {place}", error.classify()))
        })?;
        let csr = STANDARD
            .decode(&request.csr)
            .map_err(|error| Refusal::Malformed(format!("csr is not base64: {error}")))?;
        let key = PublicKey::of_request(&csr)?;
        let holder = review::review(&self.issuing.client, request.token).await?;
        // Before the pod is asked for: that costs more than the answer about its token.
        self.issuing
            .pods
            .take(holder.pod_uid.clone())
            .map_err(Refusal::TooMany)?;
        self.issuing.judge(&holder).await?;
        // Who can get a token of this account could otherwise speak to every proxy as the operator.
        if self.is_own(&holder.workload) {
            return Err(Refusal::Operator);
        }
        let context = self.contexts.borrow().clone().ok_or(Refusal::NoAuthority)?;
        let subject = Subject {
            trust_domain: &context.trust_domain,
            workload: &holder.workload,
            pod_uid: Some(&holder.pod_uid),
        };
        let now = OffsetDateTime::now_utc();
        let authority = &context.in_use.authority;
        let issued = authority.sign(&key, &subject, self.issuing.lifetime, now)?;
        tracing::info!(
            workload = %holder.workload,
            pod = holder.pod,
            not_after = %issued.not_after,
            "certificate issued"
        );
        Ok(CertificateResponse {
            chain: issued.chain,
            issuer: authority.key_id().clone(),
            bundle: context.in_use.bundle.clone(),
        })
    }

    fn count_request(&self, outcome: &str) {
        self.metrics.certificates.with_label_values(&[outcome]).inc();
    }
}

impl Refusal {
    /// When it is worth asking again, if that is known.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some(*wait),
            Self::Busy => Some(Duration::ZERO),
            _ => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::Csr(_) => StatusCode::BAD_REQUEST,
            Self::Review(ReviewError::Call(_)) | Self::Busy | Self::NoAuthority | Self::Issue(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Review(_) => StatusCode::UNAUTHORIZED,
            Self::Gone(_) | Self::NotASidecar(..) | Self::Operator => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// One word of few, for metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Csr(_) => "csr",
            Self::Review(ReviewError::Call(CallError::Time { .. } | CallError::Api { .. })) => "api_server",
            Self::Review(_) => "token",
            Self::Gone(_) => "pod_gone",
            Self::NotASidecar(..) => "not_a_sidecar",
            Self::Operator => "operator",
            Self::TooMany(_) => "too_many",
            Self::Busy => "busy",
            Self::NoAuthority | Self::Issue(_) => "no_authority",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use smilax_compiler::index::Settings;

    use super::*;

    fn issuing() -> Issuing {
        let unasked = tower::service_fn(|_: http::Request<kube::client::Body>| {
            futures::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
        });
        let client = Client::new(unasked, "default");
        Issuing::new(client, State::new(Settings::default()), Duration::from_hours(1))
    }

    /// An address of this /64.
    fn address(network: u16, number: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn s41_a_network_of_many_addresses_leads_to_few_questions() {
        let issuing = issuing();
        let asked = (0..5000).filter(|&number| issuing.ask(address(1, number)).is_ok());
        assert_eq!(asked.count(), NETWORK_BURST as usize);
        assert!(issuing.ask(address(2, 0)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s41_an_address_that_has_had_its_share_spends_nothing_of_its_network() {
        let issuing = issuing();
        let asked = (0..5000).filter(|_| issuing.ask(address(1, 1)).is_ok());
        assert_eq!(asked.count(), ADDRESS_BURST as usize);
        assert!(issuing.ask(address(1, 2)).is_ok());
    }
}
