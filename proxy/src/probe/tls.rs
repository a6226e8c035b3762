//! TLS whose certificate is not verified, as kubelet does not verify it either.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use super::http_get::Client;

/// Accepts any certificate. What is asked over this connection is only whether somebody answers.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

/// Protocol of HTTP/2 in TLS.
pub(super) const HTTP2: &[u8] = b"h2";
/// How an answer begins that is HTTP and not TLS.
const HTTP: &[u8; 5] = b"HTTP/";

/// A TLS connection to whatever listens there.
///
/// # Errors
/// [`Failure::NotTls`] when it speaks HTTP, [`Failure::Broken`] when the handshake fails otherwise.
pub(super) async fn unverified(
    stream: TcpStream,
    address: IpAddr,
    client: Client,
) -> Result<TlsStream<FirstBytes>, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Broken(format!("no TLS there: {error}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = match client {
        Client::Probe => vec![HTTP2.to_vec(), b"http/1.1".to_vec()],
        // Go offers nothing where a transport comes with TLS settings of its own.
        Client::Hook => Vec::new(),
    };
    let stream = FirstBytes {
        stream,
        first: [0; 5],
        filled: 0,
    };
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(address), stream)
        .into_fallible()
        .await
        .map_err(|(error, stream)| match &stream.first {
            HTTP => Failure::NotTls,
            _ => broken(&error),
        })
}

/// A TLS connection to whatever listens there, for HTTP/1.1.
///
/// # Errors
/// As [`unverified`].
pub(crate) async fn unverified_http1(
    stream: TcpStream,
    address: IpAddr,
) -> Result<TlsStream<FirstBytes>, Failure> {
    unverified(stream, address, Client::Hook).await
}

/// A stream that remembers how what it read begins.
pub(crate) struct FirstBytes {
    stream: TcpStream,
    first: [u8; 5],
    filled: usize,
}

impl AsyncRead for FirstBytes {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        for (place, byte) in this.first.iter_mut().skip(this.filled).zip(read) {
            *place = *byte;
            this.filled += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FirstBytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
