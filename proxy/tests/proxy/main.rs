//! What a proxy does to real connections.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and what tests share is test code too"
)]

mod access;
mod addresses;
mod attacks;
mod called;
mod configuration;
mod conformance;
mod control;
mod corpus;
mod early_answers;
mod endpoints;
mod exhaustion;
mod grpc;
mod half_close;
mod http;
mod identity;
mod inbound;
mod interception;
mod lifecycle;
mod limits;
mod live;
mod mutual_tls;
mod parking;
mod probes;
mod process;
mod redirect;
mod reuse;
mod scrapes;
mod support;
mod targets;
mod tcp;
mod tunnels;
