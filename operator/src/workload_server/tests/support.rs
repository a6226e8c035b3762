//! A server of ours, an API server that knows a few tokens, and a proxy's side of the conversation.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prometheus::Registry;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use smilax_compiler::index::Settings;
use smilax_compiler::ingest;
use smilax_compiler::model::{Account, Namespace};
use smilax_core::Workload;
use smilax_core::workload_connection::{
    self as wire, CERTIFICATE_PATH, CONNECT_PATH, CertificateRequest, CertificateResponse, Hello,
    OperatorMessage, ProxyMessage,
};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, InUse, Material, Subject};
use crate::controller::State;
use crate::controller::kinds::Watched;
use crate::pki::provider;
use crate::workload_server::{FleetStore, Hub, Server, TlsContext, WorkloadMetrics, serve};

pub(super) const NAMESPACE: &str = "smilax-system";

/// The API server, as far as tokens and pods go.
#[derive(Clone, Default)]
pub(super) struct Cluster(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// By token: account, pod, UID.
    tokens: BTreeMap<String, (Workload, String, String)>,
    reviews: usize,
    /// By path.
    pods: BTreeMap<String, Value>,
    looks: Looks,
    /// How long the API server takes to show a pod.
    slowness: Duration,
}

/// How pods were asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Looks {
    pub(super) all: usize,
    pub(super) under_way: usize,
    pub(super) most_at_once: usize,
}

impl Cluster {
    pub(super) fn pod(&self, token: &str, workload: &Workload, pod: &str, uid: &str) {
        self.pod_of(token, workload, (pod, uid), "smilax-proxy");
    }

    /// The same, with the token in a container of this name.
    pub(super) fn pod_of(&self, token: &str, workload: &Workload, (pod, uid): (&str, &str), container: &str) {
        let mut known = self.0.lock();
        known.tokens.insert(
            token.to_owned(),
            (workload.clone(), pod.to_owned(), uid.to_owned()),
        );
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "namespace": &*workload.namespace, "uid": uid},
            "spec": {
                "serviceAccountName": &*workload.account, "containers": [],
                "initContainers": [{
                    "name": container, "image": "localhost/smilax-proxy:0.1.0", "args": ["run"],
                    "volumeMounts": [{"name": "smilax-token", "mountPath": "/token"}],
                }],
                "volumes": [{
                    "name": "smilax-token",
                    "projected": {"sources": [{"serviceAccountToken": {"audience": "smilax.dev", "path": "token"}}]},
                }],
            },
        });
        let path = format!("/api/v1/namespaces/{}/pods/{pod}", workload.namespace);
        known.pods.insert(path, object);
    }

    /// Changes a pod of the namespace `shop`.
    pub(super) fn change(&self, pod: &str, change: impl FnOnce(&mut Value)) {
        let path = format!("/api/v1/namespaces/shop/pods/{pod}");
        change(self.0.lock().pods.get_mut(&path).unwrap());
    }

    /// The pod goes; its token is still believed for a while.
    pub(super) fn delete_pods(&self) {
        self.0.lock().pods.clear();
    }

    pub(super) fn reviews(&self) -> usize {
        self.0.lock().reviews
    }

    pub(super) fn looks(&self) -> Looks {
        self.0.lock().looks
    }

    /// From now on the API server takes so long to show a pod.
    pub(super) fn slow(&self, by: Duration) {
        self.0.lock().slowness = by;
    }

    /// A pod that is listed by its name. Nobody gets a whole pod.
    async fn look(&self, uri: &http::Uri) -> (StatusCode, Value) {
        let slowness = {
            let mut known = self.0.lock();
            let looks = &mut known.looks;
            looks.all += 1;
            looks.under_way += 1;
            looks.most_at_once = looks.most_at_once.max(looks.under_way);
            known.slowness
        };
        tokio::time::sleep(slowness).await;
        let mut known = self.0.lock();
        known.looks.under_way -= 1;
        let name = uri
            .query()
            .and_then(|query| query.split_once("fieldSelector=metadata.name%3D"))
            .map(|(_, name)| name.trim_end_matches('&'));
        let Some(name) = name else {
            let failure = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": ""});
            return (StatusCode::FORBIDDEN, failure);
        };
        let pod = known.pods.get(&format!("{}/{name}", uri.path()));
        let items: Vec<&Value> = pod.into_iter().collect();
        (
            StatusCode::OK,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}),
        )
    }

    fn client(&self) -> kube::Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let cluster = cluster.clone();
            async move { Ok::<_, Infallible>(cluster.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<kube::client::Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (status, answer) = if head.method == Method::POST {
            let mut known = self.0.lock();
            known.reviews += 1;
            let body: Value = serde_json::from_slice(&body).unwrap();
            let token = body["spec"]["token"].as_str().unwrap();
            let status = known.tokens.get(token).map(|(workload, pod, uid)| {
                json!({
                    "authenticated": true,
                    "audiences": body["spec"]["audiences"],
                    "user": {
                        "username": format!("system:serviceaccount:{}:{}", workload.namespace, workload.account),
                        "extra": {
                            "authentication.kubernetes.io/pod-name": [pod],
                            "authentication.kubernetes.io/pod-uid": [uid],
                        },
                    },
                })
            });
            let status = status.unwrap_or_else(|| json!({"authenticated": false}));
            (StatusCode::CREATED, json!({"spec": {}, "status": status}))
        } else {
            self.look(&head.uri).await
        };
        Response::builder()
            .status(status)
            .body(kube::client::Body::from(serde_json::to_vec(&answer).unwrap()))
            .unwrap()
    }
}

