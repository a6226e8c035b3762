//! A client that says nothing at first: whoever speaks first decides.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smilax_core::config::Protocol;

use super::arrival;
use crate::connection::{Connection, patience};
use crate::detect::{self, Patience, Spoken};
use crate::inbound;
use crate::tcp::{CarryError, Watch};
use crate::transport::{Stream, Upstream};

/// Who spoke first.
enum First {
    /// The client, if anybody did. The application may have a connection already.
    Client(Option<Spoken>, Option<Upstream>),
    /// The application, in its own protocol.
    Application(Upstream, Bytes),
    /// The application, in HTTP: it waits for requests all the same.
    HttpServer,
}

/// Carries what comes of a client that has said nothing so far.
pub(super) async fn carry(
    connection: Rc<Connection>,
    mut stream: Stream,
    client: SocketAddr,
) -> Result<(), CarryError> {
    let limits = connection.worker.shared.settings.limits;
    let protocol = inbound::protocol(&connection.worker, connection.original);
    let refused = connection.judge().is_some_and(|judge| judge.would_refuse(None));
    if refused && protocol == Protocol::Tcp {
        count(&connection, client);
        return connection.carry_bytes(stream, Watch::Unwatched).await;
    }
    let patience = patience(limits.idle, limits.detect);
    let first = if refused {
        // Where bytes would be refused, the application is not asked, and only the client can begin.
        First::Client(detect::wait_on(&mut stream, patience).await?, None)
    } else {
        race(&connection, &mut stream, protocol, patience).await?
    };
    match first {
        First::Client(spoken, upstream) => {
            let spoken = spoken.ok_or(CarryError::Idle(limits.idle))?;
            carry_spoken(connection, stream, client, (protocol, spoken), upstream).await
        }
        First::Application(upstream, greeting) => {
            count(&connection, client);
            if connection.peer().is_none() {
                connection.remember(arrival::silent(client, connection.original));
            }
            connection.judged()?;
            let target = connection.bytes_target();
            connection
                .between(stream, upstream, &target, &greeting, Watch::Unwatched)
                .await
        }
        First::HttpServer => {
            let patience = arrival::patience_for_http(&limits);
            let spoken = detect::wait_on(&mut stream, patience).await?;
            let spoken = spoken.ok_or(CarryError::Idle(limits.idle))?;
            carry_spoken(connection, stream, client, (Protocol::Http, spoken), None).await
        }
    }
}

/// Waits for whoever speaks first. What a server of HTTP says unasked does not make its requests bytes.
async fn race(
    connection: &Connection,
    stream: &mut Stream,
    protocol: Protocol,
    patience: Patience,
) -> Result<First, CarryError> {
    let mut upstream = connection
        .connect(stream.socket(), &mut connection.bytes_target())
        .await?;
    // The application has a connection, so neither silence nor a lack of places is a stranger's.
    let _under_way = connection.admitted.activity.begin();
    let greeting = tokio::select! {
        biased;
        spoken = detect::wait_on(stream, patience) => return Ok(First::Client(spoken?, Some(upstream))),
        greeting = upstream.stream.speaks() => greeting?,
    };
    let limit = connection.worker.shared.settings.limits.detect;
    if protocol == Protocol::Detect && detect::server_speaks_http(upstream.stream.socket(), limit).await {
        return Ok(First::HttpServer);
    }
    Ok(First::Application(upstream, greeting))
}

async fn carry_spoken(
    connection: Rc<Connection>,
    stream: Stream,
    client: SocketAddr,
    spoken: (Protocol, Spoken),
    upstream: Option<Upstream>,
) -> Result<(), CarryError> {
    let stream = match (spoken, stream) {
        // A proxy that was very slow to begin, perhaps.
        ((_, Spoken::Tls), Stream::Plain(stream)) => {
            let worker = Rc::clone(&connection.worker);
            let admitted = Arc::clone(&connection.admitted);
            return Box::pin(arrival::carry_tls(
                worker,
                admitted,
                stream,
                client,
                connection.original,
            ))
            .await;
        }
        (_, stream) => stream,
    };
    count(&connection, client);
    let (protocol, spoken) = spoken;
    let protocol = arrival::known_protocol(&connection, client, protocol, spoken);
    let watch = arrival::watch(protocol, spoken);
    match (arrival::version((protocol, spoken)), upstream) {
        (Some(version), _) => connection.serve(stream, version).await,
        (None, Some(upstream)) => {
            connection.judged()?;
            let target = connection.bytes_target();
            connection
                .between(stream, upstream, &target, &Bytes::new(), watch)
                .await
        }
        (None, None) => connection.carry_bytes(stream, watch).await,
    }
}

/// Counts a connection that proves no identity.
fn count(connection: &Connection, client: SocketAddr) {
    if connection.peer().is_none() {
        let (worker, port) = (&connection.worker, connection.original.port());
        let what = inbound::plaintext(worker, client.ip(), port);
        inbound::count_plaintext(worker, client.ip(), what);
    }
}
