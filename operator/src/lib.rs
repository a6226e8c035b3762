//! The control plane: the shell around the compiler.

pub mod admin;
pub mod app;
pub mod args;
pub mod controller;
pub mod lease;
pub mod metrics;
