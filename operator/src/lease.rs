//! Leader election on a Lease (coordination.k8s.io/v1).
//!
//! Who leads is decided by [`step`], a pure function. Expiry is measured by this process's own monotonic clock from
//! when it last saw the record change, never by comparing wall clocks: a clock that is off must not make two leaders.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Name of the Lease.
pub const NAME: &str = "smilax-operator";
/// How long a leader that says nothing is believed to lead.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops writing: well before anybody else may start.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the leader renews the Lease.
const PERIOD: Duration = Duration::from_secs(2);
/// How often others look at it.
const LOOK: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_secs(2);

/// Whether this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another process leads, or none.
    Follower,
    /// This one does.
    Leader {
        /// How often leadership had changed hands.
        term: u64,
    },
}

/// What counts of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// How often it changed hands.
    pub transitions: u64,
    /// When it was renewed, as written; only compared for equality.
    pub renewed: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nobody has ever led: make the Lease.
    Create,
    /// The holder is silent for too long, or let go: take it.
    Take {
        /// The transitions to write.
        transitions: u64,
    },
    /// It is ours: say so again.
    Renew,
    /// Somebody else leads.
    Wait,
}

/// Decides from the record and from how long it has been seen unchanged.
pub fn step(me: &str, record: Option<&Record>, unchanged_for: Duration) -> Action {
    match record {
        None => Action::Create,
        Some(record) if record.holder == me => Action::Renew,
        Some(record) if record.holder.is_empty() || unchanged_for >= DURATION => Action::Take {
            transitions: record.transitions.saturating_add(1),
        },
        Some(_) => Action::Wait,
    }
}

/// How long to wait for the next turn. Who waits for a silent leader to run out looks at that very moment: with what
/// passes until a renewal is seen, another leads no later than 16 s after the last one.
fn pause(leadership: Leadership, unchanged_for: Duration) -> Duration {
    match leadership {
        Leadership::Leader { .. } => PERIOD,
        Leadership::Follower => DURATION
            .checked_sub(unchanged_for)
            .filter(|left| !left.is_zero())
            .map_or(LOOK, |left| left.min(LOOK)),
    }
}

/// The election as one process takes part in it.
pub struct Election {
    api: Api<Lease>,
    me: String,
    leadership: watch::Sender<Leadership>,
    /// The lowest term that a Lease made anew may start with, so that terms never go back.
    floor: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    TimedOut,
    #[error("{0}")]
    Api(#[from] kube::Error),
}

impl Election {
    /// Takes part under a name that no other process has, nor an earlier life of this one.
    pub fn new(
        client: Client,
        namespace: &str,
        pod_name: &str,
        floor: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> (Self, watch::Receiver<Leadership>) {
        let (leadership, receiver) = watch::channel(Leadership::Follower);
        let me = format!("{pod_name}_{:08x}", fastrand::u32(..));
        (
            Self {
                api: Api::namespaced(client, namespace),
                me,
                leadership,
                floor: Arc::new(floor),
            },
            receiver,
        )
    }

    /// Takes part until shutdown, then lets go at once so that another can start.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut seen: Option<Lease> = None;
        let mut changed_at = Instant::now();
        let mut renewed_at = Instant::now();
        let mut failing = false;
        loop {
            let mut wait = PERIOD;
            match self.turn(&mut seen, &mut changed_at).await {
                Ok(leadership) => {
                    failing = false;
                    wait = pause(leadership, changed_at.elapsed());
                    if leadership != Leadership::Follower {
                        renewed_at = Instant::now();
                    }
                    self.publish(leadership);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "leader election: the Lease cannot be read or written; it is tried again");
                    }
                    failing = true;
                    if renewed_at.elapsed() >= RENEW_DEADLINE {
                        self.publish(Leadership::Follower);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => break,
            }
        }
        let led = *self.leadership.borrow() != Leadership::Follower;
        self.publish(Leadership::Follower);
        if let (true, Some(lease)) = (led, seen) {
            self.release(lease).await;
        }
    }

