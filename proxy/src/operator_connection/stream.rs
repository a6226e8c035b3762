//! Stays connected to the operator: tells it what is in force and what is used, and takes bundles, members,
//! configurations and endpoints from it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use smilax_core::workload_connection::{
    CONNECT_PATH, MOST_FRAME_BYTES, OperatorEndpoint, OperatorMessage, ProxyMessage, Subscribe, decode,
};
use smilax_core::{Resource, Update};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::certificate::accepted;
use super::channel::{self, OperatorError};
use super::connect::Connect;
use super::conversation::{Conversation, Event};
use super::interest;
use super::saying::Saying;
use crate::addresses::Behind;
use crate::control::{Control, reload};
use crate::identity::schedule;
use crate::tls::{Credentials, OperatorTls, Trust};

/// How long the operator may take to accept the stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a renewal the new certificate is used within this time; proxies that renew together come back one by one.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Messages of workers that are heard together at most.
const MOST_USES: usize = 1024;
/// How often it is looked whether what is asked for is still used.
const LOOK_FOR_UNUSED: Duration = Duration::from_secs(15);

/// What goes over one connection after the other.
struct Dialogue {
    control: Arc<Control>,
    conversation: Conversation,
    wanted: Receiver<Vec<Resource>>,
    ticks: Interval,
    /// What was said of addresses, and is not in force yet.
    answers: Vec<(SocketAddr, Option<Behind>)>,
    /// Number of the stream that is open, or will be next.
    stream: u64,
}

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
///
/// Where several things happen at once they are taken in a fixed order, here and below, so that a simulated run can be
/// repeated. None of them happens so often that another would wait for long.
pub async fn stay_connected(control: Arc<Control>, network: impl Connect) {
    let Some(wanted) = control.shared.wanted.listen() else {
        return;
    };
    let pod = &control.shared.settings.pod;
    let mut dialogue = Dialogue {
        conversation: Conversation::new(env!("CARGO_PKG_VERSION"), &pod.name).on_node(pod.node.as_deref()),
        wanted,
        ticks: interval(LOOK_FOR_UNUSED),
        answers: Vec::new(),
        stream: 1,
        control,
    };
    dialogue.ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let control = Arc::clone(&dialogue.control);
    let mut failures = 0;
    loop {
        let mut changes = control.shared.changes.watch();
        let Some(means) = means(&control) else {
            if dialogue.wait(changes.changed()).await.is_err() {
                return;
            }
            continue;
        };
        let began = Instant::now();
        let parted = connect(&mut dialogue, &means, &network).await;
        dialogue.lost();
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
                let pause = schedule::pause(failures, fastrand::f64());
                dialogue.wait(tokio::time::sleep(pause)).await;
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
    dialogue: &mut Dialogue,
    means: &Means,
    network: &impl Connect,
) -> Result<Parted, OperatorError> {
    let control = Arc::clone(&dialogue.control);
    let tls = OperatorTls::new(&means.trust, Some(&means.own))?;
    let mut sender = channel::open(&means.endpoint, &tls, network).await?;
    let (mut say, body) = Saying::new();
    let request = Request::post(format!(
        "https://{}{CONNECT_PATH}",
        means.endpoint.workload.account
    ))
    .body(body)
    .map_err(|error| OperatorError::Answer(error.to_string()))?;
    let mut changes = control.shared.changes.watch();
    dialogue.conversation.step(Event::Facts(control.facts()));
    say.tell(dialogue.conversation.step(Event::Connected))?;
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .map_err(|_| OperatorError::TimedOut)??;
    let mut heard = accepted(response).await?.into_body();
    control.shared.metrics.identity.connected.set(1);
    tracing::info!("connected to the operator");
    dialogue.follow(interest::Event::Connected, &mut say)?;
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
            biased;
            () = leaving => return Ok(Parted::ForAnother),
            news = changes.changed() => {
                if news.is_err() {
                    return Ok(Parted::ForAnother);
                }
                say.tell(dialogue.conversation.step(Event::Facts(control.facts())))?;
                if leave.is_none() && is_outdated(&control, means) {
                    leave = Some(Instant::now() + RECONNECT_WITHIN.mul_f64(fastrand::f64()));
                }
            }
            used = hear_uses(&mut dialogue.wanted) => dialogue.follow(interest::Event::Used(used), &mut say)?,
            _ = dialogue.ticks.tick() => dialogue.follow(interest::Event::Tick, &mut say)?,
            () = say.due() => say.say_waiting()?,
            more = hear(&mut heard, &mut received) => {
                more?;
                while let Some(message) = decode(&mut received)? {
                    dialogue.take(&mut say, message)?;
                }
                // Together, as each time everything is lowered anew.
                reload::take_answers(&control, std::mem::take(&mut dialogue.answers));
            }
        }
    }
}

