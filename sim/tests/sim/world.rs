//! Everything that is outside of the simulated processes: what the API server holds, the disks of the pods, who is there,
//! and what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Registry;
use smilax_core::workload_connection::TrustBundle;
use smilax_core::{Revision, Workload};
use smilax_operator::authority::{Authority, InUse, Material, Next, Step};
use smilax_operator::controller::change::render;
use smilax_operator::lease::Leadership;
use smilax_operator::workload_server::{FleetStore, TlsContext};
use smilax_proxy::control::Control;
use smilax_sim::judge::READER;
use smilax_sim::plan::{Content, PODS, REPLICAS, SERVICES};
use smilax_sim::record::{InForce, Record, Usable, Written};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::cluster::Change;
use crate::policy::{INSTALLATION, account, text};

/// Bytes of the roots.
const BUNDLE: usize = 4096;
/// How late a replica is usually told.
pub(crate) const USUAL_LAG: Duration = Duration::from_millis(20);

/// Everything that is outside of the simulated processes.
pub(crate) struct World {
    inner: Mutex<Inner>,
    /// Who signs in the beginning, and the same when the next root is trusted too.
    authorities: [Authority; 2],
    /// Whether the client that is no proxy reads.
    pub(crate) reading: watch::Sender<bool>,
    folder: TempDir,
}

pub(crate) struct Inner {
    pub(crate) record: Record,
    pub(crate) pods: Vec<Pod>,
    pub(crate) reader: Reader,
    /// What happened in the cluster, and when.
    pub(crate) log: Vec<(Duration, Change)>,
    pub(crate) lags: [Duration; REPLICAS],
    pub(crate) running: [Option<Replica>; REPLICAS],
    pub(crate) announced: bool,
    /// Pods behind each Service.
    pub(crate) behind: [u8; SERVICES],
    leader: usize,
    term: u64,
    last: Revision,
    policies: BTreeMap<Workload, Vec<(Revision, String, Content)>>,
    lives: usize,
}

/// A replica that runs.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) fleet: Arc<FleetStore>,
    pub(crate) registry: Registry,
    pub(crate) leadership: watch::Sender<Leadership>,
}

/// A pod with a proxy.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) workload: Workload,
    pub(crate) folder: PathBuf,
    /// Services that its application calls.
    pub(crate) uses: BTreeSet<usize>,
    pub(crate) control: Option<Arc<Control>>,
}