    fn publish(&self, leadership: Leadership) {
        self.leadership.send_if_modified(|current| {
            let changed = *current != leadership;
            *current = leadership;
            changed
        });
    }

    async fn turn(
        &self,
        seen: &mut Option<Lease>,
        changed_at: &mut Instant,
    ) -> Result<Leadership, LeaseError> {
        let current = call(self.api.get_opt(NAME)).await?;
        let record = current.as_ref().map(record);
        if record != seen.as_ref().map(self::record) {
            *changed_at = Instant::now();
        }
        seen.clone_from(&current);
        let transitions = match step(&self.me, record.as_ref(), changed_at.elapsed()) {
            Action::Wait => return Ok(Leadership::Follower),
            Action::Renew => record.map_or(0, |record| record.transitions),
            Action::Take { transitions } => transitions.max((self.floor)()),
            Action::Create => (self.floor)().max(1),
        };
        let lease = self.lease(current, transitions);
        let written = if lease.metadata.resource_version.is_some() {
            call(self.api.replace(NAME, &PostParams::default(), &lease)).await
        } else {
            call(self.api.create(&PostParams::default(), &lease)).await
        };
        match written {
            Ok(lease) => {
                *seen = Some(lease);
                *changed_at = Instant::now();
                Ok(Leadership::Leader { term: transitions })
            }
            // Another one was faster.
            Err(LeaseError::Api(kube::Error::Api(status))) if status.code == 409 => Ok(Leadership::Follower),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, current: Option<Lease>, transitions: u64) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = current
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let is_ours = before.holder_identity.as_deref() == Some(&self.me);
        let metadata = current.map_or_else(
            || ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata,
        );
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: i32::try_from(transitions).ok(),
                acquire_time: if is_ours {
                    before.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                ..before
            }),
        }
    }

    async fn release(&self, mut lease: Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        match call(self.api.replace(NAME, &PostParams::default(), &lease)).await {
            Ok(_) => tracing::info!("leadership released"),
            Err(error) => tracing::warn!(%error, "leadership could not be released; it runs out by itself"),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    Record {
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        transitions: spec
            .and_then(|spec| spec.lease_transitions)
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
        renewed: spec
            .and_then(|spec| spec.renew_time.as_ref())
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
    }
}

async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    timeout(CALL, request)
        .await
        .map_err(|_| LeaseError::TimedOut)?
        .map_err(LeaseError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> Record {
        Record {
            holder: holder.to_owned(),
            transitions: 4,
            renewed: String::new(),
        }
    }

    #[test]
    fn the_first_makes_the_lease() {
        assert_eq!(step("a", None, Duration::ZERO), Action::Create);
    }

    #[test]
    fn the_holder_renews_however_long_it_was_away() {
        assert_eq!(
            step("a", Some(&held_by("a")), Duration::from_secs(99)),
            Action::Renew
        );
    }

    #[test]
    fn others_wait_until_the_holder_was_silent_for_the_whole_duration() {
        assert_eq!(
            step("b", Some(&held_by("a")), DURATION.mul_f64(0.99)),
            Action::Wait
        );
        assert_eq!(
            step("b", Some(&held_by("a")), DURATION),
            Action::Take { transitions: 5 }
        );
    }

    #[test]
    fn who_waits_for_a_silent_leader_looks_when_its_time_is_over() {
        let left = |seconds| pause(Leadership::Follower, DURATION.mul_f64(seconds / 15.0));
        assert_eq!(left(3.0), LOOK);
        assert!(left(14.75) <= Duration::from_millis(251), "{:?}", left(14.75));
        assert_eq!(left(15.0), LOOK, "no spinning while the Lease cannot be taken");
        assert_eq!(pause(Leadership::Leader { term: 1 }, Duration::ZERO), PERIOD);
    }

    #[test]
    fn what_was_released_is_taken_at_once() {
        assert_eq!(
            step("b", Some(&held_by("")), Duration::ZERO),
            Action::Take { transitions: 5 }
        );
    }
}
