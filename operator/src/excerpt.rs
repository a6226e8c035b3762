//! Excerpts of objects: of what the API server tells, only what decides something is held.
//!
//! Whoever may create a pod may give it megabytes of environment or annotations, and a list holds many pods. So an answer
//! is cut down on its way, before it is collected and decoded. What an object costs beyond its excerpt is one buffer,
//! whatever its size.

mod shape;
mod transcode;

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tower::{BoxError, service_fn};

pub(crate) use shape::Shape;

/// Parts of an answer on their way, in each direction.
const ON_THE_WAY: usize = 2;
/// Bytes of one part that is told on.
const PART: usize = 16 * 1024;

/// What is kept of each object of a kind.
#[derive(Debug)]
pub(crate) struct Excerpt {
    /// For logs.
    pub(crate) kind: &'static str,
    /// Which part.
    pub(crate) shape: Shape,
    /// What that may take of memory, about. An object that takes more is as one that does not exist.
    pub(crate) bytes: usize,
}

/// What an excerpt leaves of the text of a list.
#[cfg(test)]
pub(crate) fn of_list(excerpt: &Excerpt, list: &[u8]) -> Vec<u8> {
    let mut told = Vec::new();
    transcode::transcode(excerpt, Answers::Collections, list, &mut told).unwrap();
    told
}

type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// What the answers to a client hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// Lists, or events of a watch.
    Collections,
    /// One object each.
    Objects,
}

/// Access to the API server that sees excerpts only. For lists and watches of one kind.
pub(crate) fn client(whole: &Client, excerpt: Arc<Excerpt>) -> Client {
    excerpting(whole, Answers::Collections, excerpt)
}

/// Access to the API server that sees excerpts only. For reads and writes of single objects of one kind: the answer to a
/// write holds everything that somebody else put into the object.
pub(crate) fn of_objects(whole: &Client, excerpt: Excerpt) -> Client {
    excerpting(whole, Answers::Objects, Arc::new(excerpt))
}

fn excerpting(whole: &Client, answers: Answers, excerpt: Arc<Excerpt>) -> Client {
    let inner = whole.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (inner, excerpt) = (inner.clone(), Arc::clone(&excerpt));
        async move {
            let response = inner.send(request).await?;
            let is_success = response.status().is_success();
            let response: Response<Answer> = response.map(|body| {
                if is_success {
                    excerpts(body, answers, excerpt)
                } else {
                    body.map_err(BoxError::from).boxed_unsync()
                }
            });
            Ok::<_, kube::Error>(response)
        }
    });
    Client::new(service, whole.default_namespace())
}

/// The body with the excerpt of each object.
fn excerpts(body: Body, answers: Answers, excerpt: Arc<Excerpt>) -> Answer {
    let (to_reader, from_body) = mpsc::channel(ON_THE_WAY);
    let (to_answer, answer) = mpsc::channel(ON_THE_WAY);
    let broken = Arc::new(Mutex::new(None));
    tokio::spawn(read(body, to_reader, Arc::clone(&broken), to_answer.clone()));
    // JSON is read by asking for more, which waits. Such a thread waits for as long as a watch goes on.
    tokio::task::spawn_blocking(move || {
        let from = BufReader::new(Incoming {
            parts: from_body,
            part: Bytes::new(),
        });
        let to = Outgoing {
            part: Vec::new(),
            to: to_answer.clone(),
        };
        if let Err(error) = transcode::transcode(&excerpt, answers, from, to) {
            let error = broken.lock().take().unwrap_or_else(|| Box::new(error));
            // Nobody may be left to be told.
            to_answer.blocking_send(Err(error)).ok();
        }
    });
    let frames = stream::unfold(
        answer,
        async |mut answer: mpsc::Receiver<Result<Bytes, BoxError>>| {
            let part = answer.recv().await?;
            Some((part.map(Frame::data), answer))
        },
    );
    StreamBody::new(frames).boxed_unsync()
}

/// Hands a body on, until it ends or nobody wants the answer any more.
async fn read(
    mut body: Body,
    to: mpsc::Sender<Option<Bytes>>,
    broken: Arc<Mutex<Option<BoxError>>>,
    answer: mpsc::Sender<Result<Bytes, BoxError>>,
) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = answer.closed() => return,
        };
        let part = match frame {
            None => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(part) => Some(part),
                Err(_) => continue,
            },
            Some(Err(error)) => {
                *broken.lock() = Some(error.into());
                None
            }
        };
        let is_last = part.is_none();
        if to.send(part).await.is_err() || is_last {
            return;
        }
    }
}

/// Parts of a body; `None` where it broke off.
struct Incoming {
    parts: mpsc::Receiver<Option<Bytes>>,
    part: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                None => return Ok(0),
                Some(Some(part)) => self.part = part,
                Some(None) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Parts of an answer, which are gathered until they are large enough or flushed.
struct Outgoing {
    part: Vec<u8>,
    to: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        if part.is_empty() {
            return Ok(());
        }
        let sent = self.to.blocking_send(Ok(part.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests;
