//! Puts a proxy together, and takes it through its life.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use smilax_core::admission;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::config_source::watch::Watch;
use crate::control::{Control, reload};
use crate::drain::{Lifecycle, Stage};
use crate::identity::{memory, renewal};
use crate::listener::{BindError, Bound, bind};
use crate::log::Level;
use crate::metrics::Metrics;
use crate::operator_connection::connect::Tcp;
use crate::operator_connection::stream;
use crate::overload::{self, Patience};
use crate::probe::Prober;
use crate::scrape::Scraper;
use crate::settings::{Limits, Ports, Settings};
use crate::worker::{self, Shared, Sockets};

/// A proxy that runs in threads of its own.
#[derive(Debug)]
pub struct Proxy {
    /// The ports that it listens on.
    pub ports: Ports,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    shared: Arc<Shared>,
    end: CancellationToken,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is not available.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses a thread, a runtime or a signal.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    /// A mistake in this program.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

struct ControlSockets {
    metrics: Bound,
    probe: Bound,
    admin: Bound,
}

impl Proxy {
    /// Starts a proxy. It listens when this returns, and the configuration that was there is in force.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn start(mut settings: Settings, level: Level) -> Result<Self, RunError> {
        let (workers, control) = bind_all(&mut settings)?;
        let ports = settings.ports;
        let metrics = Metrics::new(&settings)?;
        let shared = Arc::new(Shared::new(settings, metrics));
        let lifecycle = shared.lifecycle.clone();
        let end = CancellationToken::new();
        let state = Arc::new(Control::new(Arc::clone(&shared), level));
        reload::begin(&state);
        let mut threads = Vec::with_capacity(workers.len() + 1);
        for (index, sockets) in workers.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let name = format!("worker-{index}");
            threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(|| worker::run(shared, sockets))?,
            );
        }
        threads.push(thread::Builder::new().name("control".to_owned()).spawn({
            let end = end.clone();
            move || run_control(&state, control, &end)
        })?);
        tracing::info!(
            outbound = ports.outbound,
            inbound = ports.inbound,
            workers = threads.len() - 1,
            version = env!("CARGO_PKG_VERSION"),
            signed_configuration = if shared.settings.anchors.is_empty() {
                "not required"
            } else {
                "required"
            },
            "started"
        );
        Ok(Self {
            ports,
            lifecycle,
            shared,
            end,
            threads,
        })
    }

    /// What its threads share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends at once, whatever is under way.
    pub fn abandon(&self) {
        self.end.cancel();
        self.lifecycle.stop();
    }

    /// Waits until it has finished: all connections have ended after stopping began.
    ///
    /// # Errors
    /// [`RunError::System`] when one of its threads could not do its work.
    pub fn join(mut self) -> Result<(), RunError> {
        let control = self.threads.pop();
        for worker in self.threads.drain(..) {
            joined(worker)?;
        }
        self.end.cancel();
        control.map_or(Ok(()), joined)
    }
}

fn joined(thread: JoinHandle<io::Result<()>>) -> Result<(), RunError> {
    let result = thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
    Ok(result?)
}

