//! `/v1/connect`: the stream of one proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use serde::de::DeserializeOwned;
use smilax_core::Workload;
use smilax_core::workload_connection::{self as wire, Outcome, ProxyMessage, Subject};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fleet::{FleetStore, Report, said};
use super::publish::Connection;
use super::route::{Answer, Server};

/// The first message must come within this time.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// The side of a stream that tells.
struct Telling {
    connection: Arc<Connection>,
    ended: CancellationToken,
    /// Ends the reading side when nobody reads here any more.
    _guard: DropGuard,
}

impl Server {
    /// Everything that the proxy follows, at once and whenever it changes. Nothing is queued: what a slow proxy has not
    /// read is replaced by what is newer.
    pub(super) fn connect<B>(
        &self,
        workload: &Workload,
        uid: &str,
        body: B,
        closing: &CancellationToken,
    ) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let ended = closing.child_token();
        let connection = Arc::new(Connection::new(Arc::clone(&self.hub), workload.clone()));
        let telling = Telling {
            connection: Arc::clone(&connection),
            ended: ended.clone(),
            _guard: ended.clone().drop_guard(),
        };
        let listening = Listening {
            fleet: Arc::clone(&self.fleet),
            connection,
            workload: workload.clone(),
            uid: uid.into(),
            connected: self.metrics.connected.clone(),
            rejected: self.metrics.rejected.clone(),
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = listening.listen(body) => {}
            }
            ended.cancel();
        });
        let frames = stream::unfold(telling, |telling| async move {
            let frame = telling.frame().await?;
            Some((Ok::<_, Infallible>(Frame::data(frame)), telling))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl Telling {
    async fn frame(&self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => None,
            frame = self.connection.frame() => Some(frame),
        }
    }
}

struct Listening {
    fleet: Arc<FleetStore>,
    connection: Arc<Connection>,
    workload: Workload,
    uid: Box<str>,
    connected: prometheus::IntGauge,
    rejected: prometheus::IntCounterVec,
}

impl Listening {
    async fn listen<B>(self, body: B)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut messages = Messages::new(body, wire::MOST_PROXY_FRAME_BYTES);
        let Ok(Some(ProxyMessage::Hello(hello))) = timeout(HELLO_TIME, messages.next()).await else {
            tracing::debug!(workload = %self.workload, "a proxy's stream began without a Hello");
            return;
        };
        self.connection.hello(&hello);
        let report = Report::new(self.workload.clone(), hello, self.fleet.now());
        tracing::debug!(workload = %self.workload, pod = report.pod, "proxy connected");
        let place = self.fleet.begin(&self.uid, report);
        let _counted = Counted::new(&self.connected);
        loop {
            let message = tokio::select! {
                biased;
                () = place.superseded.cancelled() => break,
                message = messages.next() => message,
            };
            match message {
                Some(ProxyMessage::Subscribe(subscribe)) => self.connection.subscribe(subscribe),
                Some(message) => {
                    self.report(&message);
                    place.take(message);
                }
                None => break,
            }
        }
    }

    fn report(&self, message: &ProxyMessage) {
        let ProxyMessage::Ack(ack) = message else { return };
        let Outcome::Rejected { path, reason } = &ack.outcome else {
            return;
        };
        let subject = match ack.subject {
            Subject::Revision(_) => "revision",
            Subject::Bundle(_) => "bundle",
        };
        self.rejected.with_label_values(&[subject]).inc();
        tracing::warn!(
            workload = %self.workload, pod_uid = &*self.uid, subject = ?ack.subject,
            path = said(path), reason = said(reason),
            "a proxy does not take what it was given"
        );
    }
}

/// One of those that are counted, until it is dropped: streams end in more than one way.
pub(super) struct Counted<'a>(&'a prometheus::IntGauge);

impl<'a> Counted<'a> {
    pub(super) fn new(gauge: &'a prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Messages out of a body.
pub(super) struct Messages<B> {
    body: B,
    received: BytesMut,
    most: usize,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    pub(super) fn new(body: B, most: usize) -> Self {
        Self {
            body,
            received: BytesMut::new(),
            most,
        }
    }

    /// The next message; `None` at the end, and when the stream cannot be read on. Safe to be dropped and called again.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            let announced = self.received.first_chunk::<4>().copied().map(u32::from_be_bytes);
            if announced.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > self.most))
            {
                tracing::debug!(announced, "a message is too large");
                return None;
            }
            match wire::decode(&mut self.received) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "a stream cannot be read on");
                    return None;
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.received.extend_from_slice(&data);
            }
        }
    }
}
