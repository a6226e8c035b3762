use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use smilax_core::Workload;
use smilax_core::workload_connection::{CERTIFICATE_PATH, MOST_REQUEST_BYTES};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{client_config, context, request};
use super::{Client, Fixture};

fn web() -> Workload {
    Workload::new("shop", "web")
}

#[tokio::test]
async fn a_pod_gets_a_certificate_of_the_account_that_its_token_proves() {
    let fixture = Fixture::start().await;
    fixture.cluster.pod("good", &web(), "web-1", "u-1");
    let response = fixture.stranger().await.certificate("good").await.unwrap();
    assert_eq!(response.bundle, fixture.authority.bundle());
    assert_eq!(&response.issuer, fixture.authority.key_id());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(response.chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let peer = context(&fixture.authority).peer(&chain, UnixTime::now()).unwrap();
    assert_eq!((peer.workload, peer.pod_uid.as_deref()), (web(), Some("u-1")));
}

#[tokio::test]
async fn f7_a_token_that_is_not_believed_and_one_of_a_deleted_pod_get_nothing() {
    let fixture = Fixture::start().await;
    let mut client = fixture.stranger().await;
    assert_eq!(client.certificate("stolen").await, Err(StatusCode::UNAUTHORIZED));
    fixture.cluster.pod("good", &web(), "web-1", "u-1");
    fixture.cluster.delete_pods();
    assert_eq!(client.certificate("good").await, Err(StatusCode::FORBIDDEN));
    fixture.cluster.pod("other", &web(), "web-1", "u-2");
    assert_eq!(
        client.certificate("good").await,
        Err(StatusCode::FORBIDDEN),
        "replaced"
    );
    assert!(client.certificate("other").await.is_ok());
}

#[tokio::test]
async fn f8_one_pod_that_asks_without_end_is_slowed_down_and_others_are_not() {
    let fixture = Fixture::start().await;
    fixture.cluster.pod("greedy", &web(), "web-1", "u-1");
    fixture.cluster.pod("other", &web(), "web-2", "u-2");
    let mut client = fixture.stranger().await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(client.certificate("greedy").await.map(drop));
    }
    assert_eq!(answers[..6], [const { Ok(()) }; 6]);
    assert_eq!(answers[6], Err(StatusCode::TOO_MANY_REQUESTS));
    let body = Full::from(request("greedy")).boxed_unsync();
    let response = client.post(CERTIFICATE_PATH, body).await.unwrap();
    let wait: u64 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    assert!(client.certificate("other").await.is_ok());
}

