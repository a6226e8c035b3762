//! Clients that are proxies as far as the operator can tell.
//!
//! A client runs the proxy's own connecting, conversation and subscriptions, with a certificate of its own, and
//! acknowledges what it receives. What it leaves out is what a proxy does with a policy: it is read once for all clients
//! that are sent the same bytes, and lowered by none. All of them live on one thread.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use smilax_core::workload_connection::{
    CONNECT_PATH, OperatorEndpoint, OperatorMessage, Policy, ProxyMessage, decode,
};
use smilax_core::{Resource, Revision, Update};
use smilax_proxy::identity::schedule;
use smilax_proxy::operator_connection::channel;
use smilax_proxy::operator_connection::connect::Tcp;
use smilax_proxy::operator_connection::conversation::{Conversation, Event, Facts};
use smilax_proxy::operator_connection::interest::{self, Interest};
use smilax_proxy::operator_connection::saying::Saying;
use smilax_proxy::tls::{Credentials, OperatorTls, Trust};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::board::{Board, Expected};

const PATIENCE: Duration = Duration::from_secs(10);

/// Who a client is.
pub struct Client {
    /// Its place on the board.
    pub number: usize,
    /// Name of its pod.
    pub pod: String,
    /// Key and certificate.
    pub credentials: Credentials,
    /// Where it reaches the operator. Its own address follows from it: on loopback, who calls an address has it too.
    pub operator: OperatorEndpoint,
    /// What it uses.
    pub uses: Vec<Resource>,
}

/// What all clients share.
pub struct Fleet {
    /// What they heard.
    pub board: Arc<Board>,
    /// Whom they trust.
    pub trust: Arc<Trust>,
    /// All of them leave, and come back at once, when this changes.
    pub cut: watch::Receiver<u64>,
}

/// Runs clients until the process ends.
///
/// # Errors
/// When there is no runtime.
pub fn run(clients: Vec<Client>, fleet: Fleet) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let fleet = Rc::new(fleet);
    let readings = Rc::new(RefCell::new(Readings::default()));
    for client in clients {
        local.spawn_local(stay(client, Rc::clone(&fleet), Rc::clone(&readings)));
    }
    runtime.block_on(local);
    Ok(())
}

/// What one client has, over one stream after the other.
struct Standing {
    client: Client,
    conversation: Conversation,
    interest: Interest,
    facts: Facts,
    /// What was asked for on this stream and not told yet.
    missing: BTreeSet<Resource>,
}

async fn stay(client: Client, fleet: Rc<Fleet>, readings: Rc<RefCell<Readings>>) {
    let facts = Facts {
        certificate: Some(client.credentials.info(&fleet.trust)),
        bundle: Some(fleet.trust.bundle.generation),
        ..Facts::default()
    };
    let mut standing = Standing {
        conversation: Conversation::new(env!("CARGO_PKG_VERSION"), &client.pod),
        interest: Interest::default(),
        missing: BTreeSet::new(),
        facts,
        client,
    };
    let uses = interest::Event::Used(standing.client.uses.clone());
    standing.interest.step(uses, Duration::ZERO);
    let mut failures = 0;
    loop {
        let mut cut = fleet.cut.clone();
        cut.mark_unchanged();
        let ended = tokio::select! {
            ended = connect(&mut standing, &fleet, &readings) => ended.err(),
            _ = cut.changed() => None,
        };
        standing.conversation.step(Event::Lost);
        standing.interest.step(interest::Event::Lost, Duration::ZERO);
        let why = ended.as_ref().map_or_else(|| "cut".to_owned(), reason);
        fleet.board.lost(standing.client.number, why);
        failures = if ended.is_some() { failures + 1 } else { 0 };
        if failures > 0 {
            tokio::time::sleep(schedule::pause(failures.min(4), fastrand::f64())).await;
        }
    }
}

/// One word of few, as in the proxy's metrics.
fn reason(error: &anyhow::Error) -> String {
    let known = error.downcast_ref::<channel::OperatorError>();
    known.map_or("broken", channel::OperatorError::reason).to_owned()
}

async fn connect(standing: &mut Standing, fleet: &Fleet, readings: &RefCell<Readings>) -> anyhow::Result<()> {
    let tls = OperatorTls::new(&fleet.trust, Some(&standing.client.credentials))?;
    let operator = &standing.client.operator;
    let mut sender = channel::open(operator, &tls, &Tcp).await?;
    let (mut say, body) = Saying::new();
    let request = Request::post(format!("https://{}{CONNECT_PATH}", operator.workload.account)).body(body)?;
    standing.conversation.step(Event::Facts(standing.facts.clone()));
    say.tell(standing.conversation.step(Event::Connected))?;
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .context("the operator did not take the stream in time")??;
    ensure!(
        response.status() == StatusCode::OK,
        "refused with {}",
        response.status()
    );
    let mut heard = response.into_body();
    standing.missing = standing.client.uses.iter().cloned().collect();
    let subscribe = standing
        .interest
        .step(interest::Event::Connected, Duration::ZERO)
        .say;
    say.tell(subscribe.into_iter().map(ProxyMessage::Subscribe).collect())?;
    let mut received = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = heard.frame() => frame.context("the operator ended the stream")??,
            () = say.due() => {
                say.say_waiting()?;
                continue;
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        received.extend_from_slice(&data);
        while let Some(frame) = take(&mut received) {
            let reading = readings.borrow_mut().read(frame, &fleet.board)?;
            say.tell(standing.hear(&reading, fleet))?;
        }
    }
}

