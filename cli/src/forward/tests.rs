use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use kube::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;

const PORT: u16 = 15000;
/// Channels of the one port that is forwarded: its bytes, and why there are none.
const BYTES: u8 = 0;
const REFUSAL: u8 = 1;

/// What an API server does with one request to forward a port.
#[derive(Clone, Copy)]
enum Does {
    /// The pod answers with this.
    Answers(&'static str),
    /// The pod answers with this, and ends before the rest.
    BreaksOff(&'static str),
    /// The pod takes a log filter that ends so.
    Takes(&'static str),
    /// Nothing listens in the pod.
    Refuses(&'static str),
    /// The caller may not.
    Forbids,
    /// Nothing ever comes.
    Hangs,
}

/// An API server that forwards ports of pods once, and a client of it.
async fn api_server(does: Does) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, does).await;
    });
    Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap()
}

#[allow(clippy::result_large_err, reason = "the library asks for it")]
async fn serve(stream: TcpStream, does: Does) {
    let shake = |request: &Request, mut response: Response| {
        assert_eq!(
            request.uri().path(),
            "/api/v1/namespaces/shop/pods/web-1/portforward"
        );
        if matches!(does, Does::Forbids) {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Err(refusal);
        }
        let protocol = HeaderValue::from_static("v4.channel.k8s.io");
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, shake).await else {
        return;
    };
    for channel in [BYTES, REFUSAL] {
        let [low, high] = PORT.to_le_bytes();
        say(&mut socket, channel, &[low, high]).await;
    }
    match does {
        Does::Refuses(reason) => say(&mut socket, REFUSAL, reason.as_bytes()).await,
        Does::Takes(body) => {
            let asked = asked(&mut socket, body).await;
            assert!(asked.starts_with("PUT /log-level HTTP/1.1\r\n"), "{asked}");
            say(
                &mut socket,
                BYTES,
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nset\n",
            )
            .await;
        }
        Does::Answers(answer) | Does::BreaksOff(answer) => {
            let asked = asked(&mut socket, "\r\n\r\n").await;
            assert!(asked.starts_with("GET /config HTTP/1.1\r\n"), "{asked}");
            // In pieces, as they come.
            for piece in answer.as_bytes().chunks(7) {
                say(&mut socket, BYTES, piece).await;
            }
            if matches!(does, Does::BreaksOff(_)) {
                return socket.close(None).await.unwrap();
            }
        }
        Does::Forbids | Does::Hangs => {}
    }
    // Until the client has had enough.
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
}

/// What the client says, up to this.
async fn asked(socket: &mut WebSocketStream<TcpStream>, end: &str) -> String {
    let mut asked = Vec::new();
    while !asked.ends_with(end.as_bytes()) {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) if bytes.first() == Some(&BYTES) => {
                asked.extend_from_slice(&bytes[1..]);
            }
            _ => {}
        }
    }
    String::from_utf8(asked).unwrap()
}

async fn say(socket: &mut WebSocketStream<TcpStream>, channel: u8, bytes: &[u8]) {
    let frame: Vec<u8> = std::iter::once(channel).chain(bytes.iter().copied()).collect();
    socket.send(Message::binary(frame)).await.unwrap();
}

fn web() -> PodPort {
    PodPort {
        namespace: "shop".to_owned(),
        pod: "web-1".to_owned(),
        port: PORT,
    }
}

async fn answered(does: Does) -> anyhow::Result<Answer> {
    get(&api_server(does).await, &web(), "/config").await
}

#[tokio::test]
async fn something_is_put_through_the_forwarded_port_too() {
    let client = api_server(Does::Takes("info,smilax_proxy=debug")).await;
    let body = "info,smilax_proxy=debug".into();
    let answer = put(&client, &web(), "/log-level", body).await.unwrap();
    assert_eq!(answer.success().unwrap(), "set\n");
}

#[tokio::test]
async fn a_pod_is_asked_through_its_forwarded_port() {
    let said = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"a\": \"b c d\"}";
    let answer = answered(Does::Answers(said)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.success().unwrap(), "{\"a\": \"b c d\"");
}

#[tokio::test]
async fn an_answer_of_failure_says_what_the_pod_said() {
    let said = "HTTP/1.1 404 Not Found\r\ncontent-length: 29\r\n\r\nno configuration is in force\n";
    let error = answered(Does::Answers(said))
        .await
        .unwrap()
        .success()
        .unwrap_err()
        .to_string();
    assert_eq!(error, "404 Not Found: no configuration is in force");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let said = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello";
    let error = format!("{:#}", answered(Does::BreaksOff(said)).await.unwrap_err());
    assert!(error.contains("the answer breaks off"), "{error}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_with_the_reason() {
    let error = format!(
        "{:#}",
        answered(Does::Refuses("dial tcp4 127.0.0.1:15000: connection refused"))
            .await
            .unwrap_err()
    );
    assert!(error.contains("port 15000 of pod shop/web-1"), "{error}");
    assert!(error.contains("connection refused"), "{error}");
}

#[tokio::test]
async fn who_may_not_forward_ports_is_told_which_right_is_missing() {
    let error = format!("{:#}", answered(Does::Forbids).await.unwrap_err());
    assert!(
        error.contains("pods/portforward") && error.contains("namespace shop"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_says_nothing_is_given_up() {
    let error = format!("{:#}", answered(Does::Hangs).await.unwrap_err());
    assert!(error.contains("does not answer within 10 s"), "{error}");
}
