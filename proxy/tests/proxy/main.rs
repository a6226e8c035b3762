//! What a proxy does to real connections.

#![allow(missing_docs, reason = "tests")]

mod configuration;
mod control;
mod grpc;
mod http;
mod inbound;
mod lifecycle;
mod probes;
mod redirect;
mod support;
mod tcp;
