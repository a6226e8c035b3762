//! What tests of access share: callers with accounts of their own, and a server for each test to protect.

use std::sync::OnceLock;

use parking_lot::Mutex;
use smilax_core::config::AccessMode;

use crate::client::Client;
use crate::mesh::Mesh;
use crate::namespace::{Inject, Namespace};
use crate::objects::{Object, Service, Workload};
use crate::wait::{Progress, wait_until};

/// Callers `friend` and `stranger`, each under an account of its name.
#[derive(Debug)]
pub struct Callers {
    /// The mesh.
    pub mesh: Mesh,
    /// Where it all is.
    pub namespace: Namespace,
    /// Whom targets let in.
    pub friend: Client,
    /// Whom they do not name.
    pub stranger: Client,
}

/// The same for all tests of a file.
#[derive(Debug)]
pub struct Guarded {
    purpose: &'static str,
    callers: OnceLock<Callers>,
    making: Mutex<()>,
}

/// A server of one test: a Deployment, an account and a Service of one name.
#[derive(Debug)]
pub struct Server {
    /// Name of all three.
    pub name: String,
    /// Its pod, to look at what its proxy holds.
    pub pod: Client,
}

impl Callers {
    fn start(purpose: &str) -> Self {
        let mesh = Mesh::connect();
        let namespace = Namespace::fresh(&mesh, purpose, Inject::Enabled);
        for name in ["friend", "stranger"] {
            namespace.account(name);
            namespace.apply(Workload::deployment(name).account(name));
        }
        namespace.ready(&["deployment/friend", "deployment/stranger"]);
        let of = |name: &str| Client::of(&namespace, name, name);
        let (friend, stranger) = (of("friend"), of("stranger"));
        Self {
            mesh,
            namespace,
            friend,
            stranger,
        }
    }

    /// A server that both callers reach while nothing protects it yet, over connections in which both sides prove who
    /// they are.
    #[track_caller]
    pub fn server(&self, name: &str) -> Server {
        self.serve(Workload::deployment(name), name)
    }

    /// The same, made from this workload.
    #[track_caller]
    pub fn serve(&self, workload: Workload, name: &str) -> Server {
        self.namespace.account(name);
        self.namespace.apply(Service::named(name));
        self.namespace.apply(workload.account(name));
        self.namespace.ready(&[&format!("deployment/{name}")]);
        for caller in [&self.friend, &self.stranger] {
            caller.secures(name);
            caller.reaches(&format!("http://{name}/"));
        }
        Server {
            name: name.to_owned(),
            pod: Client::of(&self.namespace, name, name),
        }
    }

    /// Applies a target and waits until the server judges by it.
    #[track_caller]
    pub fn protect(&self, server: &Server, target: impl Into<Object>) -> Object {
        let target = self.namespace.apply(target);
        server.pod.enforces_target(&target);
        target
    }

    /// The id that an account of this namespace proves.
    pub fn id(&self, account: &str) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{account}", self.namespace.name())
    }
}

impl Guarded {
    /// Nothing yet; the first test makes it.
    pub const fn new(purpose: &'static str) -> Self {
        Self {
            purpose,
            callers: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// What the tests share, made by whoever comes first.
    pub fn callers(&'static self) -> &'static Callers {
        let _one_at_a_time = self.making.lock();
        self.callers.get_or_init(|| Callers::start(self.purpose))
    }
}

impl Server {
    /// Port 80 of its Service.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.name)
    }

    /// Waits until it judges its callers in this mode.
    #[track_caller]
    pub fn judges_in(&self, mode: AccessMode) {
        self.pod.enforces(&format!("judges in mode {mode:?}"), |config| {
            config.inbound.iter().any(|policy| policy.access == Some(mode))
        });
    }
}

/// Waits until a caller's GET is answered with this status, and gives the answer.
#[track_caller]
pub fn answers(caller: &Client, url: &str, status: u16) -> smilax_testapp::fetch::Fetched {
    wait_until(&format!("{} gets {status} from {url}", caller.pod()), || {
        let fetched = caller.get(url);
        Progress::when(fetched.status == Some(status), fetched.clone(), || {
            format!("{fetched:?}")
        })
    })
}
