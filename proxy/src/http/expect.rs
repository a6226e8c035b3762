//! `Expect: 100-continue` (RFC 9110 section 10.1.1): the client holds its body back until the server wants it.
//!
//! Towards the client, hyper says `100 Continue` when the body is first asked for. So the body is asked for only once
//! the server has said so, or has said nothing for a while, as one of HTTP/1.0 never does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};
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
    said: AtomicBool,
    answered: AtomicBool,
    over: AtomicBool,
    waker: AtomicWaker,
}

/// What the server has answered without wanting the body. Dropping it ends the request, which has no body and no end.
#[derive(Debug)]
pub struct Unwanted(Arc<Wanted>);

/// The other side of a [`Gate`].
#[derive(Debug)]
pub struct Answer(Arc<Wanted>);

/// The body will never be wanted.
#[derive(Debug)]
pub struct NeverWanted;

impl Answer {
    /// The server has answered. `Some`: without wanting the body, which stays where it is.
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

/// Whether the client waits for `100 Continue`.
pub fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
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
        if self.wanted.said.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if self.wanted.over.load(Ordering::Acquire) {
            return Poll::Ready(Err(NeverWanted));
        }
        if self.wanted.answered.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.patience.as_mut().poll(cx).map(|()| {
            self.wanted.said.store(true, Ordering::Release);
            Ok(())
        })
    }
}
