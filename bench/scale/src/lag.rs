//! How long a change takes until it is known everywhere, and what it costs everybody.

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use smilax_chaos::api::Place;
use smilax_chaos::world::say;

use crate::board::Expected;
use crate::experiment::{Experiment, PATIENCE};
use crate::mesh::{self, FIRST, SHARED};
use crate::usage::Usage;
use crate::whole::Of;

/// Namespace of the changes that concern few.
const ASIDE: usize = 7;

/// How long changes of one sort took.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// What was changed.
    pub what: &'static str,
    /// Light clients that it concerns.
    pub clients: usize,
    /// Whole proxies that it concerns and that tell when they act on it.
    pub proxies: usize,
    /// From sending the write to the last of both, in ms, in order.
    pub last: Vec<f64>,
    /// From sending the write to the last whole proxy, in ms, in order.
    pub acted: Vec<f64>,
    /// From sending the write to the API server's answer, in ms, in order.
    pub answered: Vec<f64>,
    /// Clients whom it does not concern and who were told something meanwhile, at most.
    pub beside: usize,
    /// Time on a processor that one change costs, with all that follows from it, in ms.
    pub cost: Party,
    /// The same from sending the write to the last client.
    pub until_last: Party,
}

/// Milliseconds of each party.
#[derive(Clone, Copy, Debug, Default)]
pub struct Party {
    /// The operator.
    pub operator: f64,
    /// API server and etcd.
    pub servers: f64,
    /// Light clients.
    pub clients: f64,
    /// Whole proxies.
    pub proxies: f64,
}

impl Party {
    /// Of all of them.
    pub fn all(&self) -> f64 {
        self.operator + self.servers + self.clients + self.proxies
    }

    fn mean(usage: &Usage, changes: usize) -> Self {
        let mean =
            |time: Duration| millis(time) / f64::from(u32::try_from(changes.max(1)).unwrap_or(u32::MAX));
        Self {
            operator: mean(usage.operator),
            servers: mean(usage.servers),
            clients: mean(usage.clients),
            proxies: mean(usage.proxies),
        }
    }
}

/// Changes of one sort while they are made.
struct Series {
    lag: Lag,
    of: Option<Of>,
    cost: Usage,
    until_last: Usage,
}

impl Series {
    fn done(mut self) -> Lag {
        let lag = &mut self.lag;
        let changes = lag.last.len();
        lag.cost = Party::mean(&self.cost, changes);
        lag.until_last = Party::mean(&self.until_last, changes);
        for values in [&mut lag.last, &mut lag.acted, &mut lag.answered] {
            values.sort_by(f64::total_cmp);
        }
        say(&format!("{}: {:.0?} ms, {:.0?}", lag.what, lag.last, lag.cost));
        self.lag
    }
}

