//! Connections to whom is attacked, and their count.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::figures::Tally;

/// Connections that are being opened at once.
const OPENING: usize = 256;
/// How long one may take to be opened.
const CONNECT: Duration = Duration::from_secs(3);
/// Before a connection that was refused is tried again: a flood must not spin.
const PAUSE: Duration = Duration::from_millis(20);
/// The kernel's buffer of a client that does not read.
const SMALL_BUFFER: u32 = 4096;

/// Whether a client reads what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It does.
    Willing,
    /// It does not, and its kernel takes little.
    Refused,
}

/// Many connections to one address.
#[derive(Debug)]
pub(super) struct Crowd {
    target: SocketAddr,
    sources: Vec<IpAddr>,
    next_source: AtomicUsize,
    until: Instant,
    opening: Semaphore,
    opened: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
    open_at_end: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Open<S> {
    pub(super) stream: S,
    pub(super) place: Place,
}

/// Counts as an open connection for as long as it is there.
#[derive(Debug)]
pub(super) struct Place(pub(super) Arc<Crowd>);

impl Crowd {
    pub(super) fn new(target: SocketAddr, sources: Vec<IpAddr>, lasts: Duration) -> Self {
        Self {
            target,
            sources,
            next_source: AtomicUsize::new(0),
            until: Instant::now() + lasts,
            opening: Semaphore::new(OPENING),
            opened: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            open: AtomicU64::new(0),
            open_at_end: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Does this so many times at once, until the time is over, and notes what is open then.
    pub(super) async fn all<F>(self: &Arc<Self>, number: usize, one: impl Fn(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for _ in 0..number {
            tasks.spawn(one(Arc::clone(self)));
        }
        tokio::time::sleep_until(self.until).await;
        self.open_at_end
            .store(self.open.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn tally(&self) -> Tally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            opened: of(&self.opened),
            failed: of(&self.failed),
            open: of(&self.open_at_end),
            objects: 0,
            sent: of(&self.sent),
            received: of(&self.received),
        }
    }

    /// Opens a connection. After a failure it waits a little.
    pub(super) async fn connect(self: &Arc<Self>, reading: Reading) -> Option<Open<TcpStream>> {
        let permit = self.opening.acquire().await.ok()?;
        let connected = timeout(CONNECT, open(self.target, self.source(), reading)).await;
        drop(permit);
        if let Ok(Ok(stream)) = connected {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.open.fetch_add(1, Ordering::Relaxed);
            let place = Place(Arc::clone(self));
            Some(Open { stream, place })
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
            None
        }
    }

    /// Where the next connection comes from.
    fn source(&self) -> Option<IpAddr> {
        let number = self.next_source.fetch_add(1, Ordering::Relaxed);
        self.sources.get(number % self.sources.len().max(1)).copied()
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(as_u64(bytes), Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(as_u64(bytes), Ordering::Relaxed);
    }
}

async fn open(target: SocketAddr, source: Option<IpAddr>, reading: Reading) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if reading == Reading::Refused {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Open<S> {
    /// Sends this; an error is the end of the connection.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        self.place.0.count_sent(bytes.len());
        Ok(())
    }

    /// Sends as much of this as is taken at once.
    pub(super) async fn send_some(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.stream.write(bytes).await?;
        self.place.0.count_sent(taken);
        Ok(())
    }

    /// Reads something; nothing is the end of the connection.
    pub(super) async fn read_some(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).await?;
        self.place.0.count_received(length);
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads until the other side ends the connection.
    pub(super) async fn until_end(&mut self) {
        while self.read_some().await.is_ok() {}
    }
}

impl Open<TcpStream> {
    /// Reads nothing, until the other side resets the connection.
    pub(super) async fn until_reset(&self) {
        let _ = self.stream.ready(Interest::ERROR).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
