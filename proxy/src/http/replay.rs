//! Bodies of requests that may have to be sent again, to another endpoint.
//!
//! While the first endpoint has not answered, what it was sent is kept: the pieces that came from the client, which cost a
//! reference each, and no copy. A body of more than [`MAX_BYTES`] is no longer kept, and its request not sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyError;

/// Bytes of a body kept at most, as for Linkerd's retries.
const MAX_BYTES: usize = 64 * 1024;

/// Pieces of a body kept at most: each costs a little beside its bytes.
const MAX_PIECES: usize = 1024;

/// A body, as one attempt sends it.
#[derive(Debug)]
pub struct ReplayBody<S> {
    shared: Rc<RefCell<Shared<S>>>,
    attempt: u32,
    /// Pieces that this attempt was given.
    position: usize,
}

/// A handle on a body for the case that its request must be sent again. The body is kept for as long as this lives.
#[derive(Debug)]
pub struct Replay<S>(Rc<RefCell<Shared<S>>>);

#[derive(Debug)]
struct Shared<S> {
    source: S,
    kept: Kept,
    attempt: u32,
    /// Of the task that sends the present attempt.
    waker: Option<Waker>,
}

/// What the client has sent so far.
#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Piece>,
    bytes: usize,
    completeness: Completeness,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Completeness {
    /// Everything that came is kept.
    #[default]
    Whole,
    /// It was too much, or nobody would send it again.
    Given,
}

impl Kept {
    fn push(&mut self, frame: &Frame<Bytes>) {
        if self.completeness == Completeness::Given {
            return;
        }
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(Box::new(trailers.clone())),
            (None, None) => return,
        };
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        if self.bytes > MAX_BYTES || self.pieces.len() >= MAX_PIECES {
            return self.give_up();
        }
        self.pieces.push(piece);
    }

    fn give_up(&mut self) {
        self.pieces = Vec::new();
        self.completeness = Completeness::Given;
    }
}

impl<S> ReplayBody<S> {
    /// The first attempt to send what the client sends.
    pub fn new(source: S) -> Self {
        let shared = Shared {
            source,
            kept: Kept::default(),
            attempt: 0,
            waker: None,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            attempt: 0,
            position: 0,
        }
    }

    /// A handle to send it again with.
    pub fn handle(&self) -> Replay<S> {
        Replay(Rc::clone(&self.shared))
    }
}

impl<S> Replay<S> {
    /// Whether the body is kept from its beginning.
    pub fn is_whole(&self) -> bool {
        self.0.borrow().kept.completeness == Completeness::Whole
    }

    /// The body from its beginning, for another attempt. The attempt before gets nothing more. `None` when its beginning
    /// is not kept any more.
    pub fn again(self) -> Option<ReplayBody<S>> {
        let mut shared = self.0.borrow_mut();
        if shared.kept.completeness == Completeness::Given {
            return None;
        }
        shared.attempt += 1;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
        let attempt = shared.attempt;
        drop(shared);
        Some(ReplayBody {
            shared: self.0,
            attempt,
            position: 0,
        })
    }
}

