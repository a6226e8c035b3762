//! Connections that cease to be HTTP.

use std::rc::Rc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::metrics::traffic::Telemetry;
use crate::tcp::{self, CarryError, Meter as _};
use crate::transport::ClientStream;
use crate::worker::Worker;

/// Carries bytes between the two once both have switched, in a task of its own.
pub fn carry(worker: &Rc<Worker>, telemetry: Rc<Telemetry>, client: OnUpgrade, server: OnUpgrade) {
    let counted = worker.shared.lifecycle.connection();
    let idle = worker.shared.settings.limits.idle;
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = carry_upgraded(&telemetry, client, server, idle).await {
            tracing::debug!(%error, "an upgraded connection ended early");
        }
    });
}

async fn carry_upgraded(
    telemetry: &Telemetry,
    client: OnUpgrade,
    server: OnUpgrade,
    idle: std::time::Duration,
) -> Result<(), CarryError> {
    let (client, server) = tokio::try_join!(client, server).map_err(std::io::Error::other)?;
    let (mut client, from_client) = client_stream(client)?;
    let (mut server, from_server) = server_stream(server)?;
    let recording = telemetry.connection();
    // What was read together with the headers goes first.
    server.write_all(&from_client).await?;
    client.write_all(&from_server).await?;
    recording.received(from_client.len() as u64);
    recording.sent(from_server.len() as u64);
    tcp::carry(&mut client, &mut server, idle, &recording).await
}

fn client_stream(upgraded: Upgraded) -> std::io::Result<(TcpStream, bytes::Bytes)> {
    let parts = upgraded.downcast::<ClientStream>().map_err(|_| foreign())?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn server_stream(upgraded: Upgraded) -> std::io::Result<(TcpStream, bytes::Bytes)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| foreign())?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn foreign() -> std::io::Error {
    std::io::Error::other("the upgraded connection is not of the kind that was served")
}
