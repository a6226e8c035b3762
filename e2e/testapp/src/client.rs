//! Connections to HTTP servers, without a pool and without a retry: what fails, fails in the count.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

mod trust;

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2 with prior knowledge.
    Two,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Target {
    scheme: Scheme,
    authority: Authority,
    port: u16,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not something to connect to.
    #[error("{0} has no scheme or host, expected http://HOST[:PORT]/PATH")]
    Address(Uri),
    /// Name resolution, or TCP.
    #[error("cannot connect to {target}")]
    Tcp {
        /// Host and port.
        target: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS or HTTP handshake.
    #[error("handshake with {target} failed: {reason}")]
    Handshake {
        /// Host and port.
        target: String,
        /// What went wrong.
        reason: String,
    },
}

/// An open connection.
pub enum Connection {
    /// HTTP/1.1.
    One(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2.
    Two(http2::SendRequest<Full<Bytes>>),
}

/// What to send, apart from where.
#[derive(Clone, Debug)]
pub struct Message {
    /// Method.
    pub method: Method,
    /// Path with query.
    pub path: PathAndQuery,
    /// Host instead of the target's authority.
    pub host: Option<String>,
    /// Headers beside Host.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Target {
    /// The server of a URL.
    ///
    /// # Errors
    /// When the URL lacks scheme or host.
    pub fn of(url: &Uri) -> Result<Self, ConnectError> {
        let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
            return Err(ConnectError::Address(url.clone()));
        };
        let standard = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            port: authority.port_u16().unwrap_or(standard),
        })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When name resolution, TCP, TLS or the HTTP handshake fails.
    pub async fn connect(&self, http: Http) -> Result<Connection, ConnectError> {
        let tcp = self.open().await?;
        if self.scheme == Scheme::HTTPS {
            let tls = tokio_rustls::TlsConnector::from(Arc::new(trust::anyone(http)));
            let name =
                ServerName::try_from(self.host().to_owned()).map_err(|error| self.handshake(&error))?;
            let stream = tls
                .connect(name, tcp)
                .await
                .map_err(|error| self.handshake(&error))?;
            self.shake_hands(http, stream).await
        } else {
            self.shake_hands(http, tcp).await
        }
    }

    /// Opens a bare TCP connection.
    ///
    /// # Errors
    /// When name resolution or TCP fails.
    pub async fn open(&self) -> Result<TcpStream, ConnectError> {
        let failed = |source| ConnectError::Tcp {
            target: format!("{}:{}", self.authority.host(), self.port),
            source,
        };
        let stream = TcpStream::connect((self.host(), self.port))
            .await
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    /// The request as its HTTP version writes it.
    ///
    /// # Errors
    /// When host and path do not make a URI.
    pub fn request(&self, http: Http, message: &Message) -> Result<Request<Full<Bytes>>, http::Error> {
        let host = message.host.as_deref().unwrap_or(self.authority.as_str());
        let mut request = Request::builder().method(message.method.clone());
        request = match http {
            Http::One => request
                .version(Version::HTTP_11)
                .uri(Uri::from(message.path.clone()))
                .header(header::HOST, host),
            Http::Two => request.version(Version::HTTP_2).uri(
                Uri::builder()
                    .scheme(self.scheme.clone())
                    .authority(host)
                    .path_and_query(message.path.clone())
                    .build()?,
            ),
        };
        let mut request = request.body(Full::new(message.body.clone()))?;
        request.headers_mut().extend(message.headers.clone());
        Ok(request)
    }

    fn host(&self) -> &str {
        self.authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    async fn shake_hands<S>(&self, http: Http, stream: S) -> Result<Connection, ConnectError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io)
                    .await
                    .map_err(|error| self.handshake(&error))?;
                tokio::spawn(connection.with_upgrades());
                Ok(Connection::One(sender))
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(|error| self.handshake(&error))?;
                tokio::spawn(connection);
                Ok(Connection::Two(sender))
            }
        }
    }

    fn handshake(&self, error: &dyn std::error::Error) -> ConnectError {
        ConnectError::Handshake {
            target: format!("{}:{}", self.authority.host(), self.port),
            reason: chain(error),
        }
    }
}

impl Connection {
    /// Waits until a request may be sent; false when the server closed the connection.
    pub async fn usable(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Two(sender) => sender.send_request(request).await,
        }
    }
}

/// Reads `Name=Value`.
///
/// # Errors
/// A sentence for the command line.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("header {text:?} has no '=', expected Name=Value"))?;
    name.parse::<HeaderName>()
        .map_err(|error| format!("header name {name:?}: {error}"))?;
    value
        .parse::<HeaderValue>()
        .map_err(|error| format!("header value {value:?}: {error}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Headers that [`parse_header`] let through.
pub fn headers(pairs: &[(String, String)]) -> HeaderMap {
    pairs
        .iter()
        .filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?)))
        .collect()
}

/// An error with its causes, since hyper keeps the reason of a broken connection in the cause.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
