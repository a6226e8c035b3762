//! Puts the parts together and keeps them running.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, Client};
use prometheus::Registry;
use smilax_compiler::SidecarImages;
use smilax_compiler::index::Settings;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Health};
use crate::api_client::client;
use crate::args::{Args, Command, LogFormat, RunArgs};
use crate::authority::{self, AuthorityMetrics, AuthorityTask, PodState};
use crate::certificate::{self, CertificateMetrics, CertificateResolver, CertificateTask};
use crate::controller::events::Events;
use crate::controller::view::Watched;
use crate::controller::writer::Writer;
use crate::controller::{State, migrate, uninstall, watch as watches};
use crate::inject::{InjectSettings, ProxyLogFormat, Resources};
use crate::installed;
use crate::lease::{Election, Leadership};
use crate::metrics::Metrics;
use crate::webhook::{self, WebhookMetrics, WebhookState};
use crate::workload_server::{self, FleetStore, Hub, WorkloadMetrics};

/// How long the parts may take to end after a signal.
/// The webhooks serve on for a while, until every API server has heard that this replica goes.
const GRACE: Duration = Duration::from_secs(8);
/// How often a replica that is not trusted yet looks again.
const TRUST_PERIOD: Duration = Duration::from_millis(500);
const MIGRATE_AGAIN: Duration = Duration::from_secs(15);
/// Connections that the kernel keeps until they are accepted: all proxies may come back at once.
const BACKLOG: u32 = 4096;

/// Runs what the command line asks for.
///
/// # Errors
/// What kept it from starting, or the part that ended though it must not.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Uninstall) => uninstall::run(&client().await?).await,
        Some(Command::Check) => installed::run(&client().await?, &args.run.namespace).await,
        None => operate(args.run).await,
    }
}

async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let client = client().await?;
    let metrics = Metrics::new(Registry::new())?;
    let settings = Settings {
        cluster_domain: args.cluster_domain.clone(),
        trust_domain: args.trust_domain.clone(),
        access_mode: args.access_mode,
        tls_mode: args.tls_mode,
        sidecar_images: sidecar_images(&args),
        installation: Some(args.namespace.as_str().into()),
        ..Settings::default()
    };
    let state = State::new(settings.clone());
    let fleet = Arc::new(FleetStore::timed(metrics.acknowledgement_seconds.clone()));
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();

    // Everything is opened before anything is promised.
    let admin = listen(args.admin_port)?;
    let webhooks = listen(args.webhook_port)?;
    let workloads = listen(args.workload_port)?;
    let inject = inject_settings(&args)?;
    let resolver = CertificateResolver::new();
    // A replica that is ready must be one whose webhooks the API server calls: what waits for the installation would
    // otherwise make pods that slip past.
    let trusted = Arc::new(AtomicBool::new(false));
    tasks.spawn(until_trusted(client.clone(), Arc::clone(&trusted)));
    let pending = {
        let (state, resolver, trusted) = (Arc::clone(&state), Arc::clone(&resolver), Arc::clone(&trusted));
        move || {
            let certificate = (!resolver.is_ready()).then(|| "serving certificate".to_owned());
            let trust = (!trusted.load(Ordering::Relaxed)).then(|| "caBundle of the webhooks".to_owned());
            let signer =
                (!state.read(|inner| inner.knows_signer())).then(|| "authority of the mesh".to_owned());
            let kinds = state.unlisted().into_iter().map(|kind| kind.word().to_owned());
            kinds
                .chain(certificate)
                .chain(trust)
                .chain(signer)
                .collect::<Vec<_>>()
        }
    };
    let health = Arc::new(Health {
        pending: Box::new(pending),
        metrics: metrics.clone(),
        fleet: {
            let (state, fleet) = (Arc::clone(&state), Arc::clone(&fleet));
            Box::new(move || fleet_page(&state, &fleet))
        },
    });
    tasks.spawn(admin::serve(admin, health));

    let floor = {
        let state = Arc::clone(&state);
        move || state.read(|inner| inner.highest_revision().term.saturating_add(1))
    };
    let (election, leadership) = Election::new(client.clone(), &args.namespace, &args.pod_name, floor);

    let mut ending = JoinSet::new();
    let webhook_state = WebhookState {
        view: Arc::new(Watched::new(Arc::clone(&state), &client)),
        settings: Arc::new(ArcSwap::from_pointee(inject)),
        metrics: WebhookMetrics::new(&metrics.registry)?,
    };
    // Conversion must answer before the first list: objects that an earlier mesh stored cannot be listed without it.
    ending.spawn(webhook::serve(
        webhooks,
        Arc::clone(&resolver),
        webhook_state,
        shutdown.clone(),
    ));
    let certificate = CertificateTask {
        resolver,
        metrics: CertificateMetrics::new(&metrics.registry)?,
        leadership: leadership.clone(),
        namespace: args.namespace.clone(),
        cluster_domain: args.cluster_domain.clone(),
    };
    ending.spawn(certificate::run(client.clone(), certificate, shutdown.clone()));
    watches::start(&client, &state, &settings, &metrics, &mut tasks);
    let parts = Workloads {
        client: client.clone(),
        state: Arc::clone(&state),
        fleet: Arc::clone(&fleet),
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    parts.start(workloads, &args, &mut tasks, &mut ending)?;
    let writer = Writer {
        state: Arc::clone(&state),
        client: client.clone(),
        leadership: leadership.clone(),
        events: Events::new(client.clone(), &args.pod_name),
        metrics: metrics.clone(),
        fleet: Arc::clone(&fleet),
    };
    ending.spawn(writer.run(shutdown.clone()));
    ending.spawn(election.run(shutdown.clone()));
    tasks.spawn(show_leadership(leadership.clone(), metrics.clone()));
    tasks.spawn(migrate_while_leading(client.clone(), leadership));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = args.namespace,
        "operator started"
    );

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the operator ended: {ended:?}")),
        ended = ending.join_next() => Err(anyhow::anyhow!("a part of the operator ended: {ended:?}")),
    };
    tracing::info!("shutting down");
    shutdown.cancel();
    let finished = tokio::time::timeout(GRACE, async { while ending.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!("not everything ended in time");
    }
    outcome
}

