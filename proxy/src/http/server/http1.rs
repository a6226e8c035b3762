//! A client's connection of HTTP/1: served while there are requests, parked between them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;

use super::ending::{Ending, finish, has_to_end};
use super::{Exchange, Version, vetting};
use crate::connection::{Connection, Direction};
use crate::tcp::CarryError;
use crate::transport::{ClientStream, HeadClock, HeadLimits, Next, RequestRest, Stream};

/// A server is kept for the next request for one of so many parts of the usual time while there are many connections, and
/// not at all while there are very many: thousands that come within a second would have a server each.
const CROWDED_PART: u32 = 10;
/// Connections from which on there are many. Fewer cost little, and more often have a client behind them that comes back
/// soon.
const CROWDED: usize = 256;
/// Connections from which on there are very many.
const VERY_CROWDED: usize = 4 * CROWDED;

/// What ends the service of a connection.
enum Turn {
    /// The connection has ended.
    Over(hyper::Result<()>),
    /// It has been idle for a while.
    Idle,
    /// It has to end.
    HasToEnd(Ending),
}

/// Serves a connection until it ends.
pub(super) async fn serve(connection: Rc<Connection>, stream: Stream) -> Result<(), CarryError> {
    let stopping = connection.worker.shared.lifecycle.stopping();
    let clock = Arc::new(HeadClock::default());
    let mut stream = ClientStream::new(
        stream,
        connection.original,
        Arc::clone(&clock),
        limits(&connection),
        Arc::clone(&connection.admitted),
    );
    loop {
        let next = tokio::select! {
            biased;
            next = stream.next_request() => next?,
            _ = has_to_end(&connection, stopping) => Next::End,
        };
        if next == Next::End {
            return Ok(stream.end().await?);
        }
        // On the heap by itself: a parked connection does not have it.
        match Box::pin(serve_requests(&connection, &clock, stream)).await? {
            Some(idle) => stream = idle,
            None => return Ok(()),
        }
    }
}

/// Serves requests until the connection is idle for a while. `None`: it has ended.
async fn serve_requests(
    connection: &Rc<Connection>,
    clock: &Arc<HeadClock>,
    stream: ClientStream,
) -> hyper::Result<Option<ClientStream>> {
    let worker = &connection.worker;
    let park = worker.shared.settings.limits.park;
    let park_after = match worker.shared.lifecycle.connections() {
        0..CROWDED => park,
        CROWDED..VERY_CROWDED => park / CROWDED_PART,
        VERY_CROWDED.. => Duration::ZERO,
    };
    let service = service_fn(|request: Request<Incoming>| {
        clock.request_begins(if request.body().is_end_stream() {
            RequestRest::None
        } else {
            RequestRest::Body
        });
        let exchange = Exchange {
            connection: Rc::clone(connection),
            clock: Some(Arc::clone(clock)),
            version: Version::Http1,
        };
        exchange.answer(request)
    });
    let mut served = worker
        .servers
        .http1
        .serve_connection(stream.served(park_after), service)
        .with_upgrades();
    let turn = poll_fn(|cx| match Pin::new(&mut served).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Turn::Over(result)),
        Poll::Pending if clock.takes_park() => Poll::Ready(Turn::Idle),
        Poll::Pending => Poll::Pending,
    });
    let turn = tokio::select! {
        turn = turn => turn,
        ending = has_to_end(connection, worker.shared.lifecycle.stopping()) => Turn::HasToEnd(ending),
    };
    match turn {
        Turn::Over(result) => {
            result.inspect_err(|error| {
                vetting::count_unreadable(error, connection.telemetry());
                if error.is_parse() && !error.is_parse_too_large() {
                    worker.servers.unreadable.tell(connection.original);
                }
            })?;
        }
        Turn::Idle => {
            let parts = served.into_parts();
            return Ok(parts.map(|parts| parts.io.parked(&parts.read_buf)));
        }
        Turn::HasToEnd(ending) => {
            let mut served = pin!(served);
            served.as_mut().graceful_shutdown();
            finish(served, ending, worker.shared.settings.limits.distrusted).await?;
        }
    }
    Ok(None)
}

fn limits(connection: &Connection) -> HeadLimits {
    let limits = connection.worker.shared.settings.limits;
    let idle = match connection.direction() {
        Direction::Inbound => limits.keep_alive,
        Direction::Outbound => limits.idle,
    };
    let body = match connection.direction() {
        Direction::Inbound => limits.body,
        // The application is no stranger, and may stream as rarely as it likes.
        Direction::Outbound => limits.idle,
    };
    HeadLimits {
        head: limits.header_read,
        idle,
        body,
    }
}