/// What the client that is no proxy knows.
#[derive(Clone, Default)]
pub(crate) struct Reader {
    pub(crate) revision: Option<Revision>,
    pub(crate) bundle: Option<u64>,
    /// Addresses behind each Service, as it was told.
    pub(crate) endpoints: BTreeMap<usize, BTreeSet<String>>,
    pub(crate) streams: u64,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let now = OffsetDateTime::now_utc();
        let first = Authority::examine(Material::create(7, now).unwrap(), now).unwrap();
        let announce = Step::Announce {
            next: Next::SelfMade,
            request: None,
        };
        let next = first.material().carry_out(&announce, 0, now).unwrap();
        let next = Authority::examine(next, now).unwrap();
        let world = Arc::new(Self {
            inner: Mutex::new(Inner {
                record: Record::default(),
                pods: Vec::new(),
                reader: Reader::default(),
                log: Vec::new(),
                lags: [USUAL_LAG; REPLICAS],
                running: [const { None }; REPLICAS],
                announced: false,
                behind: [0; SERVICES],
                leader: 0,
                term: 1,
                last: Revision::default(),
                policies: BTreeMap::new(),
                lives: 0,
            }),
            authorities: [first, next],
            reading: watch::Sender::new(true),
            folder: tempfile::tempdir().unwrap(),
        });
        for number in 0..2 {
            world.write(Duration::ZERO, &account(number), Content::Short);
        }
        for service in 0..SERVICES {
            world.set_endpoints(Duration::ZERO, service, 1);
        }
        for pod in 0..PODS {
            world.inner.lock().pods.push(Pod {
                uid: String::new(),
                workload: account(pod),
                folder: PathBuf::new(),
                uses: BTreeSet::from([pod % SERVICES]),
                control: None,
            });
            world.replace(Duration::ZERO, pod);
        }
        let mut inner = world.inner.lock();
        let change = Change::Pod(READER.to_owned(), READER.to_owned(), account(0));
        inner.log.push((Duration::ZERO, change));
        inner.record.pods.insert(READER.to_owned(), account(0));
        drop(inner);
        world
    }

    pub(crate) fn with<R>(&self, see: impl FnOnce(&mut Inner) -> R) -> R {
        see(&mut self.inner.lock())
    }

    /// The leader writes the policy of an account.
    pub(crate) fn write(&self, at: Duration, workload: &Workload, content: Content) {
        let mut inner = self.inner.lock();
        inner.last = inner.last.next(inner.term);
        let revision = inner.last;
        let text = text(workload, revision, content);
        inner.record.written.push(Written {
            at,
            workload: workload.clone(),
            revision,
            usable: match content {
                Content::Short | Content::Long => Usable::Yes,
                Content::Bad => Usable::No,
            },
        });
        let change = Change::Policy(workload.clone(), text.as_str().into());
        inner.log.push((at, change));
        inner
            .policies
            .entry(workload.clone())
            .or_default()
            .push((revision, text, content));
    }

    /// The newest policy of an account.
    pub(crate) fn newest(&self, workload: &Workload) -> Revision {
        self.with(|inner| inner.policies[workload].last().unwrap().0)
    }

    pub(crate) fn set_endpoints(&self, at: Duration, service: usize, pods: u8) {
        let mut inner = self.inner.lock();
        inner.behind[service] = pods;
        inner.log.push((at, Change::Endpoints(service, pods)));
    }

    pub(crate) fn announce(&self, at: Duration) {
        let mut inner = self.inner.lock();
        inner.announced = true;
        inner.log.push((at, Change::Announce));
    }

    /// Another pod takes the place of a pod. Its proxy must be started.
    pub(crate) fn replace(&self, at: Duration, pod: usize) {
        let mut inner = self.inner.lock();
        inner.lives += 1;
        let uid = format!("pod-{pod}-life-{}", inner.lives);
        let folder = self.folder.path().join(&uid);
        for part in ["mount", "state"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        std::fs::write(folder.join("token"), &uid).unwrap();
        let workload = inner.pods[pod].workload.clone();
        inner.record.pods.insert(uid.clone(), workload.clone());
        let change = Change::Pod(format!("pod-{pod}"), uid.clone(), workload);
        inner.log.push((at, change));
        let known = &mut inner.pods[pod];
        (known.uid, known.folder, known.control) = (uid, folder, None);
        drop(inner);
        // A pod whose first policy cannot be used waits for kubelet, and knows of no operator.
        let bad = self.with(|inner| {
            let of = inner.policies[&inner.pods[pod].workload].iter().rev();
            of.take_while(|(.., content)| *content == Content::Bad).count()
        });
        self.mount(pod, bad);
    }

    /// The mount of a pod shows what there was so many revisions ago.
    pub(crate) fn mount(&self, pod: usize, ago: usize) {
        let inner = self.inner.lock();
        let pod = &inner.pods[pod];
        let policies = &inner.policies[&pod.workload];
        let (_, text, _) = &policies[policies.len() - 1 - ago.min(policies.len() - 1)];
        let mount = pod.folder.join("mount");
        std::fs::write(mount.join("policy.json"), text).unwrap();
        let bundle = render(&self.bundle(false));
        std::fs::write(mount.join("trust-bundle.json"), bundle).unwrap();
    }

    /// Another replica leads from now on.
    pub(crate) fn lead(&self, replica: usize) {
        let mut inner = self.inner.lock();
        if inner.leader != replica {
            (inner.leader, inner.term) = (replica, inner.term + 1);
        }
        for (number, running) in inner.running.iter().enumerate() {
            if let Some(running) = running {
                running.leadership.send_replace(inner.leadership(number));
            }
        }
    }

    pub(crate) fn leader(&self) -> usize {
        self.with(|inner| inner.leader)
    }

    /// Replicas that run.
    pub(crate) fn replicas(&self) -> Vec<usize> {
        self.with(|inner| {
            (0..REPLICAS)
                .filter(|&one| inner.running[one].is_some())
                .collect()
        })
    }

    /// Name and account of the pod with this UID.
    pub(crate) fn pod_of(&self, uid: &str) -> Option<(String, Workload)> {
        let inner = self.inner.lock();
        let number = inner.pods.iter().position(|pod| pod.uid == uid)?;
        Some((format!("pod-{number}"), inner.pods[number].workload.clone()))
    }

    /// UID and account of the pod of this name.
    pub(crate) fn pod_named(&self, name: &str) -> Option<(String, Workload)> {
        let inner = self.inner.lock();
        let number: usize = name.strip_prefix("pod-")?.parse().ok()?;
        let pod = inner.pods.get(number)?;
        Some((pod.uid.clone(), pod.workload.clone()))
    }

    /// What is in use: who signs, and whom to trust.
    pub(crate) fn authority(&self, announced: bool) -> &Authority {
        &self.authorities[usize::from(announced)]
    }

    /// Whom to trust, in as many bytes in every run: how certificates are signed decides about a few of them, and what is
    /// sent when, and so all of chance, hangs on lengths.
    pub(crate) fn bundle(&self, announced: bool) -> TrustBundle {
        let mut bundle = self.authority(announced).bundle();
        assert!(bundle.roots.len() < BUNDLE, "{} bytes", bundle.roots.len());
        bundle
            .roots
            .extend(std::iter::repeat_n('\n', BUNDLE - bundle.roots.len()));
        bundle
    }

    pub(crate) fn context(&self, announced: bool) -> Arc<TlsContext> {
        let authority = self.authority(announced).clone();
        let bundle = self.bundle(announced);
        let in_use = Arc::new(InUse { authority, bundle });
        let domain = smilax_core::TrustDomain::default();
        Arc::new(TlsContext::new(in_use, domain, INSTALLATION, OffsetDateTime::now_utc()).unwrap())
    }

    /// Looks what is in force in a pod.
    pub(crate) fn observe(&self, at: Duration, pod: usize) {
        let mut inner = self.inner.lock();
        let Pod { uid, control, .. } = &inner.pods[pod];
        let Some(control) = control else { return };
        let (uid, table) = (uid.clone(), control.shared.table.load_full());
        let Some(workload) = table.workload.clone() else {
            return;
        };
        let record = &mut inner.record.in_force;
        let last = record.iter().rfind(|one| one.uid == uid);
        if last.is_none_or(|last| (&last.workload, last.revision) != (&workload, table.revision)) {
            record.push(InForce {
                at,
                uid,
                workload,
                revision: table.revision,
            });
        }
    }
}

impl Inner {
    /// Which replica leads.
    pub(crate) fn leading(&self) -> usize {
        self.leader
    }

    /// Whether a replica leads.
    pub(crate) fn leadership(&self, replica: usize) -> Leadership {
        if self.leader == replica {
            Leadership::Leader { term: self.term }
        } else {
            Leadership::Follower
        }
    }
}
