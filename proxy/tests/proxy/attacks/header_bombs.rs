//! Blocks of HTTP/2 in which one byte stands for a header.

use super::raw_http2::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Raw, frame, get};
use super::resources::{application, proxy};
use crate::support::client::get as ask;
use crate::support::{Net, eventually, soon};

/// `x:`, which goes into the table, and then so many bytes that name it.
fn bomb(headers: usize) -> Vec<u8> {
    let mut block = get(&[]);
    block.extend(b"\x40\x01x\x00");
    block.extend(vec![0xbe; headers - 1]);
    block
}

#[tokio::test]
async fn s6_a_head_of_many_headers_is_refused_and_one_of_thousands_ends_its_connection() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |_| ());
    let mut client = Raw::connect(proxy.inbound_address()).await;
    client
        .say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(1500)))
        .await;
    let refused = soon("an answer", client.until(HEADERS)).await.unwrap();
    assert_eq!(refused.stream, 1);
    // `:status: 431`, as HPACK writes it.
    assert!(
        refused.payload.starts_with(b"\x48\x83\x69\x90\xff"),
        "{refused:?}"
    );
    client
        .say(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &bomb(2500)))
        .await;
    assert!(client.ends().await);
    assert_eq!(ask(proxy.inbound_address(), "/").await.status, 200);
}

#[tokio::test]
async fn s6_trailers_of_hundreds_of_headers_end_their_connection() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |_| ());
    let mut client = Raw::connect(proxy.inbound_address()).await;
    client.say(&frame(HEADERS, END_HEADERS, 1, &get(&[]))).await;
    client.say(&frame(DATA, 0, 1, b"x")).await;
    let trailers = [&b"\x40\x01x\x00"[..], &[0xbe; 500]].concat();
    client
        .say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers))
        .await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn s6_blocks_that_do_not_end_take_of_the_memory_for_requests_by_their_headers() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |settings| settings.capacity.request_bytes = 2 * 1024 * 1024);
    let mut crowd = Vec::new();
    for _ in 0..12 {
        let mut client = Raw::connect(proxy.inbound_address()).await;
        client.say(&frame(HEADERS, 0, 1, &bomb(1000))).await;
        crowd.push(client);
    }
    let refused = || proxy.proxy().shared().metrics.overload.refused_requests.get();
    eventually("some are refused", || refused() > 0).await;
    assert!(crowd.pop().unwrap().ends().await);
    // A block that goes on is no more than one that has come at once.
    crowd[0].say(&frame(CONTINUATION, 0, 1, &[0xbe; 2000])).await;
    assert!(crowd[0].ends().await);
    drop(crowd);
    eventually("room is given back", || {
        proxy.proxy().shared().overload.load.used() == 0
    })
    .await;
}

#[tokio::test]
async fn s6_padding_and_priority_are_no_headers() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |_| ());
    let mut client = Raw::connect(proxy.inbound_address()).await;
    let padded = [&[200_u8, 0, 0, 0, 0, 16][..], &get(&[]), &[0xbe; 200]].concat();
    client
        .say(&frame(HEADERS, END_HEADERS | END_STREAM | 0x28, 1, &padded))
        .await;
    assert!(soon("an answer", client.until(HEADERS)).await.is_some());
}
