//! A small server and load client that the end-to-end tests run in pods.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use smilax_testapp::args::{Background, Cli, Command};
use smilax_testapp::{fetch, load, serve};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Serve(options) => serve::run(options).await?,
        Command::Load(options) => print(&load::run(&options, &load::Stop::default()).await?)?,
        Command::Background(Background::Start { options }) => print(&fetch::start_load(&options).await?)?,
        Command::Background(Background::Look { id }) => print(&fetch::look_at_load(id).await?)?,
        Command::Background(Background::Stop { id }) => print(&fetch::stop_load(id).await?)?,
        Command::Fault { fault } => print(&fetch::set_fault(fault).await?)?,
        Command::Get(options) => {
            let fetched = fetch::get(&options).await;
            print(&fetched)?;
            if options.expect.is_some() && options.expect != fetched.status {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Tcp(options) => print(&fetch::tcp(&options).await)?,
        Command::Upgrade(options) => print(&fetch::upgrade(&options).await)?,
        Command::Sleep { seconds } => tokio::time::sleep(Duration::from_secs(seconds)).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)?;
    Ok(())
}
