//! Whether one workload may call another, answered by the very functions that proxies decide with.

mod answer;
mod print;
mod question;

pub(crate) use answer::{Verdict, answer};
pub(crate) use print::{json, table};
pub(crate) use question::{AuthzArgs, Question};

#[cfg(test)]
pub(crate) mod tests;
