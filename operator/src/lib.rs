//! The control plane: the shell around the compiler.

pub mod admin;
pub mod app;
pub mod args;
pub mod certificate;
pub mod cluster_view;
pub mod controller;
pub mod inject;
pub mod lease;
pub mod metrics;
pub mod webhook;