fn is_outdated(control: &Control, used: &Means) -> bool {
    self::means(control).is_none_or(|now| !Arc::ptr_eq(&now.own, &used.own) || now.endpoint != used.endpoint)
}

/// What workers say that they use: all of it that waits, so that it is passed on together.
async fn hear_uses(wanted: &mut Receiver<Vec<Resource>>) -> Vec<Resource> {
    let mut heard = Vec::new();
    if wanted.recv_many(&mut heard, MOST_USES).await == 0 {
        // Nobody is left who could say anything.
        std::future::pending::<()>().await;
    }
    heard.into_iter().flatten().collect()
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

impl Dialogue {
    /// Waits for something while there is no stream.
    async fn wait<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = pin!(event);
        loop {
            let happened = tokio::select! {
                biased;
                output = &mut event => return output,
                used = hear_uses(&mut self.wanted) => interest::Event::Used(used),
                _ = self.ticks.tick() => interest::Event::Tick,
            };
            self.step(happened);
        }
    }

    fn take(&mut self, say: &mut Saying, message: OperatorMessage) -> Result<(), OperatorError> {
        let control = &self.control;
        match message {
            OperatorMessage::Bundle(bundle) => {
                control.offer_bundle(bundle, "the operator");
                say.tell(self.conversation.step(Event::BundleDecided(control.facts())))
            }
            OperatorMessage::Members(members) => {
                control.take_members(members);
                Ok(())
            }
            OperatorMessage::Policy(policy) => {
                reload::take_policy(control, policy);
                say.tell(self.conversation.step(Event::PolicyDecided(control.facts())))
            }
            OperatorMessage::Locality(locality) => {
                control.shared.endpoints.prefer(locality.zone);
                Ok(())
            }
            OperatorMessage::Update(update) => {
                // It may have been on its way when it was asked for no longer.
                if self.control.interest.lock().contains(&update.resource()) {
                    self.update(update);
                }
                Ok(())
            }
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Endpoints { of, endpoints } => {
                self.control.shared.endpoints.tell(self.stream, of, endpoints);
                self.measure();
            }
            Update::Address { of, found } => self.answers.push((of, Some(found.into()))),
        }
    }

    /// Follows what is used, and says so.
    fn follow(&mut self, event: interest::Event, say: &mut Saying) -> Result<(), OperatorError> {
        let subscribe = self.step(event).into_iter();
        say.tell(subscribe.map(ProxyMessage::Subscribe).collect())
    }

    fn step(&mut self, event: interest::Event) -> Vec<Subscribe> {
        let control = &self.control;
        let change = control.interest.lock().step(event, control.started.elapsed());
        let mut ports = Vec::new();
        let mut addresses = Vec::new();
        for resource in change.forget {
            match resource {
                Resource::Endpoints(of) => ports.push(of),
                Resource::Address(address) => addresses.push((address, None)),
            }
        }
        control.shared.endpoints.forget(&ports);
        reload::take_answers(control, addresses);
        self.measure();
        change.say
    }

    fn measure(&self) {
        let metrics = &self.control.shared.metrics.endpoints;
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.known.set(number(self.control.shared.endpoints.count()));
        metrics
            .subscriptions
            .set(number(self.control.interest.lock().count()));
    }

    /// The stream is gone. What it told of endpoints is used for a while; pods that are gone by then would be worse than
    /// what kube-proxy knows.
    fn lost(&mut self) {
        self.conversation.step(Event::Lost);
        self.step(interest::Event::Lost);
        self.control.shared.metrics.identity.connected.set(0);
        let (shared, stream) = (Arc::clone(&self.control.shared), self.stream);
        self.stream += 1;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(shared.settings.limits.endpoints).await;
            shared.endpoints.forget_stream(stream);
            let known = i64::try_from(shared.endpoints.count()).unwrap_or(i64::MAX);
            shared.metrics.endpoints.known.set(known);
        });
    }
}
