//! What is answered, in pieces, so that it is known what its client takes of it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use smilax_core::admission::Activity;
use tokio_util::sync::CancellationToken;

use crate::scrape::{Reader, Sheet};

/// Bytes of a piece.
const PIECE: usize = 16 * 1024;

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// Its client's alone.
    Own(Bytes),
    /// Many clients', who get it one behind the other.
    Shared(Vec<Arc<Sheet>>),
}

/// An answer that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    parts: VecDeque<Part>,
    left: usize,
    activity: Arc<Activity>,
    /// Bytes that are held for clients of this port, but for shared ones.
    held: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct Part {
    text: Bytes,
    /// `None` for what is nobody else's.
    reader: Option<Reader>,
}

impl Content {
    /// Bytes that exist for this answer alone.
    pub(super) fn own_bytes(&self) -> usize {
        match self {
            Self::Own(text) => text.len(),
            Self::Shared(_) => 0,
        }
    }
}

impl Sending {
    /// To a client whose connection ends with `end`, and whose share of `held` it counts in.
    pub(super) fn new(
        content: Content,
        activity: &Arc<Activity>,
        end: &CancellationToken,
        held: &Rc<Cell<usize>>,
    ) -> Self {
        held.set(held.get() + content.own_bytes());
        let parts: VecDeque<Part> = match content {
            Content::Own(text) => [Part { text, reader: None }].into(),
            Content::Shared(sheets) => sheets
                .iter()
                .map(|sheet| Part {
                    text: sheet.text.clone(),
                    reader: Some(sheet.read(end.clone())),
                })
                .collect(),
        };
        let left = parts.iter().map(|part| part.text.len()).sum();
        activity.hold(left);
        Self {
            parts,
            left,
            activity: Arc::clone(activity),
            held: Rc::clone(held),
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        while self.parts.front().is_some_and(|part| part.text.is_empty()) {
            self.parts.pop_front();
        }
        let part = self.parts.front_mut()?;
        let mut piece = part.text.split_to(PIECE.min(part.text.len()));
        match &part.reader {
            None => self.held.set(self.held.get() - piece.len()),
            Some(reader) => {
                reader.takes();
                if part.text.is_empty() {
                    // The last piece may lie in the buffers of the library for long, and must not hold the whole text.
                    piece = Bytes::copy_from_slice(&piece);
                }
            }
        }
        self.left -= piece.len();
        self.activity.release(piece.len());
        if part.text.is_empty() {
            self.parts.pop_front();
        }
        Some(piece)
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let own = self.parts.iter().filter(|part| part.reader.is_none());
        let own: usize = own.map(|part| part.text.len()).sum();
        self.held.set(self.held.get() - own);
        self.activity.release(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s35_what_is_held_for_a_client_is_what_it_has_not_taken() {
        let (activity, held, end) = (Activity::new(), Rc::default(), CancellationToken::new());
        let text = vec![b'x'; 2 * PIECE + 1];
        let content = Content::Own(text.clone().into());
        let mut sending = Sending::new(content, &activity, &end, &held);
        let mut taken = Vec::new();
        for left in [PIECE + 1, 1, 0] {
            taken.extend_from_slice(&sending.next().unwrap());
            assert_eq!((activity.held(), held.get()), (left, left));
        }
        assert!(sending.next().is_none() && sending.is_end_stream());
        assert_eq!(taken, text);
    }

    #[test]
    fn s35_a_client_that_goes_away_holds_nothing() {
        let (activity, held, end) = (Activity::new(), Rc::default(), CancellationToken::new());
        let content = Content::Own(vec![b'x'; 2 * PIECE].into());
        let mut sending = Sending::new(content, &activity, &end, &held);
        let _ = sending.next();
        drop(sending);
        assert_eq!((activity.held(), held.get()), (0, 0));
    }
}
