//! A watch as it is told: line by line.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::apifault::{End, LATEST, OutBody, Shared, status};
use crate::call::Call;
use crate::fault::{EXPIRED, LineAction};

type Sender = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// Passes a watch on until it ends or is ended.
pub(crate) fn follow(shared: Arc<Shared>, watch: Call, content: Body) -> OutBody {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut told = sender.clone();
        // Whoever asked may be gone; then there is nobody to tell.
        if let Err(Ended::By(end)) = pass(&shared, &watch, content, sender).await {
            if end == End::Expired {
                let line = json!({"type": "ERROR", "object": status(EXPIRED)}).to_string() + "\n";
                told.send(Ok(Frame::data(line.into()))).await.ok();
            } else {
                told.send(Err(std::io::Error::other("cut"))).await.ok();
            }
        }
    });
    BodyExt::boxed(StreamBody::new(receiver))
}

enum Ended {
    By(End),
    NobodyThere,
}

impl From<mpsc::SendError> for Ended {
    fn from(_: mpsc::SendError) -> Self {
        Self::NobodyThere
    }
}

async fn tell(sender: &mut Sender, line: Bytes) -> Result<(), Ended> {
    Ok(sender.send(Ok(Frame::data(line))).await?)
}

async fn pass(shared: &Shared, watch: &Call, content: Body, mut sender: Sender) -> Result<(), Ended> {
    let mut ends = shared.ends.subscribe();
    let mut content = content.into_data_stream();
    let mut buffer = BytesMut::new();
    let mut later: Option<(Bytes, Instant)> = None;
    loop {
        let due = later
            .as_ref()
            .map_or_else(|| Instant::now() + LATEST, |(_, due)| *due);
        tokio::select! {
            changed = ends.changed() => {
                let end = ends.borrow_and_update().1;
                return changed.map_or(Ok(()), |()| Err(Ended::By(end)));
            }
            () = sleep_until(due) => {
                if let Some((line, _)) = later.take() {
                    tell(&mut sender, line).await?;
                }
            }
            chunk = content.next() => match chunk {
                Some(Ok(chunk)) => buffer.extend_from_slice(&chunk),
                Some(Err(_)) => return Err(Ended::By(End::Cut)),
                None => {
                    if let Some((line, _)) = later.take() {
                        tell(&mut sender, line).await?;
                    }
                    return Ok(());
                }
            },
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            let action = match event["type"].as_str() {
                Some("ADDED" | "MODIFIED" | "DELETED") => shared.plan.lock().line(watch, &event),
                Some("ERROR") => {
                    shared.plan.lock().error(watch, &event);
                    LineAction::Pass
                }
                _ => LineAction::Pass,
            };
            match action {
                LineAction::Pass => tell(&mut sender, line).await?,
                LineAction::Twice => {
                    tell(&mut sender, line.clone()).await?;
                    tell(&mut sender, line).await?;
                }
                LineAction::Later(time) => {
                    if let Some((waiting, _)) = later.replace((line, Instant::now() + time)) {
                        tell(&mut sender, waiting).await?;
                    }
                    continue;
                }
                LineAction::Cut => {
                    tell(&mut sender, line.slice(..line.len() / 2)).await?;
                    return Err(Ended::By(End::Cut));
                }
                LineAction::Expire => return Err(Ended::By(End::Expired)),
            }
            if let Some((waiting, _)) = later.take() {
                tell(&mut sender, waiting).await?;
            }
        }
    }
}
