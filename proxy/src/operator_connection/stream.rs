//! Stays connected to the operator: tells it what is in force, and takes bundles, members and configurations from it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::channel::mpsc;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use smilax_core::workload_connection::{
    CONNECT_PATH, MOST_FRAME_BYTES, OperatorEndpoint, OperatorMessage, ProxyMessage, decode, encode,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::certificate::accepted;
use super::channel::{self, OperatorError};
use super::conversation::{Conversation, Event};
use crate::control::{Control, reload};
use crate::identity::schedule;
use crate::tls::{Credentials, OperatorTls, Trust};

/// How long the operator may take to accept the stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that wait to be sent at most. An operator that takes none of them is as good as gone.
const MOST_WAITING: usize = 64;
/// After a renewal the new certificate is used within this time; proxies that renew together come back one by one.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What a connection is made with.
struct Means {
    endpoint: OperatorEndpoint,
    trust: Arc<Trust>,
    own: Arc<Credentials>,
}

/// Why a connection that worked was given up.
enum Parted {
    /// There is a newer certificate, or the operator moved.
    ForAnother,
}

/// Keeps a connection for as long as this runs.
pub async fn stay_connected(control: Arc<Control>) {
    let mut conversation = Conversation::new(env!("CARGO_PKG_VERSION"), &control.shared.settings.pod.name);
    let mut failures = 0;
    loop {
        let mut changes = control.shared.changes.watch();
        let Some(means) = means(&control) else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let began = Instant::now();
        let parted = connect(&control, &means, &mut conversation).await;
        conversation.step(Event::Lost);
        control.shared.metrics.identity.connected.set(0);
        match parted {
            Ok(Parted::ForAnother) => failures = 0,
            Err(error) => {
                // A connection that held for a while was a good one.
                failures = if began.elapsed() > RECONNECT_WITHIN {
                    1
                } else {
                    failures + 1
                };
                if failures == 1 {
                    tracing::warn!(%error, "not connected to the operator; what is in force stays so");
                } else {
                    tracing::debug!(%error, failures, "not connected to the operator");
                }
                tokio::time::sleep(schedule::pause(failures, fastrand::f64())).await;
            }
        }
    }
}

/// Everything that a connection needs, once there is all of it.
fn means(control: &Control) -> Option<Means> {
    let endpoint = control.source.lock().applied()?.operator.clone()?;
    let keyring = control.keyring.lock();
    Some(Means {
        endpoint,
        trust: Arc::clone(keyring.trust()?),
        own: Arc::clone(keyring.own()?),
    })
}

async fn connect(
    control: &Arc<Control>,
    means: &Means,
    conversation: &mut Conversation,
) -> Result<Parted, OperatorError> {
    let tls = OperatorTls::new(&means.trust, Some(&means.own))?;
    let mut sender = channel::open(&means.endpoint, &tls).await?;
    let (mut say, said) = mpsc::channel::<Bytes>(MOST_WAITING);
    let body = StreamBody::new(said.map(|frame| Ok::<_, std::convert::Infallible>(Frame::data(frame))));
    let request = Request::post(format!(
        "https://{}{CONNECT_PATH}",
        means.endpoint.workload.account
    ))
    .body(body)
    .map_err(|error| OperatorError::Answer(error.to_string()))?;
    let mut changes = control.shared.changes.watch();
    conversation.step(Event::Facts(control.facts()));
    tell(&mut say, conversation.step(Event::Connected))?;
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .map_err(|_| OperatorError::TimedOut)??;
    let mut heard = accepted(response).await?.into_body();
    control.shared.metrics.identity.connected.set(1);
    tracing::info!("connected to the operator");
    let mut received = BytesMut::new();
    let mut leave: Option<Instant> = None;
    loop {
        let leaving = async {
            match leave {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            more = hear(&mut heard, &mut received) => {
                more?;
                while let Some(message) = decode(&mut received)? {
                    take(control, conversation, &mut say, message)?;
                }
            }
            news = changes.changed() => {
                if news.is_err() {
                    return Ok(Parted::ForAnother);
                }
                tell(&mut say, conversation.step(Event::Facts(control.facts())))?;
                if leave.is_none() && is_outdated(control, means) {
                    leave = Some(Instant::now() + RECONNECT_WITHIN.mul_f64(fastrand::f64()));
                }
            }
            () = leaving => return Ok(Parted::ForAnother),
        }
    }
}

fn is_outdated(control: &Control, used: &Means) -> bool {
    self::means(control).is_none_or(|now| !Arc::ptr_eq(&now.own, &used.own) || now.endpoint != used.endpoint)
}

/// Waits for more of what the operator says.
async fn hear(heard: &mut Incoming, received: &mut BytesMut) -> Result<(), OperatorError> {
    let frame = heard.frame().await.ok_or(OperatorError::Ended)??;
    if let Ok(data) = frame.into_data() {
        // `decode` refuses what is longer before as much has been kept.
        debug_assert!(received.len() <= MOST_FRAME_BYTES + 4);
        received.extend_from_slice(&data);
    }
    Ok(())
}

fn take(
    control: &Control,
    conversation: &mut Conversation,
    say: &mut mpsc::Sender<Bytes>,
    message: OperatorMessage,
) -> Result<(), OperatorError> {
    match message {
        OperatorMessage::Bundle(bundle) => {
            control.offer_bundle(bundle, "the operator");
            tell(say, conversation.step(Event::BundleDecided(control.facts())))
        }
        OperatorMessage::Members(members) => {
            control.take_members(members);
            Ok(())
        }
        OperatorMessage::Policy(policy) => {
            reload::take_policy(control, policy);
            tell(say, conversation.step(Event::PolicyDecided(control.facts())))
        }
        OperatorMessage::Update(_) => Ok(()),
    }
}

fn tell(say: &mut mpsc::Sender<Bytes>, messages: Vec<ProxyMessage>) -> Result<(), OperatorError> {
    for message in messages {
        say.try_send(encode(&message)?)
            .map_err(|_| OperatorError::TimedOut)?;
    }
    Ok(())
}
