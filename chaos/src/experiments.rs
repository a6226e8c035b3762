//! The experiments, by the ids of the matrix of faults.

mod crash;
mod noise;

use std::future::Future;
use std::pin::Pin;

use crate::session::{Reference, Session};

/// What an experiment says: figures, or what went wrong.
pub type Said<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + 'a>>;

/// What an experiment works with.
pub struct Bench {
    /// The world.
    pub session: Session,
    /// The run without faults.
    pub reference: Reference,
    /// What chance is drawn from.
    pub seed: u64,
    /// Whether waits are as long as the matrix says.
    pub length: Length,
}

/// How long an experiment waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Minutes are shortened to seconds.
    Short,
    /// As the matrix says.
    Full,
}

/// An experiment.
pub struct Experiment {
    /// Its id.
    pub id: &'static str,
    /// What happens.
    pub what: &'static str,
    /// Does it.
    pub run: for<'a> fn(&'a mut Bench) -> Said<'a>,
}

/// All of them, in the order in which they run.
pub const ALL: &[Experiment] = &[
    Experiment {
        id: "R1",
        what: "killed before and after every write",
        run: |bench| Box::pin(crash::r1(bench)),
    },
    Experiment {
        id: "noise",
        what: "delays, cuts, repetitions, 409, 410, 429 and 500 by a seed",
        run: |bench| Box::pin(noise::noise(bench)),
    },
];
