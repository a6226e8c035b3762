//! Questions to ports of pods, through the API server. A forwarded port ends inside the pod's network, so what listens
//! on loopback only is reached too, and no NetworkPolicy is in the way.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::client::UpgradeConnectionError;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::remedies;

/// How long a question may take, with the way there.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer at most.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodPort {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) port: u16,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body of an answer that is none of failure.
    pub(crate) fn success(self) -> anyhow::Result<Bytes> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        bail!("{}: {}", self.status, String::from_utf8_lossy(&self.body).trim())
    }
}

/// Asks for a path.
///
/// # Errors
/// When the pod cannot be reached, or says nothing in time.
pub(crate) async fn get(client: &Client, to: &PodPort, path: &str) -> anyhow::Result<Answer> {
    send(client, to, Method::GET, path, Bytes::new()).await
}

/// Puts something at a path.
///
/// # Errors
/// As [`get`].
pub(crate) async fn put(client: &Client, to: &PodPort, path: &str, body: Bytes) -> anyhow::Result<Answer> {
    send(client, to, Method::PUT, path, body).await
}

async fn send(
    client: &Client,
    to: &PodPort,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .body(Full::new(body))?;
    let what = || format!("port {} of pod {}/{}", to.port, to.namespace, to.pod);
    timeout(TIME, ask(client, to, request))
        .await
        .map_err(|_| anyhow::anyhow!("{} does not answer within {} s", what(), TIME.as_secs()))?
        .with_context(|| format!("{} cannot be asked for {path}", what()))
}

async fn ask(client: &Client, to: &PodPort, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let pods = Api::<Pod>::namespaced(client.clone(), &to.namespace);
    let mut forwarder = pods
        .portforward(&to.pod, &[to.port])
        .await
        .map_err(|error| explained(error, &to.namespace))?;
    let stream = forwarder
        .take_stream(to.port)
        .context("the API server forwards no port")?;
    let refusal = forwarder.take_error(to.port);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!("the answer breaks off: {error}"))?
            .to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(asked);
    // Only kubelet knows why nothing comes; the stream stays open then.
    let refused = async {
        match refusal {
            Some(refusal) => refusal.await,
            None => None,
        }
    };
    let answer: anyhow::Result<Answer> = tokio::select! {
        answer = &mut asked => answer,
        Some(reason) = refused => Err(anyhow::anyhow!("{}", reason.trim())),
        // The connection ends after the last of the answer was read, too.
        _ = connection => asked.await,
    };
    forwarder.abort();
    answer
}

/// What to do about it, where that is known.
fn explained(error: kube::Error, namespace: &str) -> anyhow::Error {
    let status = match &error {
        kube::Error::Api(status) => Some(status.code),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
            Some(status.as_u16())
        }
        _ => None,
    };
    match status {
        Some(403) => anyhow::anyhow!(
            "you may not forward ports of pods in namespace {namespace}: your role lacks the verbs get and create of \
             pods/portforward there; ask for a role with them, the ClusterRole edit for one"
        ),
        Some(404) => anyhow::anyhow!(
            "there is no such pod in namespace {namespace}; {} lists them",
            remedies::list_pods(namespace)
        ),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
