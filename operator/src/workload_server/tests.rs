//! Clients that speak TLS to a server on a port of this machine.

mod certificate;
mod crowd;
mod peers;
mod push;
pub(in crate::workload_server) mod seen;
mod streams;
mod support;

use support::{Client, Fixture, hello};

pub(in crate::workload_server) use support::bind;
