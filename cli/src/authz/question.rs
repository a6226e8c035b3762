//! What is asked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap_complete::ArgValueCompleter;
use smilax_core::{RequestView, Workload};

use crate::complete;
use crate::output::OutputArgs;

/// Arguments of `authz`.
#[derive(Debug, Args)]
pub(crate) struct AuthzArgs {
    /// Account of the caller.
    #[arg(
        long,
        value_name = "NAMESPACE/ACCOUNT",
        add = ArgValueCompleter::new(complete::accounts),
        required_unless_present = "from_address"
    )]
    from: Option<AccountName>,
    /// Address of a caller outside the mesh, which has no identity.
    #[arg(long, value_name = "IP", conflicts_with = "from")]
    from_address: Option<IpAddr>,
    /// Service or pod that is called. The port may be left out if there is only one.
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]", add = ArgValueCompleter::new(complete::services))]
    to: Place,
    /// Method of the request. Without --method, --path and --header, the question is about a connection of any protocol.
    #[arg(long)]
    method: Option<String>,
    /// Path of the request, without the query.
    #[arg(long)]
    path: Option<String>,
    /// Header of the request; host is the authority. May be repeated.
    #[arg(long = "header", value_name = "NAME:VALUE")]
    headers: Vec<Header>,
    /// Files with the objects to answer from, in place of a cluster: YAML or JSON; - is standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// An account, `namespace/account`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AccountName(Workload);

/// A Service or pod, and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    name: String,
    value: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) from: From,
    pub(crate) to: Place,
    pub(crate) what: What,
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// Pods of an account.
    Account(Workload),
    /// Somebody outside the mesh.
    Address(IpAddr),
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A connection of any protocol.
    Connection,
    /// A request.
    Request(Request),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<Header>,
}

impl std::convert::From<&AuthzArgs> for Question {
    fn from(args: &AuthzArgs) -> Self {
        let is_request = args.method.is_some() || args.path.is_some() || !args.headers.is_empty();
        let what = if is_request {
            What::Request(Request {
                method: args.method.clone().unwrap_or_else(|| "GET".to_owned()),
                path: args.path.clone().unwrap_or_else(|| "/".to_owned()),
                headers: args.headers.clone(),
            })
        } else {
            What::Connection
        };
        let from = match (&args.from, args.from_address) {
            (Some(account), _) => From::Account(account.0.clone()),
            (None, address) => From::Address(address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))),
        };
        Self {
            from,
            to: args.to.clone(),
            what,
        }
    }
}

impl RequestView for Request {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name == name)
            .map(|header| header.value.as_bytes())
    }

    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|header| header.name.as_str())
    }
}

impl FromStr for AccountName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, account))
                if !namespace.is_empty() && !account.is_empty() && !account.contains('/') =>
            {
                Ok(Self(Workload::new(namespace, account)))
            }
            _ => Err("write NAMESPACE/ACCOUNT, for example shop/web".to_owned()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => {
                let port = port.parse().ok().filter(|&port: &u16| port > 0);
                (
                    name,
                    Some(port.ok_or("the port is not a number from 1 to 65535")?),
                )
            }
        };
        match name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    port,
                })
            }
            _ => Err("write NAMESPACE/NAME or NAMESPACE/NAME:PORT, for example shop/web:80".to_owned()),
        }
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.trim().to_ascii_lowercase(),
                value: value.trim().to_owned(),
            }),
            _ => Err("write NAME:VALUE".to_owned()),
        }
    }
}
