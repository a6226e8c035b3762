//! The control plane: the shell around the compiler.

pub mod admin;
mod api_client;
pub mod app;
pub mod args;
pub mod authority;
mod call;
pub mod certificate;
pub mod cluster_view;
pub mod controller;
mod excerpt;
pub mod inject;
pub mod installed;
pub mod lease;
pub mod metrics;
pub mod pki;
mod places;
mod secret_entries;
mod sources;
#[cfg(test)]
mod testing;
mod token_buckets;
mod watch_backoff;
mod watch_one;
pub mod webhook;
pub mod workload_server;
