//! The command line of the mesh, also as `kubectl smilax`.

mod args;
mod authority;
mod authz;
mod check;
mod cluster;
mod complete;
mod controller;
mod explain;
mod files;
mod fleet;
mod forward;
mod help;
mod injection;
mod log_level;
mod mesh;
mod names;
mod namespaces;
mod operator;
mod output;
#[cfg(test)]
mod pages;
mod plan;
mod preflight;
mod proxy_config;
mod remedies;
mod run;
mod sidecars;
mod target;
mod trouble;
mod workloads;
mod world;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::CompleteEnv;

fn main() -> ExitCode {
    // A shell that asks for completions gets them here, and nothing else happens.
    CompleteEnv::with_factory(help::command)
        .var(help::COMPLETE)
        .complete();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let done = runtime.block_on(run::run(help::parse()));
    match done.and_then(|done| print(&done.text).map(|()| done.verdict)) {
        Ok(verdict) => verdict.into(),
        Err(error) => complain(&error),
    }
}

/// Writes to standard output. Who reads it may have seen enough (`smilax proxy-status | head`), which is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("the answer cannot be written"),
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to do when even standard error is closed.
    let _ = writeln!(std::io::stderr(), "smilax: {error:#}");
    ExitCode::from(2)
}