/// A server that runs.
pub(super) struct Fixture {
    pub(super) cluster: Cluster,
    pub(super) address: SocketAddr,
    pub(super) contexts: watch::Sender<Option<Arc<TlsContext>>>,
    pub(super) fleet: Arc<FleetStore>,
    pub(super) state: Arc<State>,
    pub(super) authority: Authority,
    pub(super) metrics: WorkloadMetrics,
    pub(super) shutdown: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) fn context(authority: &Authority) -> Arc<TlsContext> {
    let bundle = authority.bundle();
    let authority = authority.clone();
    let in_use = Arc::new(InUse { authority, bundle });
    let domain = smilax_core::TrustDomain::default();
    Arc::new(TlsContext::new(in_use, domain, NAMESPACE, OffsetDateTime::now_utc()).unwrap())
}

pub(super) fn authority() -> Authority {
    let now = OffsetDateTime::now_utc();
    Authority::examine(Material::create(7, now).unwrap(), now).unwrap()
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Self::with(authority()).await
    }

    pub(super) async fn with(authority: Authority) -> Self {
        let (cluster, state) = (Cluster::default(), State::new(Settings::default()));
        state.update(|inner| Watched::all().for_each(|kind| inner.listed(kind)));
        let (contexts, seen) = watch::channel(Some(context(&authority)));
        let fleet = Arc::new(FleetStore::new());
        let metrics = WorkloadMetrics::new(&Registry::new()).unwrap();
        let hub = Arc::new(Hub::new(Arc::clone(&state), seen.clone(), metrics.clone()));
        let server = Server::new(
            (cluster.client(), Arc::clone(&state), NAMESPACE.to_owned()),
            seen,
            (Arc::clone(&fleet), Arc::clone(&hub)),
            Duration::from_hours(24),
            metrics.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, server, shutdown.clone()));
        let following = Arc::clone(&hub);
        tokio::spawn(
            shutdown
                .clone()
                .run_until_cancelled_owned(async move { following.run().await }),
        );
        Self {
            cluster,
            address,
            contexts,
            fleet,
            state,
            authority,
            metrics,
            shutdown,
        }
    }

    /// A connection without a certificate, which trusts this mesh.
    pub(super) async fn stranger(&self) -> Client {
        Client::connect(self.address, &client_config(&self.authority, None))
            .await
            .unwrap()
    }

    /// A connection of a pod with a certificate of this mesh.
    pub(super) async fn pod(&self, workload: &Workload, uid: &str) -> Client {
        let config = client_config(&self.authority, Some((&self.authority, workload, Some(uid))));
        Client::connect(self.address, &config).await.unwrap()
    }
}

