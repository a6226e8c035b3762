//! Connections that cease to be HTTP.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::AsyncWriteExt as _;

use crate::connection::Connection;
use crate::endpoints::Picked;
use crate::metrics::traffic::Telemetry;
use crate::tcp::{self, CarryError, Meter as _, Watch};
use crate::tls::Peer;
use crate::transport::liveness;
use crate::transport::{ClientStream, ServerStream, Stream};

/// A connection that ceases to be HTTP.
pub struct Switched {
    /// The one that it came over.
    pub connection: Rc<Connection>,
    /// The request that began it, as the application got it: by it, the right to go on is judged. `None` where it is
    /// judged as bytes.
    pub request: Option<Parts>,
    /// Who is upstream, where that was proven.
    pub upstream: Option<Arc<Peer>>,
    /// What is measured about it.
    pub telemetry: Rc<Telemetry>,
    /// The endpoint that it leads to, where it was picked among several. It stays in flight there.
    pub picked: Option<Picked>,
}

/// Carries bytes between the two once both have switched, in a task of its own.
pub fn carry(switched: Switched, client: OnUpgrade, server: OnUpgrade) {
    let counted = switched.connection.worker.shared.lifecycle.connection();
    tokio::task::spawn_local(async move {
        let _counted = counted;
        let _under_way = switched.connection.admitted.activity.begin();
        if let Err(error) = carry_upgraded(&switched, client, server).await {
            tracing::debug!(%error, "an upgraded connection ended early");
        }
    });
}

async fn carry_upgraded(switched: &Switched, client: OnUpgrade, server: OnUpgrade) -> Result<(), CarryError> {
    let (client, server) = tokio::try_join!(client, server).map_err(std::io::Error::other)?;
    let (mut client, from_client) = client_stream(client)?;
    let (mut server, from_server) = server_stream(server)?;
    liveness::relax(server.socket());
    let recording = switched.telemetry.connection();
    // What was read together with the headers goes first.
    server.write_all(&from_client).await?;
    server.flush().await?;
    recording.received(from_client.len() as u64);
    tcp::greet(&mut client, &from_server, &recording).await?;
    let idle = switched.connection.worker.shared.settings.limits.idle;
    let over = switched
        .connection
        .over(switched.request.as_ref(), switched.upstream.as_deref());
    let flows = switched.connection.flows();
    tcp::carry(
        &mut client,
        &mut server,
        idle,
        &recording,
        &flows,
        Watch::Unwatched,
        over,
    )
    .await
}

fn client_stream(upgraded: Upgraded) -> std::io::Result<(Stream, bytes::Bytes)> {
    let parts = upgraded.downcast::<ClientStream>().map_err(|_| foreign())?;
    let (stream, ahead) = parts.io.into_parts();
    if ahead.is_empty() {
        return Ok((stream, parts.read_buf));
    }
    Ok((stream, [parts.read_buf, ahead].concat().into()))
}

fn server_stream(upgraded: Upgraded) -> std::io::Result<(Stream, bytes::Bytes)> {
    let parts = upgraded.downcast::<ServerStream>().map_err(|_| foreign())?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn foreign() -> std::io::Error {
    std::io::Error::other("the upgraded connection is not of the kind that was served")
}
