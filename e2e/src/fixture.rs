//! What the tests of one file share: three servers and a client, made once, deleted when the file's tests have ended.

use std::ops::Deref;
use std::sync::OnceLock;

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
    web: OnceLock<Web>,
    making: Mutex<Making>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Making {
    NotBegun,
    Failed,
}

/// One test's hold on what it shares with others.
#[derive(Debug)]
pub struct Hold(&'static Web);

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
            web: OnceLock::new(),
            making: Mutex::new(Making::NotBegun),
        }
    }

    /// What the tests share, made by whoever comes first.
    ///
    /// # Panics
    /// When it could not be made, now or for an earlier test.
    pub fn hold(&'static self) -> Hold {
        let mut making = self.making.lock();
        assert!(
            *making != Making::Failed,
            "what this test shares with others could not be made: see the first test that failed"
        );
        // Stands until it is made.
        *making = Making::Failed;
        let web = self.web.get_or_init(|| Web::start(self.purpose));
        *making = Making::NotBegun;
        Hold(web)
    }
}

impl Deref for Hold {
    type Target = Web;

    fn deref(&self) -> &Web {
        self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.namespace.describe();
        }
    }
}
