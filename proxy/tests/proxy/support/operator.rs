//! An operator that gives certificates to whoever asks with the right token, and speaks to whoever connects.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use smilax_core::Workload;
use smilax_core::workload_connection::{
    CERTIFICATE_PATH, CertificateRequest, CertificateResponse, OperatorEndpoint, OperatorMessage,
    ProxyMessage, TrustBundle, decode, encode,
};
use smilax_proxy::settings::IdentitySource;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::ProxyBuilder;
use super::authority::{Authority, Leaf, pem};

/// The token that it takes.
pub(crate) const TOKEN: &str = "marked-token-of-this-pod";

type Change = Box<dyn Fn(&mut Leaf) + Send>;
type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An operator.
pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// What it knows and does.
pub(crate) struct State {
    pub(crate) authority: Mutex<Arc<Authority>>,
    pub(crate) bundle: Mutex<TrustBundle>,
    change: Mutex<Change>,
    /// Answers to give instead of certificates, in this order.
    pub(crate) refusals: Mutex<VecDeque<StatusCode>>,
    requests: Mutex<Vec<CertificateRequest>>,
    sessions: Mutex<Vec<Session>>,
}

struct Session {
    heard: Arc<Mutex<Vec<ProxyMessage>>>,
    say: futures::channel::mpsc::UnboundedSender<Bytes>,
}

impl Operator {
    /// One that proves to be the operator, and signs with this authority.
    pub(crate) async fn start(authority: Authority) -> Self {
        Self::start_as(authority, "smilax-system/smilax-operator").await
    }

    /// One that proves to be somebody.
    pub(crate) async fn start_as(authority: Authority, account: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = server_config(&authority, account);
        let state = Arc::new(State {
            bundle: Mutex::new(authority.bundle(1)),
            authority: Mutex::new(Arc::new(authority)),
            change: Mutex::new(Box::new(|_| {})),
            refusals: Mutex::default(),
            requests: Mutex::default(),
            sessions: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&serving));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            state,
            accepting,
        }
    }

    /// What a configuration says of it.
    pub(crate) fn endpoint(&self) -> OperatorEndpoint {
        OperatorEndpoint {
            addresses: vec![self.address],
            workload: Workload::new("smilax-system", "smilax-operator"),
        }
    }

    /// A proxy that trusts it, and has the token that it takes.
    pub(crate) fn certified(&self, mut builder: ProxyBuilder) -> ProxyBuilder {
        let bundle = serde_json::to_vec(&*self.state.bundle.lock()).unwrap();
        builder.put("config/trust-bundle.json", &bundle);
        builder.put("token", format!("{TOKEN}\n").as_bytes());
        let token = builder.path("token");
        builder.set(|settings| settings.identity = IdentitySource::Operator { token })
    }

    /// How leaves differ from good ones.
    pub(crate) fn sign_with(&self, change: impl Fn(&mut Leaf) + Send + 'static) {
        *self.state.change.lock() = Box::new(change);
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.requests.lock().len()
    }

    /// Connections so far.
    pub(crate) fn sessions(&self) -> usize {
        self.state.sessions.lock().len()
    }

    /// What was heard on one of them.
    pub(crate) fn heard(&self, session: usize) -> Vec<ProxyMessage> {
        let sessions = self.state.sessions.lock();
        sessions
            .get(session)
            .map(|session| session.heard.lock().clone())
            .unwrap_or_default()
    }

    /// Says something on the newest connection.
    pub(crate) fn say(&self, message: &OperatorMessage) {
        let sessions = self.state.sessions.lock();
        let newest = sessions.last().unwrap();
        newest.say.unbounded_send(encode(message).unwrap()).unwrap();
    }

    /// Ends the newest connection.
    pub(crate) fn hang_up(&self) {
        self.state.sessions.lock().last().unwrap().say.close_channel();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn server_config(authority: &Authority, account: &str) -> Arc<ServerConfig> {
    let own = authority.leaf(account);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(own.chain.clone(), own.key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == CERTIFICATE_PATH {
        Ok(certify(&state, request).await)
    } else {
        Ok(converse(&state, request))
    }
}

async fn certify(state: &State, request: Request<Incoming>) -> Response<Body> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let request: CertificateRequest = serde_json::from_slice(&body).unwrap();
    let refusal = state.refusals.lock().pop_front();
    let refusal = refusal.or_else(|| (request.token != TOKEN).then_some(StatusCode::UNAUTHORIZED));
    let csr = base64::engine::general_purpose::STANDARD
        .decode(&request.csr)
        .unwrap();
    state.requests.lock().push(request);
    if let Some(status) = refusal {
        return Response::builder().status(status).body(full("no")).unwrap();
    }
    let key = rcgen::CertificateSigningRequestParams::from_der(&csr.into())
        .unwrap()
        .public_key;
    let authority = Arc::clone(&state.authority.lock());
    let leaf = authority.sign(&key, |leaf| (state.change.lock())(leaf));
    let response = CertificateResponse {
        chain: pem(&leaf) + &authority.issuer_pem(),
        issuer: authority.issuer_id(),
        bundle: state.bundle.lock().clone(),
    };
    Response::new(full(&serde_json::to_string(&response).unwrap()))
}

fn converse(state: &State, request: Request<Incoming>) -> Response<Body> {
    let (say, said) = futures::channel::mpsc::unbounded::<Bytes>();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut body = request.into_body();
    tokio::spawn({
        let heard = Arc::clone(&heard);
        async move {
            let mut received = BytesMut::new();
            while let Some(Ok(frame)) = body.frame().await {
                received.extend_from_slice(&frame.into_data().unwrap_or_default());
                while let Ok(Some(message)) = decode(&mut received) {
                    heard.lock().push(message);
                }
            }
        }
    });
    state.sessions.lock().push(Session { heard, say });
    Response::new(StreamBody::new(said.map(|frame| Ok(Frame::data(frame)))).boxed_unsync())
}

fn full(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync()
}
