//! Connections carried as bytes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::access::Refused;
use crate::detect::{FirstLine, Seen, StatusLine};
use crate::overload::{FEW_BYTES, Flow, Held, Reading};
use crate::transport::{ConnectError, Stream, TlsFailure};

/// Bytes read at once. One buffer of this size serves all connections of a worker.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// Where bytes count that were read and could not be written yet.
#[derive(Debug)]
pub struct Flows {
    /// From the client.
    pub up: Arc<Flow>,
    /// To the client.
    pub down: Arc<Flow>,
}

/// Who hears of bytes as they are carried.
pub trait Meter {
    /// Bytes went from the client to the server.
    fn received(&self, bytes: u64);
    /// Bytes went from the server to the client.
    fn sent(&self, bytes: u64);
}

/// Another meter, and whether the server has said anything.
pub struct Answered<M> {
    meter: M,
    answered: Cell<bool>,
}

impl<M> Answered<M> {
    /// It has not yet.
    pub fn new(meter: M) -> Self {
        Self {
            meter,
            answered: Cell::new(false),
        }
    }

    /// Whether it has.
    pub fn has_answered(&self) -> bool {
        self.answered.get()
    }
}

impl<M: Meter> Meter for Answered<M> {
    fn received(&self, bytes: u64) {
        self.meter.received(bytes);
    }

    fn sent(&self, bytes: u64) {
        self.answered.set(true);
        self.meter.sent(bytes);
    }
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
    /// The client did not prove who it is.
    #[error(transparent)]
    Insecure(#[from] TlsFailure),
    /// The caller may not, or may not any more.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its place was needed, or it cost too much.
    #[error("it had to end for others")]
    Overload,
    /// What began as something else goes on as a request, and brings its own word about who calls.
    #[error("it completed a request of HTTP that it did not begin as one")]
    LateRequest,
    /// The server took for a request what is none.
    #[error("it was carried as bytes, and answered in HTTP")]
    Misread,
    /// Neither side said anything for this long.
    #[error("silent for {0:?}")]
    Idle(Duration),
}

/// Whether what is carried may turn out to be HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It may, as what it is was guessed.
    Watched,
    /// It may be what it likes.
    Unwatched,
}

/// Carries bytes both ways until both sides have finished; each may finish before the other. An idle connection
/// holds no buffer. When `over` completes, the connection ends for what it says.
///
/// # Errors
/// [`CarryError`]; both sides have been reset then, as whoever is left must not take it for a proper end.
pub async fn carry(
    client: &mut Stream,
    server: &mut Stream,
    idle: Duration,
    meter: &impl Meter,
    flows: &Flows,
    watch: Watch,
    over: impl Future<Output = CarryError>,
) -> Result<(), CarryError> {
    let result = tokio::select! {
        result = carry_both(client, server, idle, meter, flows, watch) => result,
        error = over => Err(error),
    };
    if result.is_err() {
        reset(client.socket());
        reset(server.socket());
    }
    result
}

/// Passes on what the server has said already.
///
/// # Errors
/// When the client breaks off.
pub async fn greet(client: &mut Stream, greeting: &[u8], meter: &impl Meter) -> Result<(), CarryError> {
    if !greeting.is_empty() {
        client.write_all(greeting).await?;
        client.flush().await?;
        meter.sent(greeting.len() as u64);
    }
    Ok(())
}

/// Makes closing this connection reset it.
pub fn reset(stream: &TcpStream) {
    // Where it fails, the connection is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Bytes on their way in one direction.
struct Direction<'a> {
    lookout: Option<Lookout>,
    /// What was read and could not be written yet.
    rest: Option<Held>,
    flow: &'a Arc<Flow>,
    stage: Stage,
}

/// Looks at the first bytes of a direction, before they go on.
enum Lookout {
    Client(FirstLine),
    Server(StatusLine),
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Carrying,
    /// The last bytes go out.
    Ending,
    Done,
}

async fn carry_both(
    client: &mut Stream,
    server: &mut Stream,
    idle: Duration,
    meter: &impl Meter,
    flows: &Flows,
    watch: Watch,
) -> Result<(), CarryError> {
    let (mut up, mut down) = (Direction::new(&flows.up), Direction::new(&flows.down));
    if watch == Watch::Watched {
        up.lookout = Some(Lookout::Client(FirstLine::default()));
        down.lookout = Some(Lookout::Server(StatusLine::default()));
    }
    let mut last = Instant::now();
    let mut silence: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(idle));
    poll_fn(|cx| {
        let mut carried = 0;
        let upwards = up.poll(cx, client, server, |bytes| {
            carried += bytes;
            meter.received(bytes);
        })?;
        let downwards = down.poll(cx, server, client, |bytes| {
            carried += bytes;
            meter.sent(bytes);
        })?;
        if upwards.is_ready() && downwards.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if carried > 0 {
            last = Instant::now();
        }
        while silence.as_mut().poll(cx).is_ready() {
            let deadline = last + idle;
            if deadline <= silence.deadline() {
                return Poll::Ready(Err(CarryError::Idle(idle)));
            }
            silence.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

impl<'a> Direction<'a> {
    fn new(flow: &'a Arc<Flow>) -> Self {
        Self {
            lookout: None,
            rest: None,
            flow,
            stage: Stage::default(),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        mut count: impl FnMut(u64),
    ) -> Poll<Result<(), CarryError>> {
        loop {
            ready!(self.poll_rest(cx, to))?;
            match self.stage {
                Stage::Carrying => match ready!(self.pass_on(cx, from, to))? {
                    0 => self.stage = Stage::Ending,
                    bytes => count(bytes as u64),
                },
                Stage::Ending => {
                    // The other side may be gone already, which its own direction reports.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.stage = Stage::Done;
                }
                Stage::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes what is left, and sees to it that it leaves.
    fn poll_rest(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.rest {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest.chunk()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => rest.advance(written),
            }
            if !rest.has_remaining() {
                self.rest = None;
            }
        }
        match to {
            // Nothing is kept back.
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// Looks at bytes that have not gone on, for as long as they may turn out to be HTTP.
    fn look_at(&mut self, bytes: &[u8]) -> Result<(), CarryError> {
        let (seen, misread) = match &mut self.lookout {
            None => return Ok(()),
            Some(Lookout::Client(line)) => (line.see(bytes), CarryError::LateRequest),
            Some(Lookout::Server(line)) => (line.see(bytes), CarryError::Misread),
        };
        match seen {
            Seen::Http => return Err(misread),
            Seen::Other => self.lookout = None,
            Seen::Unclear => {}
        }
        Ok(())
    }

    /// Reads once into the worker's buffer and writes what can be written. Little is read while much is held, as all that
    /// cannot be written is held.
    fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<usize, CarryError>> {
        BUFFER.with_borrow_mut(|buffer| {
            let most = match self.flow.budget().reading() {
                Reading::Much => BUFFER_BYTES,
                Reading::Little => FEW_BYTES,
            };
            let mut buffer = ReadBuf::new(buffer.get_mut(..most).unwrap_or_default());
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.look_at(bytes)?;
            let written = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            let rest = bytes.get(written..).unwrap_or_default();
            if !rest.is_empty() {
                self.rest = Some(self.flow.hold(Bytes::copy_from_slice(rest)));
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}
