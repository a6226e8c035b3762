//! Whether one workload may call another, answered by the very functions that proxies decide with.

mod answer;
mod question;
mod world;

pub(crate) use answer::{Verdict, answer};
pub(crate) use question::{AuthzArgs, Question};
pub(crate) use world::World;

#[cfg(test)]
mod tests;
