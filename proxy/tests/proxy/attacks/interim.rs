//! S57: blank lines of a server where a response should begin.

use std::time::Duration;

use http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::stage::{Stage, Way};
use crate::support::client::{self, Http1, until};
use crate::support::server::{Server, full};

const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
const BLANK: &[u8] = b"\r\n\r\n";

/// The number that a request is for, as `/7`. `None` at the end of the connection.
async fn asked(stream: &mut TcpStream) -> Option<String> {
    stream.readable().await.ok()?;
    if stream.peek(&mut [0]).await.ok()? == 0 {
        return None;
    }
    let head = until(stream, "\r\n\r\n").await;
    Some(head.split(' ').nth(1)?.trim_start_matches('/').to_owned())
}

fn answer(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

#[tokio::test]
async fn s57_blank_lines_behind_an_interim_response_are_bounded_and_some_are_skipped() {
    for stage in Stage::all() {
        let _app = Server::tcp(stage.app, |mut stream| async move {
            while let Some(asked) = asked(&mut stream).await {
                for _ in 0..3 {
                    let _ = stream.write_all(HINTS).await;
                    for _ in 0..if asked == "flood" { 500 } else { 4 } {
                        if stream.write_all(BLANK).await.is_err() {
                            return;
                        }
                    }
                }
                let _ = stream.write_all(answer(&asked).as_bytes()).await;
            }
        })
        .await;
        let few = client::get(stage.address, "/few").await;
        assert_eq!(few.text, "few", "{:?}", stage.way);
        let flooded = client::get(stage.address, "/flood").await.status;
        assert!(flooded.is_server_error(), "{:?}: {flooded}", stage.way);
        let next = client::get(stage.address, "/next").await;
        assert_eq!(next.text, "next", "{:?}", stage.way);
    }
}

/// When a server says blank lines behind its response.
#[derive(Clone, Copy, Debug)]
enum Behind {
    AtOnce,
    Later,
}

#[tokio::test]
async fn s57_blank_lines_between_responses_are_never_an_answer_and_repeat_no_request() {
    for behind in [Behind::AtOnce, Behind::Later] {
        for way in [Way::Outbound, Way::Inbound, Way::Both] {
            let stage = Stage::of(way);
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let _app = Server::tcp(stage.app, move |mut stream| {
                let tell = tell.clone();
                async move {
                    while let Some(asked) = asked(&mut stream).await {
                        tell.send(asked.clone()).unwrap();
                        let mut said = answer(&asked).into_bytes();
                        if let Behind::AtOnce = behind {
                            said.extend_from_slice(BLANK);
                        }
                        let _ = stream.write_all(&said).await;
                        if let Behind::Later = behind {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                            let _ = stream.write_all(BLANK).await;
                        }
                    }
                }
            })
            .await;
            let mut application = Http1::connect(stage.address).await;
            for number in 0..20 {
                let path = format!("/{number}");
                let request = Request::post(&path).header("host", "web");
                let response = application.send(request.body(full("")).unwrap()).await;
                assert_eq!(response.text, number.to_string(), "{way:?} {behind:?}");
                assert_eq!(told.recv().await, Some(number.to_string()), "{way:?} {behind:?}");
                tokio::time::sleep(Duration::from_millis(number % 5)).await;
            }
            assert!(told.try_recv().is_err(), "{way:?} {behind:?}");
        }
    }
}
