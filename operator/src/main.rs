//! The control plane of the Smilax service mesh.

use std::io::stderr;
use std::process::ExitCode;

use clap::Parser as _;
use smilax_core::log_line::LogLines;
use smilax_operator::app;
use smilax_operator::args::{Args, LogFormat};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = start_logging(&args) {
        tracing::error!(%error, "the log filter is wrong");
        return ExitCode::from(64);
    }
    // The stream of each proxy takes a file; container runtimes start processes with room for 1,024.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
    // One provider for everything that speaks TLS; a second one would be a mistake in the build.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::error!("a second TLS provider is linked in");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(app::run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The filter with what its user does not name. A client that cannot decode an answer logs the whole of it as a warning,
/// and tenants decide how long that is.
fn directives(filter: &str) -> String {
    match filter {
        "off" => filter.to_owned(),
        _ => format!("kube_client::client=error,{filter}"),
    }
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(directives(args.run.log_level.as_str()))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    match args.run.log_format {
        LogFormat::Text => logs.with_ansi(false).with_writer(|| LogLines(stderr())).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s46_answers_that_cannot_be_decoded_are_not_logged_unless_somebody_asks_for_them() {
        assert_eq!(directives("info"), "kube_client::client=error,info");
        let asked = EnvFilter::builder()
            .parse(directives("info,kube_client::client=debug"))
            .unwrap();
        assert!(asked.to_string().contains("kube_client::client=debug"));
        assert_eq!(directives("off"), "off");
    }
}
