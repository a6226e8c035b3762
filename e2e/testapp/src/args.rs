//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::fault::Fault;
use crate::load::LoadOptions;

/// Command line of the test application.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests and say who answered.
    Serve(ServeOptions),
    /// Send requests and print one line of JSON that says what came back.
    Load(LoadOptions),
    /// Send requests from the server that runs in this pod, so that the load outlives this command.
    #[command(subcommand)]
    Background(Background),
    /// Set the fault that the server of this pod injects into its answers, and print since when as JSON.
    Fault {
        /// `none`, `abort` (500, or UNAVAILABLE to gRPC, at once), `hang` (no answer), or `delay:MILLISECONDS`.
        fault: Fault,
    },
    /// Send one request and print the answer as JSON; a failure is in its field `error`.
    Get(GetOptions),
    /// Open one TCP connection and print what was read as JSON.
    Tcp(TcpOptions),
    /// Upgrade an HTTP/1.1 connection, send lines through it, and print what came back as JSON.
    Upgrade(UpgradeOptions),
    /// Do nothing for a while, then end well.
    Sleep {
        /// How long.
        seconds: u64,
    },
}

/// Verbs on the loads that the server in this pod runs.
#[derive(Debug, Subcommand)]
pub enum Background {
    /// Start one and print its id.
    Start {
        /// What to send.
        #[command(flatten)]
        options: LoadOptions,
    },
    /// Print what it counted so far.
    Look {
        /// Its id.
        id: u64,
    },
    /// Stop it and print what it counted.
    Stop {
        /// Its id.
        id: u64,
    },
}

/// Ports and manners of the server. A port of 0 is not opened.
#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// Name that every answer bears.
    #[arg(long, env = "NAME", default_value = "testapp")]
    pub name: String,
    /// Pod that every answer bears.
    #[arg(long, env = "HOSTNAME", default_value = "unknown")]
    pub pod: String,
    /// HTTP/1.1 and HTTP/2 with prior knowledge.
    #[arg(long, default_value_t = 8080)]
    pub http_port: u16,
    /// The same over TLS, with a certificate that it signed itself.
    #[arg(long, default_value_t = 0)]
    pub https_port: u16,
    /// gRPC: the health service and `smilax.test.Echo/Who`.
    #[arg(long, default_value_t = 0)]
    pub grpc_port: u16,
    /// TCP: answers the first line with its name, then echoes.
    #[arg(long, default_value_t = 0)]
    pub tcp_port: u16,
    /// TCP: greets with its name as soon as the connection is open, then echoes.
    #[arg(long, default_value_t = 0)]
    pub server_first_port: u16,
    /// `/healthz` and the health service fail for so many seconds after the start.
    #[arg(long, default_value_t = 0)]
    pub healthy_after: u64,
    /// End well after so many seconds; for Jobs.
    #[arg(long)]
    pub exit_after: Option<u64>,
    /// After SIGTERM, go on accepting for so many milliseconds, until every client has heard that the pod is going.
    #[arg(long, default_value_t = 3000)]
    pub linger_ms: u64,
    /// What to do on SIGTERM.
    #[arg(long, value_enum, default_value_t = OnSigterm::Linger)]
    pub on_sigterm: OnSigterm,
    /// Milliseconds that the application takes for each request.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
}

/// What a server does on SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnSigterm {
    /// Go on as before for `linger_ms`, then finish the requests in flight.
    Linger,
    /// The same, and answer with `Connection: close` meanwhile.
    Drain,
    /// Exit at once, and print how many requests were in flight.
    Exit,
}

/// One request.
#[derive(Clone, Debug, Args)]
pub struct GetOptions {
    /// Where to: `http://web:8080/path`, or `https://...`, whose certificate is not verified.
    pub url: http::Uri,
    /// Method.
    #[arg(long, default_value = "GET")]
    pub method: http::Method,
    /// Header, `Name=Value`; may be repeated.
    #[arg(long = "header", value_parser = crate::client::parse_header)]
    pub headers: Vec<(String, String)>,
    /// Sent as Host instead of the authority of the URL.
    #[arg(long)]
    pub host: Option<String>,
    /// Body.
    #[arg(long, default_value = "")]
    pub body: String,
    /// Speak HTTP/2 with prior knowledge.
    #[arg(long)]
    pub h2: bool,
    /// Milliseconds until the request counts as failed.
    #[arg(long, default_value_t = 5000)]
    pub timeout_ms: u64,
    /// End with code 1 unless the answer has this status; for probes of kind exec.
    #[arg(long)]
    pub expect: Option<u16>,
}

/// One TCP connection.
#[derive(Clone, Debug, Args)]
pub struct TcpOptions {
    /// `HOST:PORT`.
    pub address: String,
    /// Line to send.
    #[arg(long)]
    pub send: Option<String>,
    /// How often to send it and read what comes back, over the one connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeat: u32,
    /// Milliseconds between two lines.
    #[arg(long, default_value_t = 0)]
    pub every_ms: u64,
    /// Read a greeting before sending.
    #[arg(long)]
    pub server_first: bool,
    /// Milliseconds until it counts as failed.
    #[arg(long, default_value_t = 5000)]
    pub timeout_ms: u64,
}

/// One upgraded connection.
#[derive(Clone, Debug, Args)]
pub struct UpgradeOptions {
    /// Where to.
    pub url: http::Uri,
    /// Protocol to ask for.
    #[arg(long, default_value = "echo")]
    pub protocol: String,
    /// Line to send; may be repeated, and each must come back before the next is sent.
    #[arg(long)]
    pub send: Vec<String>,
    /// Milliseconds until it counts as failed.
    #[arg(long, default_value_t = 5000)]
    pub timeout_ms: u64,
}
