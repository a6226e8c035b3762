//! The certificate that TLS serves, replaced while it runs.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

/// Serves the newest certificate, the same for every name. New handshakes see a new one at once; open connections keep theirs.
#[derive(Debug)]
pub struct CertificateResolver {
    current: ArcSwapOption<CertifiedKey>,
    ready: watch::Sender<bool>,
}

impl CertificateResolver {
    /// Without a certificate: handshakes fail until one is loaded.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwapOption::empty(),
            ready: watch::Sender::new(false),
        })
    }

    /// Serves this certificate from now on.
    pub fn load(&self, certificate: Arc<CertifiedKey>) {
        self.current.store(Some(certificate));
        self.ready.send_replace(true);
    }

    /// Whether there is a certificate to serve.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until there is one.
    pub async fn wait_ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as this resolver.
        drop(ready.wait_for(|ready| *ready).await);
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}
