//! What the tests of one file share: three servers and a client, made once, deleted after the last test.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::client::Client;
use crate::mesh::Mesh;
use crate::namespace::{Inject, Namespace};
use crate::objects::{Object, Service, Workload};

/// Servers `web-root`, `web-v1` and `web-v2`, each behind a Service of its own name, and a client.
#[derive(Debug)]
pub struct Web {
    /// The mesh.
    pub mesh: Mesh,
    /// Where it all is.
    pub namespace: Namespace,
    /// A pod that calls the servers, under an account of its own.
    pub client: Client,
}

/// The same for all tests of a file.
#[derive(Debug)]
pub struct Shared {
    purpose: &'static str,
    web: Mutex<Weak<Web>>,
    broken: AtomicBool,
}

/// One test's hold on what it shares with others.
#[derive(Debug)]
pub struct Hold(Arc<Web>);

impl Web {
    /// Makes it all and waits until it runs.
    pub fn start(purpose: &str) -> Self {
        let mesh = Mesh::connect();
        let namespace = Namespace::fresh(&mesh, purpose, Inject::Enabled);
        namespace.account("client");
        for name in ["web-root", "web-v1", "web-v2"] {
            namespace.apply(Service::named(name));
            namespace.apply(Workload::deployment(name));
        }
        namespace.apply(Workload::deployment("client").account("client"));
        namespace.ready(&[
            "deployment/web-root",
            "deployment/web-v1",
            "deployment/web-v2",
            "deployment/client",
        ]);
        let client = Client::of(&namespace, "client", "client");
        for name in ["web-root", "web-v1", "web-v2"] {
            client.reaches(&format!("http://{name}/"));
        }
        Self {
            mesh,
            namespace,
            client,
        }
    }

    /// A Service for one test to split, which `web-root` stands behind.
    #[track_caller]
    pub fn root(&self, name: &str) -> Object {
        let root = self.namespace.apply(Service::named(name).selecting("web-root"));
        self.client.reaches(&format!("http://{name}/"));
        root
    }

    /// Applies a split and waits until the client's proxy enforces it.
    #[track_caller]
    pub fn enforce(&self, split: impl Into<Object>) -> Object {
        let split = self.namespace.apply(split);
        self.client.enforces_split(&split);
        split
    }
}

impl Shared {
    /// Nothing yet; the first test makes it.
    pub const fn new(purpose: &'static str) -> Self {
        Self {
            purpose,
            web: Mutex::new(Weak::new()),
            broken: AtomicBool::new(false),
        }
    }

    /// What the tests share, made by whoever comes first.
    ///
    /// # Panics
    /// When it could not be made, now or for an earlier test.
    pub fn hold(&self) -> Hold {
        let mut shared = self.web.lock();
        if let Some(web) = shared.upgrade() {
            return Hold(web);
        }
        assert!(
            !self.broken.load(Ordering::Relaxed),
            "what this test shares with others could not be made: see the first test that failed"
        );
        self.broken.store(true, Ordering::Relaxed);
        let web = Arc::new(Web::start(self.purpose));
        self.broken.store(false, Ordering::Relaxed);
        *shared = Arc::downgrade(&web);
        Hold(web)
    }
}

impl Deref for Hold {
    type Target = Web;

    fn deref(&self) -> &Web {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.namespace.describe();
        }
    }
}
