//! Connections that others make to the application.
//!
//! The application is asked at the address that the caller used, an address of the pod. One that listens on loopback
//! alone was not reachable from outside before, and is not through the proxy.

use std::net::SocketAddr;
use std::rc::Rc;

use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use crate::detect::{self, Spoken};
use crate::http::server::{self, Connection, Direction, Version};
use crate::tcp::{self, CarryError};
use crate::transport::{self, Upstream};
use crate::worker::Worker;

/// Carries one connection to the application.
pub async fn accept(worker: Rc<Worker>, stream: TcpStream, client: SocketAddr) {
    let _counted = worker.shared.lifecycle.connection();
    let open = worker.shared.metrics.open_inbound.clone();
    open.inc();
    carry(&worker, stream, client).await;
    open.dec();
}

async fn carry(worker: &Rc<Worker>, stream: TcpStream, client: SocketAddr) {
    let settings = &worker.shared.settings;
    let original = match settings.inbound_destination.resolve(&stream) {
        Ok(original) if may_be_reached(worker, original) => original,
        Ok(original) => {
            worker.shared.metrics.refused.inc();
            tracing::debug!(%client, %original, "closed a connection that is not for the application");
            return tcp::reset(&stream);
        }
        Err(error) => {
            worker.shared.metrics.refused.inc();
            tracing::debug!(%client, %error, "closed a connection that was not redirected here");
            return tcp::reset(&stream);
        }
    };
    let protocol = settings
        .inbound_protocols
        .get(&original.port())
        .copied()
        .unwrap_or_default();
    let result = match protocol {
        Protocol::Tcp => as_bytes(worker, stream, original).await,
        Protocol::Http => match detect::wait(&stream, settings.limits.idle).await {
            Ok(Some(Spoken::Tls)) => as_bytes(worker, stream, original).await,
            Ok(Some(Spoken::Http2)) => return serve(worker, stream, original, Version::Http2).await,
            Ok(Some(_)) => return serve(worker, stream, original, Version::Http1).await,
            Ok(None) | Err(_) => Ok(()),
        },
        Protocol::Detect => detected(worker, stream, original).await,
    };
    if let Err(error) = result {
        tracing::debug!(%client, %original, %error, "an inbound connection ended early");
    }
}

/// Nobody else's address is ever dialled for a caller, nor a port of the proxy.
fn may_be_reached(worker: &Worker, original: SocketAddr) -> bool {
    let settings = &worker.shared.settings;
    settings.pod.is_reached_at(original.ip()) && !settings.ports.contains(original.port())
}

async fn detected(
    worker: &Rc<Worker>,
    mut stream: TcpStream,
    original: SocketAddr,
) -> Result<(), CarryError> {
    let limits = worker.shared.settings.limits;
    let known = worker.server_first.borrow().knows(original);
    if !known && let Some(spoken) = detect::wait(&stream, limits.detect).await? {
        return go_on(worker, stream, original, spoken).await;
    }
    let mut upstream = connect(worker, &stream, original).await?;
    tokio::select! {
        biased;
        spoken = detect::wait(&stream, limits.idle) => match spoken? {
            Some(Spoken::Tls | Spoken::Bytes) => between(worker, &mut stream, &mut upstream).await,
            Some(spoken) => go_on(worker, stream, original, spoken).await,
            None => Ok(()),
        },
        ready = upstream.readable() => {
            ready?;
            worker.server_first.borrow_mut().remember(original);
            between(worker, &mut stream, &mut upstream).await
        }
    }
}

async fn go_on(
    worker: &Rc<Worker>,
    stream: TcpStream,
    original: SocketAddr,
    spoken: Spoken,
) -> Result<(), CarryError> {
    match spoken {
        Spoken::Http1 => serve(worker, stream, original, Version::Http1).await,
        Spoken::Http2 => serve(worker, stream, original, Version::Http2).await,
        Spoken::Tls | Spoken::Bytes => return as_bytes(worker, stream, original).await,
    }
    Ok(())
}

async fn serve(worker: &Rc<Worker>, stream: TcpStream, original: SocketAddr, version: Version) {
    let connection = Connection {
        worker: Rc::clone(worker),
        direction: Direction::Inbound,
        original,
    };
    server::serve(connection, stream, version).await;
}

async fn as_bytes(
    worker: &Rc<Worker>,
    mut stream: TcpStream,
    original: SocketAddr,
) -> Result<(), CarryError> {
    let mut upstream = connect(worker, &stream, original).await?;
    between(worker, &mut stream, &mut upstream).await
}

async fn connect(worker: &Worker, stream: &TcpStream, original: SocketAddr) -> Result<Upstream, CarryError> {
    match transport::connect(original, worker.shared.settings.limits.connect).await {
        Ok(upstream) => Ok(upstream),
        Err(error) => {
            worker.shared.metrics.connect_failures.inc();
            tcp::reset(stream);
            Err(error.into())
        }
    }
}

async fn between(worker: &Worker, stream: &mut TcpStream, upstream: &mut Upstream) -> Result<(), CarryError> {
    let recording = worker.inbound_telemetry.connection();
    tcp::carry(stream, upstream, worker.shared.settings.limits.idle, &recording).await?;
    Ok(())
}