impl<S: Body<Data = Bytes, Error = BodyError> + Unpin> Body for ReplayBody<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let last_handle = Rc::strong_count(&this.shared) == 1;
        let shared = &mut *this.shared.borrow_mut();
        if shared.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(piece) = shared.kept.pieces.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(*trailers),
            })));
        }
        let polled = Pin::new(&mut shared.source).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) if !last_handle => {
                shared.kept.push(frame);
                this.position = shared.kept.pieces.len();
            }
            // Nobody would send it again. An error is said once: another attempt must not take what follows it for the
            // end of the body.
            Poll::Ready(Some(_)) => {
                shared.kept.give_up();
                this.position = 0;
            }
            Poll::Ready(None) => {}
            Poll::Pending => shared.waker = Some(cx.waker().clone()),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.attempt == self.attempt
            && self.position >= shared.kept.pieces.len()
            && shared.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let waiting: u64 = shared
            .kept
            .pieces
            .iter()
            .skip(self.position)
            .map(Piece::length)
            .sum();
        let source = shared.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(source.lower() + waiting);
        if let Some(upper) = source.upper() {
            hint.set_upper(upper + waiting);
        }
        hint
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use futures::{Stream, StreamExt as _};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    type Source = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BodyError>>>>>;

    /// A client that sends these pieces, and counts those that were asked for.
    fn client(pieces: Vec<Bytes>) -> (Source, Rc<Cell<usize>>) {
        let asked = Rc::new(Cell::new(0));
        let stream = futures::stream::iter(pieces).map({
            let asked = Rc::clone(&asked);
            move |piece| {
                asked.set(asked.get() + 1);
                Ok::<_, Infallible>(Frame::data(piece)).map_err(|never| match never {})
            }
        });
        (StreamBody::new(Box::pin(stream)), asked)
    }

    fn pieces(count: usize, bytes: usize) -> Vec<Bytes> {
        (0..count)
            .map(|index| vec![u8::try_from(index).unwrap(); bytes].into())
            .collect()
    }

    async fn next(body: &mut ReplayBody<Source>) -> Option<Result<Bytes, BodyError>> {
        let frame = body.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn another_attempt_sends_the_whole_body() {
        let (source, asked) = client(pieces(3, 10));
        let mut first = ReplayBody::new(source);
        let replay = first.handle();
        for _ in 0..2 {
            next(&mut first).await.unwrap().unwrap();
        }
        let second = replay.again().unwrap();
        let body = second.collect().await.unwrap().to_bytes();
        assert_eq!(body, pieces(3, 10).concat());
        assert_eq!(asked.get(), 3, "the client is asked once for each piece");
    }

    #[tokio::test]
    async fn an_attempt_that_was_superseded_gets_nothing_more() {
        let (source, _) = client(pieces(2, 10));
        let mut first = ReplayBody::new(source);
        let replay = first.handle();
        next(&mut first).await.unwrap().unwrap();
        let _second = replay.again().unwrap();
        assert!(matches!(next(&mut first).await, Some(Err(BodyError::Superseded))));
    }

    #[tokio::test]
    async fn a_body_of_more_than_the_limit_passes_and_is_not_sent_again() {
        let (source, _) = client(pieces(2, MAX_BYTES / 2 + 1));
        let mut first = ReplayBody::new(source);
        let replay = first.handle();
        for _ in 0..2 {
            assert!(next(&mut first).await.unwrap().is_ok());
        }
        assert!(replay.again().is_none());
        let (source, _) = client(pieces(2, MAX_BYTES / 2));
        let mut first = ReplayBody::new(source);
        let replay = first.handle();
        for _ in 0..2 {
            next(&mut first).await.unwrap().unwrap();
        }
        assert!(replay.again().is_some());
    }

    #[tokio::test]
    async fn a_body_that_broke_off_is_not_sent_again_as_if_it_were_complete() {
        let broken: Vec<Result<Frame<Bytes>, BodyError>> =
            vec![Ok(Frame::data("x".into())), Err(BodyError::Superseded)];
        let mut first: ReplayBody<Source> =
            ReplayBody::new(StreamBody::new(Box::pin(futures::stream::iter(broken))));
        let replay = first.handle();
        assert!(next(&mut first).await.unwrap().is_ok());
        assert!(next(&mut first).await.unwrap().is_err());
        assert!(replay.again().is_none());
    }

    #[tokio::test]
    async fn nothing_is_kept_once_nobody_would_send_it_again() {
        let (source, _) = client(pieces(3, 10));
        let mut first = ReplayBody::new(source);
        drop(first.handle());
        next(&mut first).await.unwrap().unwrap();
        assert!(first.shared.borrow().kept.pieces.is_empty());
        assert!(first.handle().again().is_none(), "its beginning is gone");
    }
}
