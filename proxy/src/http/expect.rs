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

/// Closed until the server wants the body. Dropping it changes nothing.
#[derive(Debug)]
pub struct Gate {
    wanted: Arc<Wanted>,
    patience: Pin<Box<Sleep>>,
}

#[derive(Debug, Default)]
struct Wanted {
    said: AtomicBool,
    waker: AtomicWaker,
}

/// Whether the client waits for `100 Continue`.
pub fn is_expected(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Gate {
    /// A gate that opens when the server of this request wants its body.
    pub fn new<B>(request: &mut Request<B>) -> Self {
        let wanted = Arc::new(Wanted::default());
        let told = Arc::clone(&wanted);
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                told.said.store(true, Ordering::Release);
                told.waker.wake();
            }
        });
        Self {
            wanted,
            patience: Box::pin(tokio::time::sleep(PATIENCE)),
        }
    }

    /// Ready when the body may go.
    pub fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wanted.said.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.wanted.waker.register(cx.waker());
        if self.wanted.said.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}