impl Standing {
    fn hear(&mut self, reading: &Reading, fleet: &Fleet) -> Vec<ProxyMessage> {
        let board = &fleet.board;
        board.heard(
            self.client.number,
            reading.content.kind(),
            reading.frame.len() + 4,
            reading.met,
        );
        let say = match &reading.content {
            Content::Bundle(generation) => {
                self.facts.bundle = Some(*generation);
                self.conversation.step(Event::BundleDecided(self.facts.clone()))
            }
            Content::Policy(revision) => {
                self.facts.revision = self.facts.revision.max(Some(*revision));
                self.conversation.step(Event::PolicyDecided(self.facts.clone()))
            }
            Content::Update(resource) => {
                self.missing.remove(resource);
                Vec::new()
            }
            Content::Members | Content::Locality => Vec::new(),
        };
        if self.missing.is_empty() && self.facts.revision.is_some() {
            board.synced(self.client.number);
        }
        say
    }
}

/// The next frame without its length, once there is all of it.
fn take(received: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(u32::from_be_bytes(*received.first_chunk::<4>()?)).ok()?;
    if received.len() < 4 + length {
        return None;
    }
    received.advance(4);
    Some(received.split_to(length).freeze())
}

/// A frame that was read.
struct Reading {
    frame: Bytes,
    content: Content,
    /// The number of the expectation that was looked for in it.
    read_for: Option<u64>,
    /// The same, when it is met.
    met: Option<u64>,
}

enum Content {
    Bundle(u64),
    Members,
    Locality,
    Policy(Revision),
    Update(Resource),
}

impl Content {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "bundle",
            Self::Members => "members",
            Self::Locality => "locality",
            Self::Policy(_) => "policy",
            Self::Update(_) => "endpoints",
        }
    }
}

/// The frames read last, so that the same bytes are read once.
#[derive(Default)]
struct Readings(HashMap<Bytes, Rc<Reading>>);

/// Frames that are remembered at most.
const MOST_READINGS: usize = 4096;

impl Readings {
    fn read(&mut self, frame: Bytes, board: &Board) -> anyhow::Result<Rc<Reading>> {
        let expected = board.expected();
        let number = expected.as_ref().map(|(number, _)| *number);
        if let Some(known) = self.0.get(&frame)
            && known.read_for == number
        {
            return Ok(Rc::clone(known));
        }
        let mut whole = BytesMut::with_capacity(frame.len() + 4);
        whole.extend_from_slice(&u32::try_from(frame.len())?.to_be_bytes());
        whole.extend_from_slice(&frame);
        let message: OperatorMessage = decode(&mut whole)?.context("a message of no known kind")?;
        let mut met = false;
        let content = match message {
            OperatorMessage::Bundle(bundle) => Content::Bundle(bundle.generation),
            OperatorMessage::Members(_) => Content::Members,
            OperatorMessage::Locality(_) => Content::Locality,
            OperatorMessage::Policy(Policy::Text(text)) => {
                if let Some((_, Expected::Policy(part))) = &expected {
                    met = text.contains(part);
                }
                Content::Policy(smilax_core::decode(text.as_bytes())?.revision)
            }
            OperatorMessage::Policy(Policy::Packed(_)) => anyhow::bail!("a packed policy is not expected"),
            OperatorMessage::Update(update) => {
                met = expected
                    .as_ref()
                    .is_some_and(|(_, expected)| is_met(expected, &update));
                Content::Update(update.resource())
            }
        };
        if self.0.len() >= MOST_READINGS {
            self.0.clear();
        }
        let reading = Rc::new(Reading {
            frame: frame.clone(),
            content,
            read_for: number,
            met: number.filter(|_| met),
        });
        self.0.insert(frame, Rc::clone(&reading));
        Ok(reading)
    }
}

fn is_met(expected: &Expected, update: &Update) -> bool {
    let Update::Endpoints {
        of,
        endpoints: Some(endpoints),
    } = update
    else {
        return false;
    };
    let has = |address: &SocketAddr| endpoints.iter().any(|one| one.address == *address);
    match expected {
        Expected::EndpointThere(port, address) => port == of && has(address),
        Expected::EndpointGone(port, address) => port == of && !has(address),
        Expected::Policy(_) => false,
    }
}
