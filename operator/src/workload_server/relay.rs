//! What one replica heard, told to the one that leads: acknowledgements decide about the next step of a rotation.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use rustls_pki_types::ServerName;
use smilax_core::workload_connection::{self as wire, FrameError, MOST_FRAME_BYTES};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::connect::{Counted, Messages};
use super::fleet::{Fleet, FleetStore, Report, Seen};
use super::metrics::WorkloadMetrics;
use super::route::{Answer, Server, refusal, whole};
use super::tls::Contexts;
use super::transport::Connect;
use crate::call::{CallError, call};
use crate::lease::{self, Leadership};

/// Path of the stream between replicas.
pub(super) const FLEET_PATH: &str = "/v1/fleet";
/// How long changes are gathered.
const SETTLE: Duration = Duration::from_millis(150);
/// Reports in one message at most.
const REPORTS: usize = 1000;
const AGAIN: Duration = Duration::from_secs(3);
/// How often it is looked who leads.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

impl Server {
    /// Takes in what another replica tells, until it ends.
    pub(super) async fn take_fleet<B>(&self, body: B, closing: CancellationToken) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut messages = Messages::new(body, MOST_FRAME_BYTES);
        loop {
            let heard: Option<Fleet> = tokio::select! {
                biased;
                () = closing.cancelled() => None,
                heard = messages.next() => heard,
            };
            match heard {
                Some(fleet) => self.fleet.merge(fleet),
                None if closing.is_cancelled() => {
                    return refusal(StatusCode::SERVICE_UNAVAILABLE, "this replica ends");
                }
                None => return whole(StatusCode::OK, "text/plain", ""),
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("nobody leads")]
    NoLeader,
    #[error("pod {0}, which leads, has no address")]
    NoAddress(String),
    #[error("there is no authority yet")]
    NoAuthority,
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no connection within {} s", CONNECT_TIME.as_secs())]
    Time,
}

/// Tells the leader what this replica hears while another one leads, for ever.
pub async fn relay(
    client: Client,
    (namespace, port): (String, u16),
    contexts: Contexts,
    (fleet, metrics): (Arc<FleetStore>, WorkloadMetrics),
    mut leadership: watch::Receiver<Leadership>,
    network: impl Connect,
) {
    let mut failing = false;
    loop {
        let leads = *leadership.borrow_and_update() != Leadership::Follower;
        if leads {
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        }
        let told = async {
            let address = leader(&client, &namespace, port).await?;
            tokio::select! {
                biased;
                told = tell(address, &network, &contexts, &fleet, &metrics) => told,
                () = until_another_leads(&client, (&namespace, port), address) => Ok(()),
            }
        };
        tokio::select! {
            biased;
            told = told => {
                match told {
                    Ok(()) => failing = false,
                    Err(error) if failing => tracing::debug!(%error, "the leader is still not told"),
                    Err(error) => {
                        failing = true;
                        tracing::info!(%error, "the leader is not told what this replica hears; it is tried again");
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
            changed = leadership.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}

/// Where the replica that leads is reached.
async fn leader(client: &Client, namespace: &str, port: u16) -> Result<SocketAddr, RelayError> {
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let lease = call("get Lease", lease::NAME, leases.get(lease::NAME)).await?;
    let holder = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    // The pod's name, and what tells its lives apart.
    let (pod, _) = holder.rsplit_once('_').ok_or(RelayError::NoLeader)?;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let found = call("get pod", pod, pods.get(pod)).await?;
    let address = found.status.and_then(|status| status.pod_ip?.parse().ok());
    let address = address.ok_or_else(|| RelayError::NoAddress(pod.to_owned()))?;
    Ok(SocketAddr::new(address, port))
}

/// Ends when the leader is no longer at this address.
async fn until_another_leads(client: &Client, (namespace, port): (&str, u16), address: SocketAddr) {
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        if leader(client, namespace, port)
            .await
            .is_ok_and(|now| now != address)
        {
            return;
        }
    }
}

/// Tells everything at once, then what changes: of each proxy the newest only.
async fn tell(
    address: SocketAddr,
    network: &impl Connect,
    contexts: &Contexts,
    fleet: &Arc<FleetStore>,
    metrics: &WorkloadMetrics,
) -> Result<(), RelayError> {
    let context = contexts.borrow().clone().ok_or(RelayError::NoAuthority)?;
    let connect = async {
        let stream = network.connect(address).await?;
        let connector = TlsConnector::from(Arc::clone(&context.client));
        let name = ServerName::IpAddress(address.ip().into());
        let stream = connector.connect(name, stream).await?;
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok::<_, RelayError>(connection)
    };
    let (mut sender, connection) = timeout(CONNECT_TIME, connect)
        .await
        .map_err(|_| RelayError::Time)??;
    let mut changes = fleet.changes();
    changes.mark_changed();
    let telling = Telling {
        fleet: Arc::clone(fleet),
        changes,
        seen: Seen::default(),
        waiting: VecDeque::new(),
    };
    let frames = stream::unfold(telling, |mut telling| async move {
        let frame = telling.frame().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(frame)), telling))
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{address}{FLEET_PATH}"))
        .body(StreamBody::new(frames).boxed_unsync());
    let Ok(request) = request else {
        return Err(RelayError::NoLeader);
    };
    let _counted = Counted::new(&metrics.relayed);
    // The answer comes when the leader ends; until then the connection carries on.
    tokio::select! {
        biased;
        ended = connection => ended?,
        answer = sender.send_request(request) => {
            answer?;
        }
    }
    Ok(())
}

/// What is still to be told to the leader.
struct Telling {
    fleet: Arc<FleetStore>,
    changes: watch::Receiver<u64>,
    seen: Seen,
    waiting: VecDeque<Bytes>,
}

impl Telling {
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            self.changes.changed().await.ok()?;
            tokio::time::sleep(SETTLE).await;
            self.changes.borrow_and_update();
            let news = self.fleet.news_of_connected(&mut self.seen).0;
            self.waiting.extend(frames(news.into_iter().collect()));
        }
    }
}

/// Reports in as few messages as hold them: how long one is depends on what its proxy told.
fn frames(mut reports: Vec<(Box<str>, Report)>) -> Vec<Bytes> {
    if reports.is_empty() {
        return Vec::new();
    }
    if reports.len() > REPORTS {
        let others = reports.split_off(REPORTS);
        return [frames(reports), frames(others)].concat();
    }
    let fleet = Fleet(reports.into_iter().collect());
    match wire::encode(&fleet) {
        Ok(frame) => vec![frame],
        Err(FrameError::TooLarge(_)) if fleet.0.len() > 1 => {
            let mut reports: Vec<_> = fleet.0.into_iter().collect();
            let others = reports.split_off(reports.len() / 2);
            [frames(reports), frames(others)].concat()
        }
        Err(error) => {
            tracing::error!(%error, "the leader cannot be told what this replica hears");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use smilax_core::workload_connection::{Hello, MOST_LEARNED};
    use smilax_core::{ObjectRef, Workload};

    use super::super::fleet::Moment;
    use super::*;

    #[test]
    fn reports_of_proxies_that_learned_much_are_told_in_several_messages() {
        let object = ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: "n".repeat(63).into(),
            name: "n".repeat(253).into(),
            generation: 1,
        };
        let hello = Hello {
            learned: vec![object; MOST_LEARNED],
            ..Hello::default()
        };
        let now = Moment {
            seconds: 1,
            millis: 0,
        };
        let report = Report::new(Workload::new("shop", "web"), hello, now);
        let all: Vec<(Box<str>, Report)> = (0..500)
            .map(|number| (number.to_string().into(), report.clone()))
            .collect();
        let mut received = BytesMut::new();
        for frame in frames(all.clone()) {
            received.extend_from_slice(&frame);
        }
        let mut heard = Fleet::default();
        while let Some(some) = wire::decode::<Fleet>(&mut received).unwrap() {
            heard.0.extend(some.0);
        }
        assert_eq!(heard, Fleet(all.into_iter().collect()));
    }
}
