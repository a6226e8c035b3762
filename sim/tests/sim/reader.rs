//! A client that writes down every message, and that may cease to read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::BytesMut;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use smilax_core::workload_connection::{
    CONNECT_PATH, OperatorMessage, Policy, ProxyMessage, Subscribe, decode,
};
use smilax_core::{Resource, Revision, TrustDomain, Update, Workload};
use smilax_operator::authority::Subject;
use smilax_proxy::identity::schedule;
use smilax_proxy::operator_connection::channel;
use smilax_proxy::operator_connection::conversation::{Conversation, Event, Facts};
use smilax_proxy::operator_connection::saying::Saying;
use smilax_proxy::tls::{Credentials, OperatorTls, Trust};
use smilax_sim::judge::READER;
use smilax_sim::record::{Heard, Message};
use time::OffsetDateTime;

use crate::cluster::port;
use crate::network::Service;
use crate::policy::{account, operator};
use crate::world::World;

/// Services that it asks for.
pub(crate) const ASKS: [usize; 2] = [0, 1];

const LIFETIME: Duration = Duration::from_hours(1);

/// Runs for ever.
pub(crate) async fn run(world: Arc<World>) -> turmoil::Result {
    let authority = world.authority(false);
    let workload = account(0);
    let subject = Subject {
        trust_domain: &TrustDomain::default(),
        workload: &workload,
        pod_uid: Some(READER),
    };
    let (issued, key) = authority.sign_own(&subject, LIFETIME, OffsetDateTime::now_utc())?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let own = Credentials::new(&key.into(), issued.chain.as_bytes())?;
    let trust = Arc::new(Trust::new(world.bundle(false), TrustDomain::default())?);
    let tls = OperatorTls::new(&trust, Some(&own))?;
    let mut conversation = Conversation::new("0.1.0", READER);
    let mut failures = 0;
    loop {
        let began = tokio::time::Instant::now();
        // It ends with an error always.
        let _why = follow(&world, &tls, &mut conversation).await;
        conversation.step(Event::Lost);
        failures = if began.elapsed() > Duration::from_secs(10) {
            1
        } else {
            failures + 1
        };
        tokio::time::sleep(schedule::pause(failures, fastrand::f64())).await;
    }
}

async fn follow(
    world: &Arc<World>,
    tls: &OperatorTls,
    conversation: &mut Conversation,
) -> anyhow::Result<()> {
    let network = Service(Arc::clone(world));
    let mut sender = channel::open(&operator(), tls, &network).await?;
    let (mut say, body) = Saying::new();
    let request = Request::post(format!("https://operator{CONNECT_PATH}")).body(body)?;
    conversation.step(Event::Facts(facts(world)));
    say.tell(conversation.step(Event::Connected))?;
    let asked: BTreeSet<_> = ASKS
        .into_iter()
        .map(|one| Resource::Endpoints(port(one)))
        .collect();
    say.tell(vec![ProxyMessage::Subscribe(Subscribe {
        add: asked.iter().cloned().collect(),
        ..Subscribe::default()
    })])?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == StatusCode::OK, "refused");
    let number = world.with(|inner| {
        inner.reader.streams += 1;
        inner.reader.streams
    });
    note(world, number, Message::Began(facts(world).revision, asked));
    let mut heard = response.into_body();
    let mut received = BytesMut::new();
    let mut reading = world.reading.subscribe();
    loop {
        let more = async {
            reading.wait_for(|reading| *reading).await?;
            let frame = heard.frame().await.context("the end")??;
            anyhow::Ok(frame.into_data().unwrap_or_default())
        };
        tokio::select! {
            biased;
            () = say.due() => say.say_waiting()?,
            more = more => received.extend_from_slice(&more?),
        }
        while let Some(message) = decode::<OperatorMessage>(&mut received)? {
            say.tell(take(world, number, conversation, message)?)?;
        }
    }
}

fn facts(world: &World) -> Facts {
    world.with(|inner| Facts {
        revision: inner.reader.revision,
        bundle: inner.reader.bundle,
        ..Facts::default()
    })
}

fn take(
    world: &World,
    stream: u64,
    conversation: &mut Conversation,
    message: OperatorMessage,
) -> anyhow::Result<Vec<ProxyMessage>> {
    Ok(match message {
        OperatorMessage::Bundle(bundle) => {
            world.with(|inner| inner.reader.bundle = Some(bundle.generation));
            note(world, stream, Message::Bundle(bundle.generation));
            conversation.step(Event::BundleDecided(facts(world)))
        }
        OperatorMessage::Members(_) => {
            note(world, stream, Message::Members);
            Vec::new()
        }
        OperatorMessage::Locality(_) => {
            note(world, stream, Message::Locality);
            Vec::new()
        }
        OperatorMessage::Policy(Policy::Packed(_)) => anyhow::bail!("none is so long"),
        OperatorMessage::Policy(Policy::Text(text)) => {
            let read: serde_json::Value = serde_json::from_str(&text)?;
            let workload: Workload = serde_json::from_value(read["workload"].clone())?;
            let revision: Revision = serde_json::from_value(read["revision"].clone())?;
            note(world, stream, Message::Policy(workload, revision));
            world.with(|inner| inner.reader.revision = inner.reader.revision.max(Some(revision)));
            conversation.step(Event::PolicyDecided(facts(world)))
        }
        OperatorMessage::Update(update) => {
            note(world, stream, Message::Update(update.resource()));
            if let Update::Endpoints { of, endpoints } = update {
                let service = ASKS
                    .into_iter()
                    .find(|&one| port(one) == of)
                    .context("not asked for")?;
                let endpoints = endpoints.unwrap_or_default();
                let addresses = endpoints.iter().map(|one| one.address.ip().to_string()).collect();
                world.with(|inner| inner.reader.endpoints.insert(service, addresses));
            }
            Vec::new()
        }
    })
}

fn note(world: &World, stream: u64, message: Message) {
    let at = turmoil::sim_elapsed().unwrap_or_default();
    world.with(|inner| inner.record.heard.push(Heard { at, stream, message }));
}
