//! Single requests, printed whole.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::args::{GetOptions, TcpOptions, UpgradeOptions};
use crate::client::{Connection, Http, Message, Target, chain, headers};
use crate::fault::{Fault, Injected};
use crate::load::{LoadOptions, Report};

/// Where the server of this pod answers, for background loads and faults.
const OWN_SERVER: &str = "http://127.0.0.1:8080";

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    #[serde(default)]
    pub version: String,
    /// Headers by lower-case name; values of repeated ones in order.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Body, as far as it is text.
    #[serde(default)]
    pub body: String,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a TCP connection gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talked {
    /// Lines that were read, in order.
    pub lines: Vec<String>,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A load that runs in this pod's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its id.
    pub id: u64,
}

/// Sends one request.
pub async fn get(options: &GetOptions) -> Fetched {
    let http = if options.h2 { Http::Two } else { Http::One };
    let message = Message {
        method: options.method.clone(),
        path: options
            .url
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/")),
        host: options.host.clone(),
        headers: headers(&options.headers),
        body: Bytes::from(options.body.clone()),
    };
    let limit = Duration::from_millis(options.timeout_ms);
    match timeout(limit, fetch(&options.url, http, &message)).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(error)) => Fetched {
            error: Some(format!("{error:#}")),
            ..Fetched::default()
        },
        Err(_) => Fetched {
            error: Some(format!("no answer within {} ms", limit.as_millis())),
            ..Fetched::default()
        },
    }
}

/// Opens one TCP connection.
pub async fn tcp(options: &TcpOptions) -> Talked {
    let mut talked = Talked::default();
    let limit = Duration::from_millis(options.timeout_ms);
    let talk = async {
        let stream = TcpStream::connect(&options.address)
            .await
            .with_context(|| format!("cannot connect to {}", options.address))?;
        let mut stream = BufReader::new(stream);
        if options.server_first {
            read_line(&mut stream, &mut talked).await?;
        }
        if let Some(line) = &options.send {
            for turn in 0..options.repeat {
                if turn > 0 {
                    tokio::time::sleep(Duration::from_millis(options.every_ms)).await;
                }
                stream.write_all(format!("{line}\n").as_bytes()).await?;
                read_line(&mut stream, &mut talked).await?;
            }
        }
        anyhow::Ok(())
    };
    let error = ended(timeout(limit, talk).await, limit);
    Talked { error, ..talked }
}

/// Upgrades one connection and sends lines through it.
pub async fn upgrade(options: &UpgradeOptions) -> Talked {
    let mut talked = Talked::default();
    let limit = Duration::from_millis(options.timeout_ms);
    let talk = async {
        let mut stream = upgraded(options).await?;
        for line in &options.send {
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            stream.flush().await?;
            read_line(&mut stream, &mut talked).await?;
        }
        anyhow::Ok(())
    };
    let error = ended(timeout(limit, talk).await, limit);
    Talked { error, ..talked }
}

/// Starts a load in the server of this pod.
///
/// # Errors
/// When the server does not take it.
pub async fn start_load(options: &LoadOptions) -> anyhow::Result<Started> {
    own(Method::POST, "/loads", Bytes::from(serde_json::to_vec(options)?)).await
}

/// What a load counted so far.
///
/// # Errors
/// When the server knows no such load.
pub async fn look_at_load(id: u64) -> anyhow::Result<Report> {
    own(Method::GET, &format!("/loads/{id}"), Bytes::new()).await
}

/// Stops a load.
///
/// # Errors
/// When the server knows no such load.
pub async fn stop_load(id: u64) -> anyhow::Result<Report> {
    own(Method::DELETE, &format!("/loads/{id}"), Bytes::new()).await
}

/// Sets the fault that the server of this pod injects.
///
/// # Errors
/// When the server does not take it.
pub async fn set_fault(fault: Fault) -> anyhow::Result<Injected> {
    own(Method::PUT, "/fault", Bytes::from(serde_json::to_vec(&fault)?)).await
}

async fn own<T: DeserializeOwned>(method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
    let message = Message {
        method,
        path: path.parse()?,
        host: None,
        headers: HeaderMap::new(),
        body,
    };
    let fetched = fetch(&Uri::from_static(OWN_SERVER), Http::One, &message).await?;
    if fetched.status != Some(200) {
        bail!(
            "the server of this pod answered {:?}: {}",
            fetched.status,
            fetched.body
        );
    }
    Ok(serde_json::from_str(&fetched.body)?)
}

async fn fetch(url: &Uri, http: Http, message: &Message) -> anyhow::Result<Fetched> {
    let target = Target::of(url)?;
    let mut connection = target.connect(http).await?;
    let response = connection
        .send(target.request(http, message)?)
        .await
        .map_err(|error| anyhow::anyhow!("broken: {}", chain(&error)))?;
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("broken: {}", chain(&error)))?
        .to_bytes();
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    Ok(Fetched {
        status: Some(head.status.as_u16()),
        version: format!("{:?}", head.version),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        error: None,
    })
}

async fn upgraded(options: &UpgradeOptions) -> anyhow::Result<BufReader<TokioIo<hyper::upgrade::Upgraded>>> {
    let target = Target::of(&options.url)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, options.protocol.parse()?);
    let message = Message {
        method: Method::GET,
        path: options
            .url
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/upgrade")),
        host: None,
        headers,
        body: Bytes::new(),
    };
    let mut connection: Connection = target.connect(Http::One).await?;
    let response = connection.send(target.request(Http::One, &message)?).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        bail!("answered {} instead of 101", response.status());
    }
    Ok(BufReader::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}

async fn read_line(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    talked: &mut Talked,
) -> anyhow::Result<()> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        bail!("closed before a line was read");
    }
    talked.lines.push(line.trim_end().to_owned());
    Ok(())
}

fn ended(result: Result<anyhow::Result<()>, tokio::time::error::Elapsed>, limit: Duration) -> Option<String> {
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("not done within {} ms", limit.as_millis())),
    }
}
