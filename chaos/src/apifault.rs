//! The proxy between the operator and the API server. It keeps a record, and does what a [`Plan`] says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::call::{Call, Verb};
use crate::fault::{Action, Calm, EXPIRED, Plan, Refusal};
use crate::lines;

/// A body that ends in an error is one whose connection is cut.
pub type OutBody = BoxBody<Bytes, std::io::Error>;

/// How every open watch is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection is cut.
    Cut,
    /// The API server says that the place in the history is forgotten.
    Expired,
}

/// A request that passed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it came.
    pub at: Instant,
    /// What it asked for.
    pub call: Call,
    /// How the API server answered; `None` when it was not asked, or has not answered yet.
    pub code: Option<u16>,
    /// What was written.
    pub body: Bytes,
}

/// The proxy.
#[derive(Clone)]
pub struct ApiFault {
    shared: Arc<Shared>,
    address: SocketAddr,
}

pub(crate) struct Shared {
    upstream: Client,
    pub(crate) plan: Mutex<Box<dyn Plan>>,
    record: Mutex<Vec<Entry>>,
    victim: Mutex<Option<Pid>>,
    killed: watch::Sender<u64>,
    pub(crate) ends: watch::Sender<(u64, End)>,
}

impl ApiFault {
    /// Listens on loopback.
    pub async fn start(upstream: Client) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::new(Box::new(Calm)),
            record: Mutex::default(),
            victim: Mutex::default(),
            killed: watch::Sender::new(0),
            ends: watch::Sender::new((0, End::Cut)),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&shared), request));
                    // A cut is an error of the service, and so the end of the connection.
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Ok(Self { shared, address })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this happens.
    pub fn plan(&self, plan: impl Plan + 'static) {
        *self.shared.plan.lock() = Box::new(plan);
    }

    /// From now on nothing happens.
    pub fn calm(&self) {
        self.plan(Calm);
    }

    /// Whom to kill.
    pub fn set_victim(&self, victim: Option<Pid>) {
        *self.shared.victim.lock() = victim;
    }

    /// Rises with every kill.
    pub fn killed(&self) -> watch::Receiver<u64> {
        self.shared.killed.subscribe()
    }

    /// Ends every open watch.
    pub fn end_watches(&self, how: End) {
        self.shared.ends.send_modify(|(count, end)| {
            *count += 1;
            *end = how;
        });
    }

    /// How much was recorded, to count from later.
    pub fn mark(&self) -> usize {
        self.shared.record.lock().len()
    }

    /// What was recorded since then.
    pub fn since(&self, mark: usize) -> Vec<Entry> {
        self.shared.record.lock().get(mark..).unwrap_or_default().to_vec()
    }

    /// What was written since then, elections aside.
    pub fn writes_since(&self, mark: usize) -> Vec<Entry> {
        let mut all = self.since(mark);
        all.retain(|entry| entry.call.is_write() && !entry.call.is_election());
        all
    }
}

impl Shared {
    fn kill(&self) {
        if let Some(pid) = self.victim.lock().take() {
            kill_process(pid, Signal::KILL).ok();
        }
        self.killed.send_modify(|count| *count += 1);
    }

    fn note(&self, call: &Call, body: &Bytes) -> usize {
        let mut record = self.record.lock();
        record.push(Entry {
            at: Instant::now(),
            call: call.clone(),
            code: None,
            body: body.clone(),
        });
        record.len() - 1
    }

    fn answered(&self, index: usize, code: u16) {
        if let Some(entry) = self.record.lock().get_mut(index) {
            entry.code = Some(code);
        }
    }

    async fn forward(
        &self,
        parts: &http::request::Parts,
        body: &Bytes,
        index: usize,
    ) -> anyhow::Result<Response<Body>> {
        let mut request = Request::new(Body::from(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts
            .uri
            .path_and_query()
            .context("a request without a path")?
            .as_str()
            .parse()?;
        *request.headers_mut() = parts.headers.clone();
        for hop in [
            header::HOST,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ] {
            request.headers_mut().remove(hop);
        }
        let answer = self.upstream.send(request).await?;
        self.answered(index, answer.status().as_u16());
        Ok(answer)
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> anyhow::Result<Response<OutBody>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let call = Call::of(&parts.method, &parts.uri);
    let index = shared.note(&call, &body);
    let action = shared.plan.lock().request(&call);
    match action {
        Action::Pass => {}
        Action::Delay(time) => tokio::time::sleep(time).await,
        Action::Answer(refusal) => return Ok(refused(refusal)),
        Action::ExpireAtOnce => {
            let line = json!({"type": "ERROR", "object": status(EXPIRED)}).to_string() + "\n";
            return Ok(answer(200, line.into()));
        }
        Action::Replay(bytes) => return Ok(answer(200, bytes)),
        Action::Twice => {
            let first = shared.forward(&parts, &body, index).await?;
            let (head, content) = first.into_parts();
            let content = content.collect().await?.to_bytes();
            let second = shared.forward(&parts, &body, index).await?;
            second.into_body().collect().await?;
            return Ok(whole(head, content));
        }
        Action::CutBefore => anyhow::bail!("cut"),
        Action::Silence => std::future::pending::<()>().await,
        Action::CutAfter => {
            let answer = shared.forward(&parts, &body, index).await?;
            if call.verb != Verb::Watch {
                answer.into_body().collect().await?;
            }
            anyhow::bail!("cut")
        }
        Action::KillBefore => {
            shared.kill();
            anyhow::bail!("killed")
        }
        Action::KillAfter => {
            let answer = shared.forward(&parts, &body, index).await?;
            answer.into_body().collect().await?;
            shared.kill();
            anyhow::bail!("killed")
        }
    }
    let answer = shared.forward(&parts, &body, index).await?;
    let (head, content) = answer.into_parts();
    if call.verb == Verb::Watch && head.status.is_success() {
        let content = lines::follow(Arc::clone(&shared), call, content);
        return Ok(with_head(head, content));
    }
    Ok(whole(head, content.collect().await?.to_bytes()))
}

fn whole(head: http::response::Parts, content: Bytes) -> Response<OutBody> {
    with_head(head, full(content))
}

fn with_head(mut head: http::response::Parts, content: OutBody) -> Response<OutBody> {
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.remove(header::CONTENT_LENGTH);
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, content)
}

fn full(content: Bytes) -> OutBody {
    let never = |never: Infallible| match never {};
    Full::new(content).map_err(never).boxed()
}

fn answer(code: u16, content: Bytes) -> Response<OutBody> {
    let mut answer = Response::new(full(content));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// The Status object of a refusal.
pub fn status(refusal: Refusal) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": refusal.message, "reason": refusal.reason, "code": refusal.code,
    })
}

fn refused(refusal: Refusal) -> Response<OutBody> {
    let mut answer = answer(refusal.code, Bytes::from(status(refusal).to_string()));
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// How long a line that is told later waits at most.
pub(crate) const LATEST: Duration = Duration::from_secs(2);
