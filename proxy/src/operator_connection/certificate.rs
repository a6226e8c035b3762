//! Asks the operator for a certificate.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use smilax_core::workload_connection::{
    CERTIFICATE_PATH, CertificateRequest, CertificateResponse, OperatorEndpoint,
};
use smilax_core::{SpiffeId, Workload};
use tokio::time::timeout;
use zeroize::{Zeroize as _, Zeroizing};

use super::channel::{self, OperatorError};
use super::connect::Connect;
use crate::identity::key::NewKey;
use crate::tls::{Credentials, OperatorTls, Trust};

/// How long the operator may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer at most.
const MOST_BYTES: usize = 512 * 1024;
/// Bytes of a token at most.
const LONGEST_TOKEN: u64 = 16 * 1024;
/// Characters of a refusal that are told on.
const TOLD: usize = 200;
/// Longest pause that the operator may ask for.
const LONGEST_PAUSE: u64 = 60;

/// A certificate that was given, and fits.
pub struct Issued {
    /// The key and the certificate.
    pub credentials: Credentials,
    /// The key as it is kept.
    pub key: NewKey,
    /// What the operator answered.
    pub response: CertificateResponse,
}

/// Makes a key, and has it certified for the workload that the token in this file stands for.
///
/// # Errors
/// [`OperatorError`]. What was given is not returned unless it fits the key, names `workload`, and a root that is
/// trusted vouches for it.
pub async fn fetch(
    endpoint: &OperatorEndpoint,
    trust: &Arc<Trust>,
    workload: &Workload,
    token: &Path,
    network: &impl Connect,
) -> Result<Issued, OperatorError> {
    let key = NewKey::generate()?;
    let body = request_body(&key, token)?;
    let tls = OperatorTls::new(trust, None)?;
    let response = timeout(PATIENCE, ask(endpoint, &tls, body, network))
        .await
        .map_err(|_| OperatorError::TimedOut)??;
    let credentials = Credentials::new(&key.der(), response.chain.as_bytes())?;
    let expected = SpiffeId::of(&trust.domain, workload);
    if credentials.identity.id != expected {
        let found = &credentials.identity.id;
        return Err(OperatorError::Answer(format!(
            "it is for {found}, and not for {expected}"
        )));
    }
    let trusted = Arc::new(newer(trust, &response));
    credentials
        .verify(&trusted)
        .map_err(|error| OperatorError::Answer(format!("others would not believe it: {error}")))?;
    Ok(Issued {
        credentials,
        key,
        response,
    })
}

/// The bundle of the answer, when it is newer and can be used.
fn newer(trust: &Arc<Trust>, response: &CertificateResponse) -> Trust {
    if response.bundle.generation > trust.bundle.generation
        && let Ok(newer) = Trust::new(response.bundle.clone(), trust.domain.clone())
    {
        return newer;
    }
    Trust::clone(trust)
}

fn request_body(key: &NewKey, token: &Path) -> Result<Bytes, OperatorError> {
    // kubelet replaces the token before it runs out, so it is read each time.
    let mut text = Zeroizing::new(String::new());
    fs::File::open(token)
        .and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text))
        .map_err(|error| OperatorError::Token {
            file: token.display().to_string(),
            error,
        })?;
    let mut request = CertificateRequest {
        csr: STANDARD.encode(key.signing_request()?),
        token: text.trim().to_owned(),
    };
    let body = serde_json::to_vec(&request);
    request.token.zeroize();
    let body = body.map_err(|error| OperatorError::Answer(error.to_string()))?;
    Ok(Bytes::from_owner(Zeroizing::new(body)))
}

async fn ask(
    endpoint: &OperatorEndpoint,
    tls: &OperatorTls,
    body: Bytes,
    network: &impl Connect,
) -> Result<CertificateResponse, OperatorError> {
    let mut sender = channel::open(endpoint, tls, network).await?;
    let request = Request::post(format!("https://{}{CERTIFICATE_PATH}", endpoint.workload.account))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| OperatorError::Answer(error.to_string()))?;
    let response = sender.send_request(request).await?;
    let response = accepted(response).await?;
    let content = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(|error| OperatorError::Answer(error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&content).map_err(|error| OperatorError::Answer(error.to_string()))
}

/// An answer of 200, or the reason that it gives instead.
pub(super) async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, OperatorError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    let body = Limited::new(response.into_body(), 4 * TOLD).collect().await;
    let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let reason = String::from_utf8_lossy(&text)
        .chars()
        .filter(|one| !one.is_control())
        .take(TOLD)
        .collect();
    Err(OperatorError::Refused {
        status,
        reason,
        retry_after,
    })
}
