//! The side of a stream that the proxy speaks on.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use hyper::body::{Body, Frame};
use smilax_core::workload_connection::{ProxyMessage, encode};
use tokio::time::{Instant, sleep_until};

use super::channel::OperatorError;
use super::outbox::Outbox;

/// Messages that wait to be sent at most. An operator that takes none of them is as good as gone.
const MOST_WAITING: usize = 64;

/// Says things in their time.
#[derive(Debug)]
pub struct Saying {
    sender: mpsc::Sender<Bytes>,
    outbox: Outbox,
    began: Instant,
}

impl Saying {
    /// With the body of a request that carries it.
    pub fn new() -> (
        Self,
        impl Body<Data = Bytes, Error = Infallible> + Unpin + 'static,
    ) {
        let (sender, said) = mpsc::channel::<Bytes>(MOST_WAITING);
        let body = http_body_util::StreamBody::new(said.map(|frame| Ok(Frame::data(frame))));
        let saying = Self {
            sender,
            outbox: Outbox::default(),
            began: Instant::now(),
        };
        (saying, body)
    }

    /// There is this to say.
    ///
    /// # Errors
    /// [`OperatorError::TimedOut`] when the operator takes no more.
    pub fn tell(&mut self, messages: Vec<ProxyMessage>) -> Result<(), OperatorError> {
        let say = self.outbox.put(messages, self.began.elapsed(), fastrand::f64());
        self.send(say)
    }

    /// Resolves when something that waits is to be said; never while nothing does.
    pub async fn due(&self) {
        match self.outbox.due() {
            Some(due) => sleep_until(self.began + due).await,
            None => std::future::pending().await,
        }
    }

    /// Says what waits.
    ///
    /// # Errors
    /// [`OperatorError::TimedOut`] when the operator takes no more.
    pub fn say_waiting(&mut self) -> Result<(), OperatorError> {
        let say = self.outbox.take();
        self.send(say)
    }

    fn send(&mut self, messages: Vec<ProxyMessage>) -> Result<(), OperatorError> {
        for message in messages {
            self.sender
                .try_send(encode(&message)?)
                .map_err(|_| OperatorError::TimedOut)?;
        }
        Ok(())
    }
}
