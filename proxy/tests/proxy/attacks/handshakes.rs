//! C10: handshakes that nobody means to finish.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use smilax_proxy::tls::{TlsContext, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::identity::{FAILURES, is_turned_away, strict};
use super::resources::connect_from;
use crate::support::client::{get, to_end};
use crate::support::mesh::{Mesh, credulous};
use crate::support::server::Server;
use crate::support::{over_both, soon};
use smilax_core::config::Protocol;
use smilax_proxy::settings::Settings;

/// The first message of a handshake of somebody who has this.
fn hello(context: &TlsContext) -> Vec<u8> {
    let config = Arc::clone(context.client(Wire::Http1));
    let mut connection = ClientConnection::new(config, ServerName::try_from("web").unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn c10_handshakes_that_do_not_go_on_end_and_cannot_take_the_place_of_others() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web_with(strict(), |builder| {
            builder.set(|settings| {
                settings.limits.handshake = Duration::from_millis(400);
                settings.limits.handshakes_of_one = 20;
            })
        });
        let mut half_open = Vec::new();
        for begun in (0..60).map(|index| [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..index % 6 + 3]].concat()) {
            let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
            let _ = stream.write_all(&begun).await;
            half_open.push(stream);
        }
        for mut stream in half_open {
            let mut nothing = Vec::new();
            let _ = soon("the end", stream.read_to_end(&mut nothing)).await;
            assert!(nothing.is_empty());
        }
        assert!(web.metric_sum(FAILURES, &["reason=\"too_many\""]).await >= 30);
        let client = mesh.client(Protocol::Http);
        assert_eq!(get(client.outbound_address(), "/").await.text, "app");
    })
    .await;
}

#[tokio::test]
async fn c10_a_hello_in_pieces_is_understood_and_one_that_is_too_large_or_offers_nothing_of_ours_is_not() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web(strict());
        let as_client = mesh.context("shop/client");
        let hello = hello(&as_client);
        let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in hello.chunks(hello.len() / 7) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut first = [0; 3];
        soon("the server's hello", stream.read_exact(&mut first))
            .await
            .unwrap();
        assert_eq!(first[0], 0x16);
        assert!(is_turned_away(&mesh, Arc::new(credulous(&[b"http/1.1"]))).await);
        assert!(is_turned_away(&mesh, Arc::new(credulous(&[]))).await);
        // A handshake message that says it has 16 MiB, in record after record.
        let record = [&[0x16, 3, 1, 0x40, 0][..], &vec![0; 16 * 1024]].concat();
        let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
        let mut huge = record.clone();
        huge[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
        let _ = stream.write_all(&huge).await;
        for _ in 0..8 {
            let _ = stream.write_all(&record).await;
        }
        assert_eq!(to_end(&mut stream).await, "");
    })
    .await;
}

#[tokio::test]
async fn c10_a_flood_of_hellos_from_one_address_holds_up_no_handshake_of_another() {
    const MOST: usize = 20;
    const FLOOD: usize = 300;
    let mesh = Mesh::new();
    let web = mesh.web_with(strict(), |builder| {
        builder.set(|settings| settings.limits.handshakes_of_one = MOST)
    });
    let as_client = mesh.context("shop/client");
    let hello = hello(&as_client);
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let mut stream = connect_from(mesh.net.at(9).ip(), web.inbound_address()).await;
        // Those beyond the limit are reset at once.
        let _ = stream.write_all(&hello).await;
        flood.push(stream);
    }
    for number in 0..20 {
        let connected = mesh.connect(&as_client, Wire::Http2).await;
        assert!(connected.is_ok(), "{number}: {connected:?}");
    }
    let refused = web.metric_sum(FAILURES, &["reason=\"too_many\""]).await;
    assert!(refused > 0 && refused <= (FLOOD - MOST) as u64, "{refused}");
}

#[tokio::test]
async fn s52_a_hello_that_is_longer_than_those_of_proxies_is_not_waited_for() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::tcp(mesh.app(1), |mut stream| async move {
            let mut first = [0; 9];
            stream.read_exact(&mut first).await.unwrap();
            stream.write_all(b"heard").await.unwrap();
        })
        .await;
        let endless = |length: u16| {
            let [high, low] = length.to_be_bytes();
            [&[0x16, 3, 1, 0x40, 0, 1, 0, high, low][..], &[0; 4096]].concat()
        };
        // Waiting would take longer than a test may.
        let patient = |settings: &mut Settings| settings.limits.handshake = Duration::from_hours(1);
        let open = mesh.web_with(vec![], |builder| builder.set(patient));
        let mut stream = TcpStream::connect(open.inbound_address()).await.unwrap();
        stream.write_all(&endless(62 * 1024)).await.unwrap();
        assert_eq!(
            to_end(&mut stream).await,
            "heard",
            "it is the application's affair"
        );
        drop(open);
        let closed = mesh.web_with(strict(), |builder| builder.set(patient));
        for first in [
            &endless(62 * 1024)[..],
            b"\x16\x03\x01\x02\x00\x01 a TLS ClientHello",
            b"\x16\x03\x01\x02\x00\x02",
        ] {
            let mut stream = TcpStream::connect(closed.inbound_address()).await.unwrap();
            let _ = stream.write_all(first).await;
            assert_eq!(to_end(&mut stream).await, "");
        }
        assert_eq!(app.connections(), 1);
    })
    .await;
}
