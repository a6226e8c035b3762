//! The server: the same router on every HTTP port, and two kinds of TCP.

mod http;
mod injection;
mod loads;
mod tcp;
mod tls;

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::answer::{Ending, Identity};
use crate::args::{OnSigterm, ServeOptions};

/// How long open requests may take after lingering.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// What all connections share.
struct Shared {
    identity: Identity,
    healthy_from: Instant,
    connections: AtomicU64,
    loads: loads::Loads,
    injection: injection::Injection,
    latency: Duration,
    drains: AtomicBool,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http,
    Https,
    AnswersFirstLine,
    GreetsFirst,
}

/// What a port needs to talk to whoever comes.
#[derive(Clone)]
struct Door {
    speech: Speech,
    acceptor: tokio_rustls::TlsAcceptor,
    shared: Arc<Shared>,
}

/// One connection's facts.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: SocketAddr,
    connection: u64,
    tls: bool,
}

impl Shared {
    fn healthy(&self) -> bool {
        Instant::now() >= self.healthy_from
    }
}

/// Serves until SIGTERM, SIGINT or the end of `exit_after`.
///
/// # Errors
/// When a port cannot be opened.
pub async fn run(options: ServeOptions) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ports = [
        (options.http_port, Speech::Http),
        (options.grpc_port, Speech::Http),
        (options.https_port, Speech::Https),
        (options.tcp_port, Speech::AnswersFirstLine),
        (options.server_first_port, Speech::GreetsFirst),
    ];
    let mut listeners = Vec::new();
    for (port, speech) in ports.into_iter().filter(|(port, _)| *port != 0) {
        listeners.push((listen(port).await?, speech));
    }
    let shared = Arc::new(Shared {
        identity: Identity {
            name: options.name,
            pod: options.pod,
        },
        healthy_from: Instant::now() + Duration::from_secs(options.healthy_after),
        connections: AtomicU64::new(0),
        loads: loads::Loads::default(),
        injection: injection::Injection::default(),
        latency: Duration::from_millis(options.latency_ms),
        drains: AtomicBool::new(false),
    });
    let acceptor = tls::acceptor()?;
    let graceful = Arc::new(GracefulShutdown::new());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(listener, speech)| {
            let door = Door {
                speech,
                acceptor: acceptor.clone(),
                shared: Arc::clone(&shared),
            };
            tokio::spawn(accept(listener, door, Arc::clone(&graceful)))
        })
        .collect();

    let exit_after = options.exit_after.map(Duration::from_secs);
    tokio::select! {
        _ = terminate.recv() => match options.on_sigterm {
            OnSigterm::Exit => return exit(&shared),
            OnSigterm::Drain | OnSigterm::Linger => {
                shared.drains.store(options.on_sigterm == OnSigterm::Drain, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(options.linger_ms)).await;
            }
        },
        _ = interrupt.recv() => {}
        () = elapsed(exit_after) => {}
    }
    for task in accepting {
        task.abort();
        let _ = task.await;
    }
    if let Some(graceful) = Arc::into_inner(graceful) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, graceful.shutdown()).await;
    }
    Ok(())
}

/// Says what is lost, and ends with it.
fn exit(shared: &Shared) -> anyhow::Result<()> {
    let ending = Ending {
        in_flight: shared.injection.in_flight(),
    };
    let mut line = serde_json::to_vec(&ending)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)?;
    Ok(())
}

/// Both families where the machine has IPv6, else IPv4 alone.
async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    };
    listener.with_context(|| format!("cannot listen on port {port}"))
}

async fn elapsed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn accept(listener: TcpListener, door: Door, graceful: Arc<GracefulShutdown>) {
    loop {
        // An accept that fails is of the connection that went away, or of a lack of descriptors that will pass.
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let peer = Peer {
            address,
            connection: door.shared.connections.fetch_add(1, Ordering::Relaxed) + 1,
            tls: door.speech == Speech::Https,
        };
        tokio::spawn(talk(stream, peer, door.clone(), graceful.watcher()));
    }
}

/// What breaks here is counted by the client.
async fn talk(stream: TcpStream, peer: Peer, door: Door, watcher: Watcher) {
    let _ = stream.set_nodelay(true);
    match door.speech {
        Speech::Http => speak_http(stream, peer, door.shared, watcher).await,
        Speech::Https => {
            if let Ok(stream) = door.acceptor.accept(stream).await {
                speak_http(stream, peer, door.shared, watcher).await;
            }
        }
        Speech::AnswersFirstLine => {
            let _ = tcp::answer_first_line(stream, &door.shared.identity).await;
        }
        Speech::GreetsFirst => {
            let _ = tcp::greet_first(stream, &door.shared.identity).await;
        }
    }
}

async fn speak_http<S>(stream: S, peer: Peer, shared: Arc<Shared>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(http::answer(request, peer, &shared).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    let _ = watcher.watch(connection).await;
}
