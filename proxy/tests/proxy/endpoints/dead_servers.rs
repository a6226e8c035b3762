//! Servers without a sidecar whose kernel answers no more, as on a node that loses power.

use std::time::Duration;

use http::StatusCode;
use smilax_core::config::Protocol;
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{connected, endpoint, operator, tell};
use crate::support::client::{Http1, request, until};
use crate::support::operator::Operator;
use crate::support::server::{Server, full};
use crate::support::{Net, TestProxy};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalive";

/// How long a client waits at least, with some room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy that knows one endpoint, and a client of it.
async fn caller(net: Net) -> (Http1, (TestProxy, Operator, Server)) {
    let operator = operator().await;
    let virtual_address = Server::named(net.at(2), "virtual").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    (client, (proxy, operator, virtual_address))
}

/// From here on the kernel drops what arrives at this socket, and acknowledges nothing.
fn lose_power(stream: &TcpStream) {
    const RETURN: u16 = 0x06;
    SockRef::from(stream)
        .attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
        .unwrap();
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_acknowledges_nothing_is_sent_again_before_its_client_gives_up() {
    let net = Net::new();
    let (mut client, _held) = caller(net).await;
    let _server = Server::tcp(net.at(20), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(ANSWER).await.unwrap();
        lose_power(&stream);
        tokio::time::sleep(Duration::from_mins(1)).await;
    })
    .await;
    assert_eq!(client.get("/").await.text, "alive");
    let answer = tokio::time::timeout(PATIENCE, client.get("/")).await;
    assert_eq!(answer.expect("an answer in time").text, "virtual");
}

#[tokio::test]
async fn a_server_that_pauses_for_four_seconds_in_an_upload_is_not_given_up() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let net = Net::new();
    let (mut client, _held) = caller(net).await;
    let _server = Server::tcp(net.at(20), |mut stream| async move {
        SockRef::from(&stream).set_recv_buffer_size(64 * 1024).unwrap();
        until(&mut stream, "\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
        while read < LENGTH - 2048 {
            read += stream.read(&mut buffer).await.unwrap();
        }
        stream.write_all(ANSWER).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let mut upload = request("PUT", "/");
    *upload.body_mut() = full(vec![0; LENGTH]);
    let answer = client.send(upload).await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "alive"));
}
