//! Whether the other end still lives: it says something from time to time, and so nobody here needs to ask.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// When something was heard last.
#[derive(Debug)]
pub(super) struct LastHeard {
    begin: Instant,
    /// Since the beginning.
    millis: AtomicU64,
}

/// A stream that remembers when it was read from last.
#[derive(Debug)]
pub(super) struct Heard<S> {
    stream: S,
    last: Arc<LastHeard>,
}

impl LastHeard {
    fn now(&self) {
        let millis = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Resolves when nothing was heard for so long.
    pub(super) async fn silent(&self, for_so_long: Duration) {
        loop {
            let last = self.begin + Duration::from_millis(self.millis.load(Ordering::Relaxed));
            let due = last + for_so_long;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

impl<S> Heard<S> {
    /// The other end has just been heard.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            last: Arc::new(LastHeard {
                begin: Instant::now(),
                millis: AtomicU64::new(0),
            }),
        }
    }

    /// When it was heard last, from now on.
    pub(super) fn last(&self) -> Arc<LastHeard> {
        Arc::clone(&self.last)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.last.now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_silent_after_the_time_and_not_before() {
        let (_other, here) = tokio::io::duplex(64);
        let heard = Heard::new(here);
        let begin = Instant::now();
        heard.last().silent(PATIENCE).await;
        assert_eq!(begin.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_something_has_all_of_the_time_again() {
        let (mut other, here) = tokio::io::duplex(64);
        let mut heard = Heard::new(here);
        let last = heard.last();
        let begin = Instant::now();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(PATIENCE / 2).await;
                other.write_all(b"?").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        tokio::spawn(async move { while heard.read_u8().await.is_ok() {} });
        last.silent(PATIENCE).await;
        assert_eq!(begin.elapsed(), PATIENCE / 2 * 3 + PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_to_the_other_end_is_no_sign_of_its_life() {
        let (_other, here) = tokio::io::duplex(64);
        let mut heard = Heard::new(here);
        let begin = Instant::now();
        let last = heard.last();
        tokio::time::sleep(PATIENCE / 2).await;
        heard.write_all(b"?").await.unwrap();
        last.silent(PATIENCE).await;
        assert_eq!(begin.elapsed(), PATIENCE);
    }
}