/// Runs a proxy until it is told to stop and has finished, or has had the time for it.
///
/// # Errors
/// [`RunError`].
pub fn until_stopped(settings: Settings, level: Level) -> Result<(), RunError> {
    memory::protect()?;
    let drain = settings.drain;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody can know that it runs, and tell it to stop.
        let mut signals = Signals::new()?;
        let proxy = Proxy::start(settings, level)?;
        let lifecycle = proxy.lifecycle.clone();
        signals.next().await;
        tracing::info!(seconds = drain.as_secs(), "stopping: finishing what is under way");
        lifecycle.stop();
        tokio::select! {
            () = lifecycle.all_connections_closed() => tracing::info!("stopped"),
            () = tokio::time::sleep(drain) => tracing::warn!("stopped with connections open: the time for draining is over"),
            () = signals.next() => tracing::warn!("stopped at once: told to stop a second time"),
        }
        // Threads end with the process.
        Ok(())
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Binds every port, and puts the numbers that the system chose into the settings.
fn bind_all(settings: &mut Settings) -> Result<(Vec<Sockets>, ControlSockets), BindError> {
    let listen = &settings.listen;
    let mut workers = Vec::with_capacity(settings.workers);
    for _ in 0..settings.workers.max(1) {
        let sockets = Sockets {
            outbound: bind(listen, settings.ports.outbound)?,
            inbound: bind(listen, settings.ports.inbound)?,
        };
        settings.ports.outbound = sockets.outbound.port();
        settings.ports.inbound = sockets.inbound.port();
        workers.push(sockets);
    }
    let control = ControlSockets {
        metrics: bind(listen, settings.ports.metrics)?,
        probe: bind(listen, settings.ports.probe)?,
        admin: bind(&settings.listen_admin, settings.ports.admin)?,
    };
    settings.ports.metrics = control.metrics.port();
    settings.ports.probe = control.probe.port();
    settings.ports.admin = control.admin.port();
    Ok((workers, control))
}

/// Everything but traffic: administration, metrics, probes, and following the configuration.
fn run_control(control: &Arc<Control>, sockets: ControlSockets, end: &CancellationToken) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let prober = Arc::new(Prober::new(&control.shared.settings));
        let metrics = Arc::clone(&control.shared.metrics);
        let scraper = Arc::new(Scraper::new(&control.shared.settings, metrics));
        for listener in sockets.admin.listeners()? {
            tokio::task::spawn_local(admin::serve_admin(Arc::clone(control), listener));
        }
        for listener in sockets.metrics.listeners()? {
            let (control, scraper) = (Arc::clone(control), Arc::clone(&scraper));
            tokio::task::spawn_local(admin::serve_metrics(control, scraper, listener));
        }
        for listener in sockets.probe.listeners()? {
            let (control, prober) = (Arc::clone(control), Arc::clone(&prober));
            tokio::task::spawn_local(admin::serve_probes(control, prober, listener));
        }
        tokio::task::spawn_local(follow_stage(Arc::clone(control)));
        tokio::task::spawn_local({
            let shared = Arc::clone(&control.shared);
            async move {
                let ended = |reason| shared.metrics.overload.swept(reason);
                overload::sweep_forever(&shared.overload, patience(&shared.settings.limits), ended).await;
            }
        });
        tokio::task::spawn_local(renewal::renew_forever(Arc::clone(control), Tcp));
        tokio::task::spawn_local(stream::stay_connected(Arc::clone(control), Tcp));
        let settings = &control.shared.settings;
        let mut watch = Watch::new(&settings.config.file());
        let labels = settings.labels.clone().unwrap_or_else(|| settings.config.file());
        let mut labels = Watch::new(&labels);
        // It may have changed between the first reading and the watch.
        reload::again(control);
        loop {
            tokio::select! {
                () = watch.changed() => reload::again(control),
                () = labels.changed() => reload::again(control),
                () = end.cancelled() => return Ok(()),
            }
        }
    })
}

fn patience(limits: &Limits) -> Patience {
    let application = admission::Limits {
        idle: limits.idle,
        stalled: limits.idle,
        shed: None,
    };
    Patience {
        full: limits.full,
        inbound: admission::Limits {
            idle: limits.keep_alive,
            stalled: limits.stalled,
            ..application
        },
        outbound: application,
    }
}

async fn follow_stage(control: Arc<Control>) {
    let lifecycle = &control.shared.lifecycle;
    let stage = &control.shared.metrics.stage;
    lifecycle.draining().cancelled().await;
    stage.set(1);
    tracing::info!(stage = ?Stage::Draining, "callers are asked to go elsewhere");
    lifecycle.stopping().cancelled().await;
    stage.set(2);
}
