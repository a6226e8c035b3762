//! Reading little at once: while much is held, as what is read into the buffers of the library is held before anybody
//! counts it, and where it has to be known how much came.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read as _, ReadBufCursor};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::Stream;
use crate::overload::{Budget, FEW_BYTES, Reading};

/// Reads what comes, as much at once as the budget says in which it counts.
pub(super) fn poll_read(
    io: &mut TokioIo<Stream>,
    budget: &Budget,
    cx: &mut Context<'_>,
    mut buffer: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    if budget.reading() == Reading::Much || buffer.remaining() <= FEW_BYTES {
        return Pin::new(io).poll_read(cx, buffer);
    }
    poll_few(io, cx, &mut buffer, |_| Ok(()))
}

/// Reads a few bytes, which `look` sees first.
pub(super) fn poll_few(
    io: &mut TokioIo<Stream>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBufCursor<'_>,
    look: impl FnOnce(&[u8]) -> io::Result<()>,
) -> Poll<io::Result<()>> {
    let mut space = [MaybeUninit::uninit(); FEW_BYTES];
    let most = buffer.remaining().min(FEW_BYTES);
    let mut few = ReadBuf::uninit(space.get_mut(..most).unwrap_or_default());
    ready!(Pin::new(io.inner_mut()).poll_read(cx, &mut few))?;
    look(few.filled())?;
    buffer.put_slice(few.filled());
    Poll::Ready(Ok(()))
}