#[tokio::test]
async fn f8_no_flood_of_tokens_reaches_the_api_server() {
    let fixture = Fixture::start().await;
    let mut client = fixture.stranger().await;
    let body = request("wrong");
    let begun = Instant::now();
    let mut refused = 0;
    for _ in 0..200 {
        let (status, _) = client.ask(body.clone()).await;
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    // 64 at once, and ten a second.
    let most = 64 + begun.elapsed().as_millis() / 100 + 1;
    let reviews = fixture.cluster.reviews();
    assert!(reviews as u128 <= most, "{reviews} of at most {most}");
    assert_eq!(reviews + refused, 200);
}

#[tokio::test]
async fn f1_garbage_is_refused_and_the_server_goes_on() {
    let fixture = Fixture::start().await;
    fixture.cluster.pod("good", &web(), "web-1", "u-1");
    let mut client = fixture.stranger().await;
    let deep = "[".repeat(20_000);
    let no_csr = br#"{"csr": "AAAA", "token": "good"}"#.to_vec();
    for bad in [
        Vec::new(),
        b"{}".to_vec(),
        deep.into_bytes(),
        vec![0xff; 1000],
        no_csr,
    ] {
        assert_eq!(client.ask(bad).await.0, StatusCode::BAD_REQUEST);
    }
    let large = vec![b' '; MOST_REQUEST_BYTES + 1];
    assert_eq!(client.ask(large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    // What is no TLS at all.
    let mut raw = TcpStream::connect(fixture.address).await.unwrap();
    raw.write_all(&[0x47; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = raw.read_to_end(&mut rest).await;
    assert_eq!(fixture.cluster.reviews(), 0);
    assert!(client.certificate("good").await.is_ok());
}

#[tokio::test]
async fn c13_what_a_refusal_says_does_not_hold_the_token() {
    let fixture = Fixture::start().await;
    let mut client = fixture.stranger().await;
    let (_, body) = client.ask(request("marked-token")).await;
    let (_, malformed) = client.ask(br#"{"token": "marked-token"}"#.to_vec()).await;
    for text in [body, malformed] {
        assert!(!String::from_utf8_lossy(&text).contains("marked-token"));
    }
}

#[tokio::test]
async fn c7_only_tls_1_3_is_spoken() {
    let fixture = Fixture::start().await;
    let config = client_config(&fixture.authority, None);
    let mut older = (*config).clone();
    older.alpn_protocols = vec![b"http/1.1".to_vec()];
    let refused = Client::connect(fixture.address, &std::sync::Arc::new(older)).await;
    assert!(refused.is_err(), "another protocol than HTTP/2");
    let stream = super::support::handshake(fixture.address, &config).await.unwrap();
    let version = stream.get_ref().1.protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    let exchange = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(exchange.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn without_an_authority_nobody_is_served_and_everybody_may_come_back() {
    let fixture = Fixture::start().await;
    let before = fixture.contexts.send_replace(None);
    let config = client_config(&fixture.authority, None);
    assert!(Client::connect(fixture.address, &config).await.is_err());
    fixture.contexts.send_replace(before);
    fixture.stranger().await;
}

#[tokio::test]
async fn f5_the_identity_of_the_operator_is_given_to_nobody() {
    let fixture = Fixture::start().await;
    let operator = Workload::new(super::support::NAMESPACE, "smilax-operator");
    fixture.cluster.pod("good", &operator, "smilax-operator-1", "u-9");
    let answer = fixture.stranger().await.certificate("good").await;
    assert_eq!(answer, Err(StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn f1_a_body_without_end_is_refused_before_it_ends() {
    let fixture = Fixture::start().await;
    let mut client = fixture.stranger().await;
    let spaces = futures::stream::repeat_with(|| {
        let bytes = bytes::Bytes::from_static(&[b' '; 4096]);
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(bytes))
    });
    let body = http_body_util::StreamBody::new(spaces).boxed_unsync();
    let response = client.post(CERTIFICATE_PATH, body).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn f1_connections_that_say_nothing_are_bounded_and_keep_nobody_out_for_long() {
    let fixture = Fixture::start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    // Of one address, 32 may be about to begin; the others are closed.
    let closed = silent.drain(32..).map(|mut stream| async move {
        let mut byte = [0];
        matches!(stream.read(&mut byte).await, Ok(0) | Err(_))
    });
    let closed = tokio::time::timeout(Duration::from_secs(5), futures::future::join_all(closed));
    assert_eq!(closed.await.unwrap(), [true; 68]);
    // What serves other addresses: this one's places are free again as soon as it lets go.
    drop(silent);
    let config = client_config(&fixture.authority, None);
    let served = async { while Client::connect(fixture.address, &config).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), served)
        .await
        .unwrap();
}

#[tokio::test]
async fn s12_a_token_that_another_container_than_the_sidecar_mounts_gets_no_certificate() {
    let fixture = Fixture::start().await;
    fixture
        .cluster
        .pod_of("stolen", &web(), ("web-1", "u-1"), "application");
    let mut client = fixture.stranger().await;
    let (status, body) = client.ask(request("stolen")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let told = String::from_utf8_lossy(&body).into_owned();
    assert!(
        told.contains("shop/web-1") && told.contains("application"),
        "{told}"
    );
    // What the pod is now counts, not what it was.
    fixture.cluster.pod("stolen", &web(), "web-1", "u-1");
    assert!(client.certificate("stolen").await.is_ok());
}

/// Answers to one request of each of so many pods of a namespace, made at once.
async fn asked_at_once(fixture: &Fixture, namespace: &str, pods: usize) -> Vec<Result<(), StatusCode>> {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..pods {
        let (token, pod) = (format!("{namespace}-{number}"), format!("web-{number}"));
        let workload = Workload::new(namespace, "web");
        fixture.cluster.pod(&token, &workload, &pod, &token);
        let mut client = fixture.stranger().await;
        asking.spawn(async move { client.certificate(&token).await.map(drop) });
    }
    asking.join_all().await
}

#[tokio::test]
async fn s39_a_pod_of_megabytes_is_not_read_whole() {
    let fixture = Fixture::start().await;
    fixture.cluster.pod("good", &web(), "web-1", "u-1");
    // Whoever decodes the whole of it finds no list here.
    fixture.cluster.change("web-1", |pod| {
        pod["spec"]["tolerations"] = "x".repeat(3_000_000).into();
    });
    assert!(fixture.stranger().await.certificate("good").await.is_ok());
    assert_eq!(fixture.cluster.looks().all, 1);
}

#[tokio::test]
async fn s39_a_pod_that_has_had_its_share_is_not_asked_for_again() {
    let fixture = Fixture::start().await;
    fixture.cluster.pod("greedy", &web(), "web-1", "u-1");
    let mut client = fixture.stranger().await;
    for _ in 0..10 {
        let _ = client.certificate("greedy").await;
    }
    assert_eq!((fixture.cluster.reviews(), fixture.cluster.looks().all), (10, 6));
}

#[tokio::test]
async fn s39_few_pods_are_asked_for_at_once_and_fewer_of_one_namespace() {
    let fixture = Fixture::start().await;
    fixture.cluster.slow(Duration::from_millis(50));
    let answers = asked_at_once(&fixture, "shop", 6).await;
    assert_eq!(answers, [const { Ok(()) }; 6]);
    assert_eq!(fixture.cluster.looks().most_at_once, 2);
    let namespaces = ["a", "b", "c"].map(|namespace| asked_at_once(&fixture, namespace, 3));
    let answers = futures::future::join_all(namespaces).await.concat();
    assert_eq!(answers, [const { Ok(()) }; 9]);
    assert_eq!(fixture.cluster.looks().most_at_once, 4);
}

#[tokio::test]
async fn s39_a_namespace_that_asks_for_many_pods_keeps_another_waiting_for_one_of_them_at_most() {
    let fixture = Fixture::start().await;
    fixture.cluster.slow(Duration::from_millis(600));
    let crowd = asked_at_once(&fixture, "crowd", 12);
    let other = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::time::timeout(Duration::from_secs(2), asked_at_once(&fixture, "shop", 1)).await
    };
    let (crowd, other) = futures::future::join(crowd, other).await;
    assert_eq!(other.unwrap(), [Ok(())]);
    assert!(
        crowd.contains(&Err(StatusCode::SERVICE_UNAVAILABLE)),
        "who waits for too long is told so"
    );
}
