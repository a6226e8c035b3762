//! Connections carried as bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::transport::ConnectError;

/// Bytes read at once. One buffer of this size serves all connections of a worker.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// Who hears of bytes as they are carried.
pub trait Meter {
    /// Bytes went from the client to the server.
    fn received(&self, bytes: u64);
    /// Bytes went from the server to the client.
    fn sent(&self, bytes: u64);
}

/// Why carrying ended before both sides had finished.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// One side broke off.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The client, or what it was told, is not HTTP after all.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// There was nobody to carry to.
    #[error(transparent)]
    Unconnected(#[from] ConnectError),
    /// Neither side said anything for this long.
    #[error("silent for {0:?}")]
    Idle(Duration),
}

/// Carries bytes both ways until both sides have finished; each may finish before the other. An idle connection
/// holds no buffer.
///
/// # Errors
/// [`CarryError`]; both sides have been reset then, as whoever is left must not take it for a proper end.
pub async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    idle: Duration,
    meter: &impl Meter,
) -> Result<(), CarryError> {
    let result = carry_both(client, server, idle, meter).await;
    if result.is_err() {
        reset(client);
        reset(server);
    }
    result
}

/// Makes closing this connection reset it.
pub fn reset(stream: &TcpStream) {
    // Where it fails, the connection is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn carry_both(
    client: &mut TcpStream,
    server: &mut TcpStream,
    idle: Duration,
    meter: &impl Meter,
) -> Result<(), CarryError> {
    let last = Cell::new(Instant::now());
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = carry_one(client_read, server_write, |bytes| {
        last.set(Instant::now());
        meter.received(bytes);
    });
    let down = carry_one(server_read, client_write, |bytes| {
        last.set(Instant::now());
        meter.sent(bytes);
    });
    let both = async { tokio::try_join!(up, down) };
    tokio::select! {
        result = both => Ok(result.map(|_| ())?),
        () = silence(&last, idle) => Err(CarryError::Idle(idle)),
    }
}

async fn silence(last: &Cell<Instant>, idle: Duration) {
    loop {
        let deadline = last.get() + idle;
        tokio::time::sleep_until(deadline).await;
        if last.get() + idle <= deadline {
            return;
        }
    }
}

async fn carry_one(from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut count: impl FnMut(u64)) -> io::Result<()> {
    let mut rest = Vec::new();
    loop {
        from.readable().await?;
        match pass_on(&from, &to, &mut rest) {
            Ok(0) => {
                // The other side may be gone already, which its own direction reports.
                let _ = to.shutdown().await;
                return Ok(());
            }
            Ok(bytes) => count(bytes as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if !rest.is_empty() {
            to.write_all(&rest).await?;
            rest = Vec::new();
        }
    }
}

/// Reads once into the worker's buffer and writes what can be written; `rest` receives what could not.
fn pass_on(from: &ReadHalf<'_>, to: &WriteHalf<'_>, rest: &mut Vec<u8>) -> io::Result<usize> {
    BUFFER.with_borrow_mut(|buffer| {
        let read = from.try_read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        let written = match to.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        rest.extend_from_slice(bytes.get(written..).unwrap_or_default());
        Ok(read)
    })
}
