//! `Expect: 100-continue` (RFC 9110 section 10.1.1): the client holds its body back until the server wants it.
//!
//! Towards the client, hyper says `100 Continue` when the body is first asked for. So the body is asked for only once
//! the server has said so, or has said nothing for a while, as one of HTTP/1.0 never does.
//!
//! A server that answers without `100 Continue` may not have read the body, and may take it for the next request, even
//! where all of it was sent. So neither connection is used again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tokio::time::Sleep;

/// How long the server may say nothing before it gets the body all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Closed until the server wants the body, and for good once it has answered without wanting it: whoever refuses a body may
/// take what follows for the next request. Dropping it changes nothing.
#[derive(Debug)]
pub struct Gate {
    wanted: Arc<Wanted>,
    patience: Pin<Box<Sleep>>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The server has said `100 Continue`.
    said: AtomicBool,
    /// It has said nothing for too long.
    impatient: AtomicBool,
    answered: AtomicBool,
    over: AtomicBool,
    waker: AtomicWaker,
}

/// The server has answered without `100 Continue`. If the body is still held back, dropping this ends the request, which
/// has no body and no end.
#[derive(Debug)]
pub struct Unwanted(Arc<Wanted>);

/// The other side of a [`Gate`].
#[derive(Debug)]
pub struct Answer(Arc<Wanted>);

/// The body will never be wanted.
#[derive(Debug)]
pub struct NeverWanted;

impl Answer {
    /// The server has answered. `Some`: without `100 Continue`. A body that is still held back then stays where it is.
    pub fn came(self) -> Option<Unwanted> {
        self.0.answered.store(true, Ordering::Release);
        (!self.0.said.load(Ordering::Acquire)).then_some(Unwanted(self.0))
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// What a client expects of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    None,
    /// `100 Continue`.
    Continue,
    /// Something else, or the same in a form that not every server reads alike.
    Unknown,
}

impl Expectation {
    /// What these headers of a request say. Only a single `100-continue` is known: hyper reads no list, and other servers
    /// read the first line, the last, or all.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(EXPECT).iter().map(HeaderValue::as_bytes);
        match (lines.next(), lines.next()) {
            (None, _) => Self::None,
            (Some(line), None) if line.eq_ignore_ascii_case(b"100-continue") => Self::Continue,
            _ => Self::Unknown,
        }
    }
}

impl Gate {
    /// A gate that opens when the server of this request wants its body.
    pub fn new<B>(request: &mut Request<B>) -> (Self, Answer) {
        let wanted = Arc::new(Wanted::default());
        let told = Arc::clone(&wanted);
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                told.said.store(true, Ordering::Release);
                told.waker.wake();
            }
        });
        let answer = Answer(Arc::clone(&wanted));
        let patience = Box::pin(tokio::time::sleep(PATIENCE));
        (Self { wanted, patience }, answer)
    }

    /// Ready when the body may go.
    ///
    /// # Errors
    /// [`NeverWanted`].
    pub fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NeverWanted>> {
        self.wanted.waker.register(cx.waker());
        if self.wanted.said.load(Ordering::Acquire) || self.wanted.impatient.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if self.wanted.over.load(Ordering::Acquire) {
            return Poll::Ready(Err(NeverWanted));
        }
        if self.wanted.answered.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.patience.as_mut().poll(cx).map(|()| {
            self.wanted.impatient.store(true, Ordering::Release);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(lines: &[&'static str]) -> Expectation {
        let lines = lines.iter().map(|line| (EXPECT, HeaderValue::from_static(line)));
        Expectation::of(&lines.collect())
    }

    async fn open(gate: &mut Gate) {
        std::future::poll_fn(|cx| gate.poll_open(cx)).await.unwrap();
    }

    #[test]
    fn s62_only_a_single_100_continue_is_known() {
        assert_eq!(expectation(&[]), Expectation::None);
        for line in ["100-continue", "100-Continue"] {
            assert_eq!(expectation(&[line]), Expectation::Continue, "{line}");
        }
        for lines in [
            &["100-continue, x"][..],
            &["100-continue,"],
            &[",100-continue"],
            &["100-continue;x=y"],
            &["x"],
            &[""],
            &["x", "100-continue"],
            &["100-continue", "x"],
            &["100-continue", "100-continue"],
        ] {
            assert_eq!(expectation(lines), Expectation::Unknown, "{lines:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s62_a_body_that_went_because_patience_ran_out_was_not_asked_for() {
        let (mut gate, answer) = Gate::new(&mut Request::new(()));
        open(&mut gate).await;
        let unwanted = answer.came();
        assert!(unwanted.is_some());
        drop(unwanted);
        // What was begun is not broken off.
        open(&mut gate).await;
    }

    #[tokio::test(start_paused = true)]
    async fn s62_a_body_that_the_server_asked_for_is_wanted() {
        let (mut gate, answer) = Gate::new(&mut Request::new(()));
        gate.wanted.said.store(true, Ordering::Release);
        open(&mut gate).await;
        assert!(answer.came().is_none());
    }
}