/// What the authority and the workload port are started with.
struct Workloads {
    client: Client,
    state: Arc<State>,
    fleet: Arc<FleetStore>,
    leadership: watch::Receiver<Leadership>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Workloads {
    fn start(
        self,
        listener: TcpListener,
        args: &RunArgs,
        tasks: &mut JoinSet<()>,
        ending: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let registry = &self.metrics.registry;
        let (in_use, in_use_seen) = watch::channel(None);
        let (contexts, contexts_seen) = watch::channel(None);
        let fleet = self.fleet;
        let metrics = WorkloadMetrics::new(registry)?;
        let hub = Arc::new(Hub::new(
            Arc::clone(&self.state),
            contexts_seen.clone(),
            metrics.clone(),
        ));
        let pods = {
            let (state, fleet) = (Arc::clone(&self.state), Arc::clone(&fleet));
            move || pod_states(&state, &fleet)
        };
        let authority = AuthorityTask {
            state: Arc::clone(&self.state),
            pods: Arc::new(pods),
            metrics: AuthorityMetrics::new(registry)?,
            leadership: self.leadership.clone(),
            namespace: args.namespace.clone(),
            given: args.authority_secret.clone(),
            in_use,
        };
        ending.spawn(authority::run(
            self.client.clone(),
            authority,
            self.shutdown.clone(),
        ));
        tasks.spawn(workload_server::keep_contexts(
            in_use_seen,
            Arc::clone(&self.state),
            args.namespace.clone(),
            contexts,
        ));
        let server = workload_server::Server::new(
            (
                self.client.clone(),
                Arc::clone(&self.state),
                args.namespace.clone(),
            ),
            contexts_seen.clone(),
            (Arc::clone(&fleet), Arc::clone(&hub)),
            Duration::from_secs(args.certificate_lifetime.into()),
            metrics.clone(),
        );
        ending.spawn(workload_server::serve(listener, server, self.shutdown));
        tasks.spawn(async move { hub.run().await });
        tasks.spawn(workload_server::forget(
            Arc::clone(&self.state),
            Arc::clone(&fleet),
        ));
        tasks.spawn(workload_server::relay(
            self.client,
            (args.namespace.clone(), args.workload_port),
            contexts_seen,
            (fleet, metrics),
            self.leadership,
            workload_server::Tcp,
        ));
        Ok(())
    }
}

/// What every Ready pod with a proxy has told.
fn pod_states(state: &State, fleet: &FleetStore) -> Vec<PodState> {
    let known = fleet.known();
    let ready = state.read(|inner| inner.ready_proxies());
    ready
        .into_iter()
        .map(|(uid, name)| {
            let report = known.0.get(uid.as_str());
            PodState {
                name,
                bundle: report.and_then(|report| report.bundle),
                issuer: report.and_then(|report| Some(report.certificate.as_ref()?.issuer.clone())),
            }
        })
        .collect()
}

/// What is known of every proxy, as JSON.
fn fleet_page(state: &State, fleet: &FleetStore) -> Vec<u8> {
    let (known, connected) = (fleet.known(), fleet.connected());
    let page = workload_server::fleet_page(known, &connected, |workload| {
        state.read(|inner| inner.stored_revision(workload))
    });
    serde_json::to_vec(&page).unwrap_or_default()
}

/// Where sidecars may come from: the image that is injected now, in any version, and what the installation adds.
fn sidecar_images(args: &RunArgs) -> SidecarImages {
    let more = args.sidecar_repositories.iter().map(String::as_str);
    SidecarImages::new(std::iter::once(args.proxy_image.as_str()).chain(more))
}

/// How these arguments want sidecars.
///
/// # Errors
/// The first argument that is not of its form.
pub fn inject_settings(args: &RunArgs) -> anyhow::Result<InjectSettings> {
    let resources = Resources::parse(
        &args.proxy_cpu_request,
        &args.proxy_cpu_limit,
        &args.proxy_memory_request,
        &args.proxy_memory_limit,
    )?;
    // The tag of the image is the version that pods announce; a digest says nothing about it.
    let tag = args
        .proxy_image
        .rsplit('/')
        .next()
        .and_then(|name| name.split('@').next()?.split_once(':'));
    let version = tag.map_or(env!("CARGO_PKG_VERSION"), |(_, tag)| tag);
    Ok(InjectSettings {
        proxy_image: args.proxy_image.clone(),
        pull_policy: args.proxy_image_pull_policy.parse()?,
        resources,
        log_level: args.proxy_log_level.clone(),
        log_format: match args.log_format {
            LogFormat::Text => ProxyLogFormat::Text,
            LogFormat::Json => ProxyLogFormat::Json,
        },
        metrics_sources: args.proxy_metrics_source_ranges.clone(),
        drain_seconds: args.proxy_drain_seconds,
        cluster_domain: args.cluster_domain.clone(),
        version: version.to_owned(),
        installation_namespace: args.namespace.clone(),
    })
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    // A node without IPv6 has the other.
    listen_at((Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| listen_at((Ipv4Addr::UNSPECIFIED, port).into()))
        .with_context(|| format!("port {port} cannot be opened"))
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Waits until the injector's configuration carries a bundle. One that is missing is not waited for: the certificate's
/// task reports it, and conversion must be served all the same.
async fn until_trusted(client: Client, trusted: Arc<AtomicBool>) {
    let api = Api::<MutatingWebhookConfiguration>::all(client);
    loop {
        let has_bundle = match tokio::time::timeout(GRACE, api.get_opt("smilax-inject")).await {
            Ok(Ok(Some(found))) => found
                .webhooks
                .iter()
                .flatten()
                .all(|webhook| webhook.client_config.ca_bundle.is_some()),
            Ok(Ok(None)) => true,
            Ok(Err(_)) | Err(_) => false,
        };
        if has_bundle {
            trusted.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(TRUST_PERIOD).await;
    }
}

async fn show_leadership(mut leadership: watch::Receiver<Leadership>, metrics: Metrics) {
    loop {
        let leads = *leadership.borrow_and_update() != Leadership::Follower;
        metrics.leader.set(i64::from(leads));
        if leadership.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Brings stored objects to our version once in each term, and again until it has come to its end.
async fn migrate_while_leading(client: Client, mut leadership: watch::Receiver<Leadership>) {
    loop {
        while *leadership.borrow_and_update() == Leadership::Follower {
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        while !migrate::run(&client).await {
            tokio::time::sleep(MIGRATE_AGAIN).await;
            if *leadership.borrow() == Leadership::Follower {
                break;
            }
        }
        if leadership.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