impl Experiment<'_> {
    fn series(&self, what: &'static str, clients: usize, of: Option<Of>) -> Series {
        let proxies = match of {
            None => 0,
            Some(Of::All) => self.shape.whole,
            Some(Of::Namespace(namespace)) => self.shape.whole_of(namespace),
        };
        Series {
            lag: Lag {
                what,
                clients,
                proxies,
                ..Lag::default()
            },
            of,
            cost: Usage::default(),
            until_last: Usage::default(),
        }
    }

    async fn change(
        &self,
        series: &mut Series,
        expected: Expected,
        write: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        self.quiet().await;
        let lag = &mut series.lag;
        self.board.expect(expected);
        let before = self.parties.usage()?;
        let (start, at) = (Instant::now(), Timestamp::now());
        let written = async {
            write.await?;
            anyhow::Ok(start.elapsed())
        };
        let (answered, last) = tokio::try_join!(written, self.board.until_met(lag.clients, PATIENCE))?;
        let until_last = self.parties.usage()?.since(&before);
        let last = millis(last.saturating_duration_since(start));
        self.quiet().await;
        series.until_last = series.until_last.and(&until_last);
        series.cost = series.cost.and(&self.parties.usage()?.since(&before));
        // They have acted long ago, and their logs are read when nobody is measured.
        let acted = series.of.map(|of| self.whole.acted(of, at)).transpose()?;
        let acted = acted.into_iter().flatten().reduce(f64::max);
        lag.acted.extend(acted);
        lag.last.push(acted.map_or(last, |acted| acted.max(last)));
        lag.answered.push(millis(answered));
        lag.beside = lag.beside.max(self.board.told_beside());
        Ok(())
    }

    /// Splits that everybody holds.
    pub async fn split_of_all(&self, changes: u32) -> anyhow::Result<Lag> {
        let series = self.series("split that every proxy holds", self.shape.light(), Some(Of::All));
        self.split(series, FIRST, SHARED, ["s1", "s0"], changes).await
    }

    /// Splits of one namespace.
    pub async fn split_of_few(&self, changes: u32) -> anyhow::Result<Lag> {
        let clients = self.shape.light_of(ASIDE).len();
        let series = self.series("split of one namespace", clients, Some(Of::Namespace(ASIDE)));
        // Where there are two Services, the one that is split is one of its own backends.
        let other = if self.shape.services_of_one() > 2 {
            "s2"
        } else {
            "s0"
        };
        self.split(series, ASIDE, "s0", ["s1", other], changes).await
    }

    async fn split(
        &self,
        mut series: Series,
        namespace: usize,
        root: &str,
        [first, second]: [&str; 2],
        changes: u32,
    ) -> anyhow::Result<Lag> {
        for change in 0..=changes {
            let weight = 100_000 + change;
            let object = mesh::split(namespace, root, [(first, weight), (second, 100)]);
            let expected = Expected::Policy(format!("\"weight\":{weight}"));
            let write = async { self.api.apply(object).await.map(drop) };
            self.one_of(&mut series, change, expected, write).await?;
        }
        Ok(series.done())
    }

    /// Changes of who may call.
    pub async fn target(&self, changes: u32) -> anyhow::Result<Lag> {
        let clients = self.shape.light_of(ASIDE).len();
        let mut series = self.series("target of one account", clients, Some(Of::Namespace(ASIDE)));
        self.api.apply(mesh::group(ASIDE)).await?;
        for change in 0..=changes {
            let also = format!("caller-{change}-");
            let expected = Expected::Policy(also.clone());
            let also = format!("{also}x");
            let write = async { self.api.apply(mesh::target(ASIDE, &also)).await.map(drop) };
            self.one_of(&mut series, change, expected, write).await?;
        }
        Ok(series.done())
    }

    /// The first one makes the object, and is not counted.
    async fn one_of(
        &self,
        series: &mut Series,
        change: u32,
        expected: Expected,
        write: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        if change > 0 {
            return self.change(series, expected, write).await;
        }
        let mut uncounted = self.series(series.lag.what, series.lag.clients, series.of);
        self.change(&mut uncounted, expected, write).await
    }

    /// Endpoints that go and come back: of the Service that all use, or of one that few use. Whole proxies carry no
    /// requests here, and so ask for no endpoints.
    pub async fn endpoints(&self, of: Used, changes: u32) -> anyhow::Result<(Lag, Lag)> {
        let (namespace, number, removed, added) = match of {
            Used::ByAll => (
                FIRST,
                self.shape.services_of_one(),
                "endpoint removed, Service used by every proxy",
                "endpoint added, Service used by every proxy",
            ),
            Used::ByFew => (
                ASIDE,
                3.min(self.shape.services_of_one() - 1),
                "endpoint removed, Service used by few",
                "endpoint added, Service used by few",
            ),
        };
        let service = match of {
            Used::ByAll => SHARED.to_owned(),
            Used::ByFew => format!("s{number}"),
        };
        let port = mesh::port_of(namespace, &service);
        let clients = match of {
            Used::ByAll => self.shape.light(),
            Used::ByFew => {
                let resource = smilax_core::Resource::Endpoints(port.clone());
                let pods = self.shape.light_of(namespace);
                pods.filter(|&pod| self.shape.uses(namespace, pod).contains(&resource))
                    .count()
            }
        };
        let (mut removed, mut added) = (
            self.series(removed, clients, None),
            self.series(added, clients, None),
        );
        let pods = self.shape.behind(namespace, number);
        let place = Place::of(&mesh::slice(self.shape, namespace, &service, &pods)).path();
        for change in 0..usize::try_from(changes)? {
            let gone = pods[change % pods.len()];
            let address = mesh::socket(self.shape, namespace, gone);
            let rest: Vec<usize> = pods.iter().copied().filter(|pod| *pod != gone).collect();
            for (series, expected, pods) in [
                (&mut removed, Expected::EndpointGone(port.clone(), address), &rest),
                (&mut added, Expected::EndpointThere(port.clone(), address), &pods),
            ] {
                let content = json!({"endpoints": mesh::endpoints(self.shape, namespace, pods)});
                let write = async { self.api.merge(&place, &content).await.map(drop) };
                self.change(series, expected, write).await?;
            }
        }
        Ok((removed.done(), added.done()))
    }
}

/// Who uses a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Every proxy.
    ByAll,
    /// Some of one namespace.
    ByFew,
}

/// In milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
