//! HTTP/2 to the operator, over TLS in which the operator has proven who it is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use smilax_core::workload_connection::{FrameError, OperatorEndpoint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::Connect;
use crate::http::LocalExecutor;
use crate::identity::key::KeyError;
use crate::tls::{CredentialsError, OperatorTls, PeerError};

/// How long connecting may take, and how long the handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which it is asked whether the operator lives. The kernel notices sooner when its machine or its process is
/// gone; this is for one that hangs.
const PING_AFTER: Duration = Duration::from_mins(1);
/// How long the operator may take to say so.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of headers of an answer at most.
const HEADER_BYTES: u32 = 16 * 1024;

/// Why the operator was of no use.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The configuration names no address of it.
    #[error("no address of the operator is known")]
    NoAddress,
    /// Nobody there.
    #[error("the operator cannot be reached at {address}: {error}")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Somebody there who is not believed.
    #[error("whoever answers at {address} is not believed: {error}")]
    NotBelieved {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: PeerError,
    },
    /// A member of the mesh, but not the operator.
    #[error("{found} answers at {address}, and not {expected}")]
    NotTheOperator {
        /// Where.
        address: SocketAddr,
        /// Who answers.
        found: String,
        /// Who should.
        expected: String,
    },
    /// It took too long.
    #[error("the operator did not answer in time")]
    TimedOut,
    /// The connection broke.
    #[error("the connection to the operator broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It ended the connection.
    #[error("the operator ended the connection")]
    Ended,
    /// It answered something else than 200.
    #[error("the operator refuses with {status}: {reason}")]
    Refused {
        /// Status of the answer.
        status: http::StatusCode,
        /// The beginning of what it says.
        reason: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// What it answered is of no use.
    #[error("the answer of the operator cannot be used: {0}")]
    Answer(String),
    /// It sent what is no message.
    #[error("a message from the operator cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// The token cannot be read.
    #[error("the token of this pod cannot be read from {file}: {error}")]
    Token {
        /// Where it should be.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is not for this key.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CredentialsError),
    /// A mistake in this program.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl OperatorError {
    /// One word of few, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoAddress | Self::Unreachable { .. } => "unreachable",
            Self::NotBelieved { .. } | Self::NotTheOperator { .. } => "not_the_operator",
            Self::TimedOut => "timeout",
            Self::Broken(_) | Self::Ended | Self::Frame(_) => "broken",
            Self::Refused { .. } => "refused",
            Self::Answer(_) | Self::Certificate(_) => "invalid",
            Self::Token { .. } => "no_token",
            Self::Key(_) | Self::Tls(_) => "internal",
        }
    }

    /// How long the operator asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A connection to the operator at one of its addresses.
///
/// # Errors
/// [`OperatorError`] of the last address.
pub async fn open<B>(
    endpoint: &OperatorEndpoint,
    tls: &OperatorTls,
    network: &impl Connect,
) -> Result<SendRequest<B>, OperatorError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut failure = OperatorError::NoAddress;
    for &address in &endpoint.addresses {
        match connect(endpoint, address, tls, network).await {
            Ok(stream) => return speak(stream).await,
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect<C: Connect>(
    endpoint: &OperatorEndpoint,
    address: SocketAddr,
    tls: &OperatorTls,
    network: &C,
) -> Result<TlsStream<C::Stream>, OperatorError> {
    let unreachable = |error: io::Error| OperatorError::Unreachable { address, error };
    let stream = timeout(PATIENCE, network.connect(address))
        .await
        .map_err(|_| OperatorError::TimedOut)?
        .map_err(unreachable)?;
    let connector = TlsConnector::from(tls.config.clone());
    let stream = timeout(
        PATIENCE,
        connector.connect(ServerName::from(address.ip()), stream),
    )
    .await
    .map_err(|_| OperatorError::TimedOut)?
    .map_err(|error| refused(address, error))?;
    let peer = tls
        .server_of(stream.get_ref().1)
        .map_err(|error| OperatorError::NotBelieved { address, error })?;
    if peer.identity.workload.as_ref() == Some(&endpoint.workload) {
        return Ok(stream);
    }
    Err(OperatorError::NotTheOperator {
        address,
        found: peer.identity.id.to_string(),
        expected: endpoint.workload.to_string(),
    })
}

fn refused(address: SocketAddr, error: io::Error) -> OperatorError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(PeerError::of) {
        Some(reason) => OperatorError::NotBelieved {
            address,
            error: reason.clone(),
        },
        None => OperatorError::Unreachable { address, error },
    }
}

async fn speak<S, B>(stream: TlsStream<S>) -> Result<SendRequest<B>, OperatorError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_PATIENCE)
        .keep_alive_while_idle(true)
        .max_header_list_size(HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    // It ends when the last sender and the last stream are gone.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the operator broke");
        }
    });
    Ok(sender)
}
