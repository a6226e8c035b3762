//! What the clients have heard, and what the experiment waits for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;
use smilax_core::endpoints::DestinationPortName;
use tokio::sync::Notify;

/// Something that clients are to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A policy that holds this text.
    Policy(String),
    /// Endpoints of a port among which this address is.
    EndpointThere(DestinationPortName, SocketAddr),
    /// Endpoints of a port among which this address is not.
    EndpointGone(DestinationPortName, SocketAddr),
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many.
    pub messages: u64,
    /// Their bytes, with the length before each.
    pub bytes: u64,
}

/// One for all clients.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    number: u64,
    expected: Option<Expected>,
    met: Vec<bool>,
    count: usize,
    /// How many are waited for: each wake of who waits takes time from what is measured.
    wanted: usize,
    last: Instant,
    synced: Vec<bool>,
    synced_count: usize,
    synced_last: Instant,
    heard: BTreeMap<&'static str, Heard>,
    /// Clients that were told anything since the last expectation.
    told: Vec<bool>,
    failures: BTreeMap<String, u64>,
}

impl Board {
    /// For so many clients.
    pub fn new(clients: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                number: 0,
                expected: None,
                met: vec![false; clients],
                count: 0,
                wanted: 0,
                last: Instant::now(),
                synced: vec![false; clients],
                synced_count: 0,
                synced_last: Instant::now(),
                heard: BTreeMap::new(),
                told: vec![false; clients],
                failures: BTreeMap::new(),
            }),
            news: Notify::new(),
        }
    }

    /// From now on, clients are to hear this.
    pub fn expect(&self, expected: Expected) {
        let mut inner = self.inner.lock();
        inner.number += 1;
        inner.expected = Some(expected);
        inner.met.fill(false);
        inner.told.fill(false);
        inner.count = 0;
    }

    /// What is expected, and its number.
    pub fn expected(&self) -> Option<(u64, Expected)> {
        let inner = self.inner.lock();
        Some((inner.number, inner.expected.clone()?))
    }

    /// A client has heard a message, in which what is expected by this number is or is not.
    pub fn heard(&self, client: usize, kind: &'static str, bytes: usize, met: Option<u64>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let heard = inner.heard.entry(kind).or_default();
        heard.messages += 1;
        heard.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(told) = inner.told.get_mut(client) {
            *told = true;
        }
        if met != Some(inner.number) {
            return;
        }
        if let Some(one) = inner.met.get_mut(client)
            && !*one
        {
            *one = true;
            inner.count += 1;
            inner.last = Instant::now();
            if inner.count >= inner.wanted {
                self.news.notify_one();
            }
        }
    }

    /// A client knows all that it asked for.
    pub fn synced(&self, client: usize) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if let Some(one) = inner.synced.get_mut(client)
            && !*one
        {
            *one = true;
            inner.synced_count += 1;
            inner.synced_last = Instant::now();
            if inner.synced_count >= inner.wanted {
                self.news.notify_one();
            }
        }
    }

    /// A client's stream is gone.
    pub fn lost(&self, client: usize, why: String) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        *inner.failures.entry(why).or_default() += 1;
        if let Some(one) = inner.synced.get_mut(client)
            && *one
        {
            *one = false;
            inner.synced_count -= 1;
        }
    }

    /// Why streams ended or did not come about, and how often, since the last time.
    pub fn take_failures(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.inner.lock().failures)
    }

    /// What was heard so far, by kind.
    pub fn totals(&self) -> BTreeMap<&'static str, Heard> {
        self.inner.lock().heard.clone()
    }

    /// How many of the clients before the expectation was met were told something without being among those whom it
    /// concerns.
    pub fn told_beside(&self) -> usize {
        let inner = self.inner.lock();
        let beside = inner.told.iter().zip(&inner.met);
        beside.filter(|(told, met)| **told && !**met).count()
    }

    /// How many clients are in step.
    pub fn in_step(&self) -> usize {
        self.inner.lock().synced_count
    }

    /// Waits until so many clients have heard what is expected; the moment at which the last did.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_met(&self, clients: usize, within: Duration) -> anyhow::Result<Instant> {
        self.until(clients, within, |inner| (inner.count, inner.last))
            .await
    }

    /// Waits until so many clients are in step; the moment at which the last was.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_synced(&self, clients: usize, within: Duration) -> anyhow::Result<Instant> {
        self.until(clients, within, |inner| (inner.synced_count, inner.synced_last))
            .await
    }

    async fn until(
        &self,
        wanted: usize,
        within: Duration,
        look: impl Fn(&Inner) -> (usize, Instant),
    ) -> anyhow::Result<Instant> {
        self.inner.lock().wanted = wanted;
        let waiting = async {
            loop {
                let news = self.news.notified();
                let (count, last) = look(&self.inner.lock());
                if count >= wanted {
                    return last;
                }
                news.await;
            }
        };
        if let Ok(last) = tokio::time::timeout(within, waiting).await {
            return Ok(last);
        }
        let (count, _) = look(&self.inner.lock());
        bail!(
            "only {count} of {wanted} clients within {within:?}; {:?}",
            self.take_failures()
        )
    }
}
