//! One request and its answer, over HTTP, gRPC or TCP.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::{FailureKind, LoadOptions, Outcome, Speech};
use crate::answer::{NAME_HEADER, POD_HEADER};
use crate::client::{Connection, Http, Message, Target, chain, headers};
use crate::grpc::{self, Who};

/// A client with at most one connection, which it keeps for the next request.
pub(super) struct Exchange {
    target: Target,
    talk: Talk,
    timeout: Duration,
    keep_alive: bool,
    connection: Option<Connection>,
    opened: u64,
}

/// What is sent.
#[derive(Clone, Debug)]
enum Talk {
    Http(Http, Message),
    Grpc(Message),
    Tcp(Opening),
}

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Client,
    Server,
}

impl Clone for Exchange {
    fn clone(&self) -> Self {
        Self {
            target: self.target.clone(),
            talk: self.talk.clone(),
            timeout: self.timeout,
            keep_alive: self.keep_alive,
            connection: None,
            opened: 0,
        }
    }
}

type Failure = (FailureKind, String);

impl Exchange {
    /// A client without a connection yet.
    pub(super) fn new(options: &LoadOptions) -> anyhow::Result<Self> {
        let url: Uri = options
            .url
            .parse()
            .with_context(|| format!("--url {:?}", options.url))?;
        ensure!(
            options.requests.is_some() || options.duration.is_some(),
            "--requests or --duration is needed"
        );
        let path = match (&options.path, url.path_and_query()) {
            (Some(path), _) => path.parse().with_context(|| format!("--path {path:?}"))?,
            (None, Some(path)) => path.clone(),
            (None, None) => PathAndQuery::from_static("/"),
        };
        let message = Message {
            method: Method::from_bytes(options.method.as_bytes())
                .with_context(|| format!("--method {:?}", options.method))?,
            path,
            host: options.host.clone(),
            headers: headers(&options.headers),
            body: Bytes::new(),
        };
        let talk = match options.speak {
            Speech::Http1 => Talk::Http(Http::One, message),
            Speech::H2 => Talk::Http(Http::Two, message),
            Speech::Grpc => Talk::Grpc(grpc_call(message)),
            Speech::Tcp => Talk::Tcp(Opening::Client),
            Speech::TcpServerFirst => Talk::Tcp(Opening::Server),
        };
        Ok(Self {
            target: Target::of(&url)?,
            talk,
            timeout: Duration::from_millis(options.timeout_ms),
            keep_alive: !options.no_keep_alive,
            connection: None,
            opened: 0,
        })
    }

    /// Sends one request; says what became of it, and how many connections it opened.
    pub(super) async fn once(&mut self) -> (Outcome, u64) {
        self.opened = 0;
        let limit = self.timeout;
        let outcome = match timeout(limit, self.exchange()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => failed(failure),
            Err(_) => failed((
                FailureKind::Timeout,
                format!("no answer within {} ms", limit.as_millis()),
            )),
        };
        let broken = matches!(
            outcome.failure,
            Some((
                FailureKind::Connect | FailureKind::Timeout | FailureKind::Broken,
                _
            ))
        );
        if broken || !self.keep_alive {
            self.connection = None;
        }
        (outcome, self.opened)
    }

    async fn exchange(&mut self) -> Result<Outcome, Failure> {
        match self.talk.clone() {
            Talk::Http(http, message) => self.http(http, &message).await,
            Talk::Grpc(message) => self.grpc(&message).await,
            Talk::Tcp(opening) => self.tcp(opening).await,
        }
    }

    async fn http(&mut self, http: Http, message: &Message) -> Result<Outcome, Failure> {
        let (head, body, _) = self.call(http, message).await?;
        let status = head.status;
        let failure = (!status.is_success() && !status.is_redirection()).then(|| {
            let text = String::from_utf8_lossy(&body);
            (
                FailureKind::Status(status.as_u16()),
                text.chars().take(200).collect(),
            )
        });
        Ok(Outcome {
            backend: text(&head.headers, NAME_HEADER),
            pod: text(&head.headers, POD_HEADER),
            status: Some(status.as_u16()),
            failure,
        })
    }

    async fn grpc(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let (head, body, trailers) = self.call(Http::Two, message).await?;
        // An answer without messages carries its status in the head.
        let status = [&trailers, &head.headers]
            .iter()
            .find_map(|headers| text(headers, "grpc-status"))
            .unwrap_or_else(|| format!("absent-http-{}", head.status.as_u16()));
        let mut outcome = Outcome {
            status: Some(head.status.as_u16()),
            ..Outcome::default()
        };
        if status != "0" {
            let text = text(&trailers, "grpc-message").or_else(|| text(&head.headers, "grpc-message"));
            outcome.failure = Some((FailureKind::Grpc(status), text.unwrap_or_default()));
            // A failed call has no message, but the server says in the head who it is.
            outcome.backend = self::text(&head.headers, NAME_HEADER);
            outcome.pod = self::text(&head.headers, POD_HEADER);
            return Ok(outcome);
        }
        match grpc::unframe(&body).and_then(Who::decode) {
            Ok(who) => {
                outcome.backend = Some(who.name);
                outcome.pod = Some(who.pod);
            }
            Err(error) => outcome.failure = Some((FailureKind::Broken, error.to_string())),
        }
        Ok(outcome)
    }

    async fn tcp(&mut self, opening: Opening) -> Result<Outcome, Failure> {
        let broken = |error: std::io::Error| (FailureKind::Broken, error.to_string());
        let stream = self
            .target
            .open()
            .await
            .map_err(|error| (FailureKind::Connect, chain(&error)))?;
        self.opened += 1;
        let mut stream = BufReader::new(stream);
        if opening == Opening::Client {
            stream.write_all(b"who\n").await.map_err(broken)?;
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await.map_err(broken)? == 0 {
            return Err((FailureKind::Broken, "closed before a line was read".to_owned()));
        }
        let mut words = line.split_whitespace();
        Ok(Outcome {
            backend: words.next().map(str::to_owned),
            pod: words.next().map(str::to_owned),
            ..Outcome::default()
        })
    }

    async fn call(
        &mut self,
        http: Http,
        message: &Message,
    ) -> Result<(http::response::Parts, Bytes, HeaderMap), Failure> {
        let request = self
            .target
            .request(http, message)
            .map_err(|error| (FailureKind::Broken, error.to_string()))?;
        let broken = |error: hyper::Error| (FailureKind::Broken, chain(&error));
        let connection = self.connected(http).await?;
        let response = connection.send(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(broken)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok((head, body.to_bytes(), trailers))
    }

    /// The connection at hand, or a new one when the server closed it between requests, as it may.
    async fn connected(&mut self, http: Http) -> Result<&mut Connection, Failure> {
        let usable = match &mut self.connection {
            Some(connection) => connection.usable().await,
            None => false,
        };
        if !usable {
            let opened = self.target.connect(http).await;
            self.connection = Some(opened.map_err(|error| (FailureKind::Connect, chain(&error)))?);
            self.opened += 1;
        }
        self.connection
            .as_mut()
            .ok_or_else(|| (FailureKind::Connect, "no connection".to_owned()))
    }
}

fn grpc_call(message: Message) -> Message {
    let mut headers = message.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Message {
        method: Method::POST,
        path: PathAndQuery::from_static(grpc::WHO),
        headers,
        body: grpc::frame(&[]),
        ..message
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome {
        failure: Some(failure),
        ..Outcome::default()
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
