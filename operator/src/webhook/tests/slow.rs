//! Callers of the webhook port that send their bodies slowly.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::hostile::{MIB, Port, connect_from};
use super::*;

/// Begins a review from the address with this last number: what it announces, and what it sends of that.
async fn begin(port: &Port, last: u8, announced: usize, sent: usize) -> TlsStream<TcpStream> {
    let stream = connect_from(port, last).await;
    let mut stream = port.secure(stream, b"http/1.1").await.into_inner();
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: webhook\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whoever is refused meanwhile is hung up on.
    let _ = stream.write_all(&vec![b' '; sent]).await;
    stream
}

/// Reviews of which 6 MiB arrive and that never end, again and again.
async fn slow_bodies(port: Arc<Port>, last: u8) {
    loop {
        let mut stream = begin(&port, last, 13 * MIB / 2, 6 * MIB).await;
        while stream.write_all(b" ").await.is_ok() {
            let mut answer = [0; 16];
            let answered = timeout(Duration::from_millis(50), stream.read(&mut answer));
            if answered.await.is_ok() {
                break;
            }
        }
    }
}

/// A review of 1 MiB that is answered without reading it.
fn deletion() -> Request<Full<Bytes>> {
    let mut review = review(SPLIT, "DELETE", &Value::Null);
    review["request"]["oldObject"] = "x".repeat(MIB).into();
    let body = review.to_string();
    let mut request = post("/validate", body.clone());
    request.headers_mut().insert("content-length", body.len().into());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s40_two_addresses_that_send_40_mib_of_reviews_slowly_keep_no_review_of_another_waiting() {
    let port = Arc::new(Port::open().await);
    let mut attack = JoinSet::new();
    for connection in 0..6 {
        attack.spawn(slow_bodies(Arc::clone(&port), 2 + connection % 2));
    }
    sleep(Duration::from_millis(600)).await;
    let mut reviews = JoinSet::new();
    for _ in 0..25 {
        let port = Arc::clone(&port);
        reviews.spawn(async move { port.ask(deletion()).await.0 });
    }
    assert_eq!(reviews.join_all().await, [StatusCode::OK; 25]);
    attack.shutdown().await;
}

#[tokio::test]
async fn s40_a_body_that_arrives_too_slowly_is_hung_up_on() {
    let port = Port::open().await;
    let begun = Instant::now();
    let mut stream = begin(&port, 2, 7 * MIB, 2 * MIB).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert!(
        begun.elapsed() >= Duration::from_millis(3400),
        "3 s, and what 2 MiB may take"
    );
    assert!(begun.elapsed() <= Duration::from_secs(20));
    port.close().await;
}
