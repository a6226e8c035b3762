//! A victim: a load of ordinary requests that shares a sidecar or an operator with the attacker.

use std::time::Duration;

use smilax_testapp::load::{self, LoadOptions, Speech, Stop};

use crate::figures::Service;

/// Requests a second, begun on schedule whether or not earlier ones are answered.
pub const RATE: u32 = 200;
/// After which a request counts as lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a victim is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What it asks for.
    #[arg(long)]
    pub url: String,
    /// Seconds until it stops.
    #[arg(long)]
    pub seconds: u64,
    /// Open a connection for each request, as kubelet does for probes.
    #[arg(long)]
    pub no_keep_alive: bool,
}

/// Sends the load.
///
/// # Errors
/// When the options are not usable; requests that fail are counted instead.
pub async fn run(options: &Options) -> anyhow::Result<Service> {
    let load = LoadOptions {
        url: options.url.clone(),
        requests: None,
        duration: Some(options.seconds),
        rate: RATE,
        connections: 4,
        open_loop: true,
        hung_after_ms: 2000,
        timeout_ms: u64::try_from(TIMEOUT.as_millis())?,
        speak: Speech::Http1,
        no_keep_alive: options.no_keep_alive,
        method: "GET".to_owned(),
        path: None,
        host: None,
        headers: Vec::new(),
    };
    let report = load::run(&load, &Stop::default()).await?;
    Ok(Service::of(&report))
}
