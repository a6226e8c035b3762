//! The `smilax-proxy` binary: reads its arguments, and does what they say.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use smilax_core::LogFilter;
use smilax_proxy::cli::{Arguments, Command};
use smilax_proxy::{drain, log, redirect, run};

/// Gives memory back to the system when it was not used for a second, in a thread of its own (`.cargo/config.toml`). That of
/// the C library keeps most of what an attack made it take.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => {
            let level = log::start(&arguments.log.log_level, arguments.log.log_format)
                .context("cannot start logging")?;
            let settings = arguments.settings().context("the arguments are not usable")?;
            run::until_stopped(settings, level).context("cannot run the proxy")
        }
        Command::Init(arguments) => {
            log::start(&arguments.log.log_level, arguments.log.log_format).context("cannot start logging")?;
            let rules = arguments.rules().context("the arguments are not usable")?;
            if arguments.dry_run {
                return print(&rules.to_string());
            }
            redirect::program_and_verify(&rules).context("cannot redirect the pod's traffic")
        }
        Command::Drain(arguments) => {
            log::start(&LogFilter::default(), log::Format::Text).context("cannot start logging")?;
            drain::ask(arguments.admin_port).context("cannot ask the proxy to drain")
        }
        Command::Version => print(&format!("smilax-proxy {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