/// Trusts `trusted`, and shows a certificate of another authority or the same.
pub(super) fn client_config(
    trusted: &Authority,
    own: Option<(&Authority, &Workload, Option<&str>)>,
) -> Arc<ClientConfig> {
    // What a proxy checks beyond the chain is the proxy's matter; here its roots suffice.
    let context = context(trusted);
    let verifier = Arc::clone(&context);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier.operator_verifier());
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((authority, workload, pod_uid)) => {
            let domain = smilax_core::TrustDomain::default();
            let subject = Subject {
                trust_domain: &domain,
                workload,
                pod_uid,
            };
            let now = OffsetDateTime::now_utc();
            let (issued, key) = authority
                .sign_own(&subject, Duration::from_hours(1), now)
                .unwrap();
            let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A proxy's side.
pub(super) struct Client {
    sender: http2::SendRequest<UnsyncBoxBody<Bytes, Infallible>>,
    pub(super) ended: tokio::task::JoinHandle<()>,
}

pub(super) async fn handshake(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector
        .connect(ServerName::IpAddress(address.ip().into()), stream)
        .await
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = handshake(address, config).await?;
        // A small window, so that what is not read soon waits on the other side.
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(8 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        let ended = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, ended })
    }

    pub(super) async fn post(
        &mut self,
        path: &str,
        body: UnsyncBoxBody<Bytes, Infallible>,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://operator{path}"))
            .body(body)
            .unwrap();
        self.sender.send_request(request).await
    }

    /// Asks for a certificate with these bytes.
    pub(super) async fn ask(&mut self, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
        let body = Full::new(body.into()).boxed_unsync();
        let response = self.post(CERTIFICATE_PATH, body).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    pub(super) async fn certificate(&mut self, token: &str) -> Result<CertificateResponse, StatusCode> {
        match self.ask(request(token)).await {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body).unwrap()),
            (status, _) => Err(status),
        }
    }

    /// Opens the stream and says the first message.
    pub(super) async fn stream(&mut self, first: ProxyMessage) -> Stream {
        let (says, mut said) = mpsc::unbounded_channel::<Bytes>();
        says.send(wire::encode(&first).unwrap()).unwrap();
        let frames = futures::stream::poll_fn(move |context| said.poll_recv(context));
        let frames = futures::StreamExt::map(frames, |bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        let body = StreamBody::new(frames).boxed_unsync();
        let response = self.post(CONNECT_PATH, body).await.unwrap();
        Stream {
            status: response.status(),
            says,
            hears: response.into_body(),
            received: BytesMut::new(),
        }
    }
}

pub(super) struct Stream {
    pub(super) status: StatusCode,
    pub(super) says: mpsc::UnboundedSender<Bytes>,
    hears: Incoming,
    received: BytesMut,
}

impl Stream {
    pub(super) fn say(&self, message: &ProxyMessage) {
        self.says.send(wire::encode(message).unwrap()).unwrap();
    }

    pub(super) async fn hear(&mut self) -> Option<OperatorMessage> {
        loop {
            if let Some(message) = wire::decode(&mut self.received).unwrap() {
                return Some(message);
            }
            let frame = self.hears.frame().await?.ok()?;
            self.received
                .extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

pub(super) fn request(token: &str) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap();
    let request = CertificateRequest {
        csr: STANDARD.encode(csr.der()),
        token: token.to_owned(),
    };
    serde_json::to_vec(&request).unwrap()
}

pub(super) fn hello(pod: &str, bundle: u64) -> ProxyMessage {
    ProxyMessage::Hello(Hello {
        version: "0.1.0".to_owned(),
        pod: pod.to_owned(),
        bundle: Some(bundle),
        ..Hello::default()
    })
}

/// Lets the pods of a binding by labels call `shop/web`.
pub(in crate::workload_server) fn bind(state: &State) {
    let binding = json!({
        "metadata": {"namespace": "shop", "name": "labelled"},
        "spec": {"schemes": {"podLabelSelector": {"matchLabels": {"app": "client"}}}},
    });
    let target = json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": "web"},
            "sources": [{"kind": "IdentityBinding", "name": "labelled", "namespace": "shop"}],
            "rules": [{"kind": "TCPRoute", "name": "all"}],
        },
    });
    state.update(|inner| {
        let index = &mut inner.index;
        let namespace = Namespace {
            name: "shop".into(),
            ..Namespace::default()
        };
        index.set_namespace("shop", Some(namespace));
        index.set_account("shop", "web".into(), Some(Account::default()));
        index.set_binding(
            "shop",
            "labelled".into(),
            Some(ingest::identity_binding(&binding)),
        );
        let route = json!({"metadata": {"namespace": "shop", "name": "all"}, "spec": {}});
        index.set_tcp_route("shop", "all".into(), Some(ingest::port_route(&route)));
        index.set_target("shop", "web".into(), Some(ingest::traffic_target(&target)));
    });
}
