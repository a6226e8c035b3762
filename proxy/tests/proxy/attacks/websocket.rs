//! B13: WebSocket. A proxy carries what follows 101 byte for byte, also what RFC 6455 forbids: only the two ends know
//! which extensions they agreed on. The cases follow the groups of the Autobahn test suite.

mod frame;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use frame::{BINARY, CLOSE, CONTINUATION, FIN, MASKS, Mask, PING, PONG, TEXT, either, frame};

use super::raw_http2::{
    END_HEADERS, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS, block, frame as http2_frame,
};
use super::stage::{Recorder, Stage};
use crate::support::server::Server;
use crate::support::soon;

const REQUEST: &str = "GET /chat?room=1 HTTP/1.1\r\nhost: web\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: chat, superchat\r\nsec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\
    sec-websocket-extensions: permessage-deflate\r\n\r\n";

/// Reads a head, and nothing of what is behind it.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(soon("the head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// What an application got: the head of the request, then every byte.
struct Heard(UnboundedReceiver<(String, Vec<u8>)>);

impl Heard {
    async fn next(&mut self) -> (String, Vec<u8>) {
        soon("the application is done", self.0.recv()).await.unwrap()
    }
}

/// An application that accepts, says these pieces, and tells what it got once the client says no more.
async fn accepting(address: SocketAddr, pieces: Vec<Vec<u8>>) -> (Server, Heard) {
    let (tell, told) = unbounded_channel();
    let server = Server::tcp(address, move |stream| {
        converse(stream, pieces.clone(), tell.clone())
    })
    .await;
    (server, Heard(told))
}

async fn converse(mut stream: TcpStream, pieces: Vec<Vec<u8>>, tell: UnboundedSender<(String, Vec<u8>)>) {
    stream.set_nodelay(true).unwrap();
    let head = head(&mut stream).await;
    stream.write_all(ACCEPTED.as_bytes()).await.unwrap();
    let got = both_ways(&mut stream, &pieces).await;
    let _ = tell.send((head, got));
}

/// Says these pieces and then no more, and reads until the other side does the same.
async fn both_ways(stream: &mut TcpStream, pieces: &[Vec<u8>]) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let say = async {
        for piece in pieces {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let ((), length) = tokio::join!(say, read.read_to_end(&mut got));
    length.unwrap();
    got
}

/// A client whose upgrade was accepted.
async fn upgraded(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream
}

/// Holds that these pieces arrive in both directions at once, in this order and not a byte else.
async fn carried(pieces: Vec<Vec<u8>>) {
    let whole = pieces.concat();
    for stage in Stage::all_over_both() {
        let (_app, mut heard) = accepting(stage.app, pieces.clone()).await;
        let mut stream = upgraded(stage.address).await;
        let got = soon("the end", both_ways(&mut stream, &pieces)).await;
        same(&got, &whole, &stage, "to the client");
        let (_, got) = heard.next().await;
        same(&got, &whole, &stage, "to the application");
    }
}

/// Says where two differ, as they may be large.
fn same(got: &[u8], expected: &[u8], stage: &Stage, direction: &str) {
    let at = got
        .iter()
        .zip(expected)
        .position(|(got, expected)| got != expected);
    assert!(
        at.is_none() && got.len() == expected.len(),
        "{:?} over {:?}, {direction}: {} of {} bytes, the first that differs is {at:?}",
        stage.way,
        stage.family,
        got.len(),
        expected.len()
    );
}

#[tokio::test]
async fn b13_the_handshake_arrives_as_it_was_said() {
    for stage in Stage::all_over_both() {
        let (_app, mut heard) = accepting(stage.app, vec![]).await;
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await.to_lowercase();
        both_ways(&mut stream, &[]).await;
        let (request, _) = heard.next().await;
        let request = request.to_lowercase();
        assert!(request.starts_with("get /chat?room=1 http/1.1\r\n"), "{request}");
        for (got, said) in [(&request, REQUEST), (&answer, ACCEPTED)] {
            for line in said.lines().filter(|line| line.starts_with("sec-")) {
                assert!(
                    got.contains(&line.to_lowercase()),
                    "{:?}: {line}: {got}",
                    stage.way
                );
            }
            assert!(
                got.contains("\r\nupgrade: websocket\r\n"),
                "{:?}: {got}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn b13_frames_of_every_form_of_length_arrive() {
    let lengths = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537];
    let mut pieces: Vec<_> = lengths
        .iter()
        .flat_map(|&length| [TEXT, BINARY].map(|opcode| (opcode, vec![b'*'; length])))
        .flat_map(|(opcode, payload)| either(FIN | opcode, &payload))
        .collect();
    // Longer forms than are needed, and a length whose highest bit is set.
    pieces.push(vec![FIN | BINARY, 126, 0, 1, b'x']);
    pieces.push(vec![FIN | BINARY, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'x']);
    pieces.push(vec![
        FIN | BINARY,
        127,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
    ]);
    carried(pieces).await;
}

#[tokio::test]
async fn b13_pings_and_pongs_are_answered_by_nobody_in_between() {
    let mut pieces = Vec::new();
    for opcode in [PING, PONG] {
        for payload in [&b""[..], b"Hello", &[0xfe; 125], &[0xfe; 126]] {
            pieces.extend(either(FIN | opcode, payload));
        }
    }
    pieces.extend((0..10_u8).map(|number| frame(FIN | PING, MASKS[0], &[number])));
    carried(pieces).await;
}

#[tokio::test]
async fn b13_reserved_bits_and_opcodes_arrive() {
    let firsts = (0..=0x0f).flat_map(|opcode| (0..8).map(move |reserved| FIN | reserved << 4 | opcode));
    carried(firsts.flat_map(|first| either(first, b"reserved")).collect()).await;
}

#[tokio::test]
async fn b13_fragments_arrive_in_any_order() {
    let key = MASKS[0];
    let orders: [&[u8]; 8] = [
        &[TEXT, FIN | CONTINUATION],
        &[TEXT, CONTINUATION, FIN | PING, FIN | CONTINUATION],
        &[FIN | CONTINUATION],
        &[CONTINUATION, FIN | TEXT],
        &[TEXT, FIN | TEXT],
        &[TEXT, BINARY, FIN | CONTINUATION],
        &[PING, CONTINUATION, FIN | CONTINUATION],
        &[TEXT, CONTINUATION],
    ];
    let frames = orders.iter().copied().flatten();
    carried(frames.map(|&first| frame(first, key, b"fragment")).collect()).await;
}

#[tokio::test]
async fn b13_text_that_is_no_utf_8_arrives() {
    let texts: [&[u8]; 9] = [
        "\u{ce}\u{ba}\u{1f60e}".as_bytes(),
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xc0\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xed\xbf\xbf",
        b"\xef\xbf\xbf",
        b"\x80",
        b"\xff\xfe",
    ];
    let mut pieces: Vec<_> = texts.iter().flat_map(|text| either(FIN | TEXT, text)).collect();
    // A character in two fragments, and in two pieces of one frame.
    pieces.push(frame(TEXT, MASKS[0], b"\xf0\x9f"));
    pieces.push(frame(FIN | CONTINUATION, MASKS[0], b"\x98\x8e"));
    let whole = frame(FIN | TEXT, Mask::Absent, texts[0]);
    pieces.extend(whole.iter().map(|&byte| vec![byte]));
    carried(pieces).await;
}

#[tokio::test]
async fn b13_close_frames_end_nothing_until_the_ends_do() {
    let codes: [u16; 19] = [
        0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1012, 1015, 1016, 2999, 3000, 4999,
        5000, 65_535,
    ];
    let mut pieces: Vec<_> = codes
        .iter()
        .flat_map(|code| either(FIN | CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat()))
        .collect();
    for payload in [&b""[..], b"\x03", b"\x03\xe8\xff\xfe", &[b'x'; 126]] {
        pieces.extend(either(FIN | CLOSE, payload));
    }
    pieces.extend(either(FIN | TEXT, b"after the close"));
    carried(pieces).await;
}

#[tokio::test]
async fn b13_messages_of_16_mib_arrive_whole_and_in_fragments() {
    const LARGE: usize = 16 * 1024 * 1024;
    let payload: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    carried(vec![frame(FIN | BINARY, MASKS[0], &payload)]).await;
    let mut pieces = vec![frame(BINARY, MASKS[0], b"")];
    pieces.extend(
        payload
            .chunks(64 * 1024)
            .map(|chunk| frame(CONTINUATION, MASKS[0], chunk)),
    );
    pieces.push(frame(FIN | CONTINUATION, MASKS[0], b""));
    carried(pieces).await;
}

#[tokio::test]
async fn b13_a_frame_in_pieces_arrives() {
    let whole = frame(FIN | TEXT, MASKS[0], "*".repeat(65_536).as_bytes());
    carried(whole.chunks(1_300).map(<[u8]>::to_vec).collect()).await;
}

#[tokio::test]
async fn b13_frames_in_one_piece_with_the_handshake_are_not_lost() {
    let first = frame(FIN | TEXT, MASKS[0], b"first");
    for stage in Stage::all_over_both() {
        let (tell, told) = unbounded_channel();
        let said = [ACCEPTED.as_bytes(), &first].concat();
        let _app = Server::tcp(stage.app, move |mut stream| {
            let (tell, said) = (tell.clone(), said.clone());
            async move {
                let head = head(&mut stream).await;
                stream.write_all(&said).await.unwrap();
                let got = both_ways(&mut stream, &[]).await;
                let _ = tell.send((head, got));
            }
        })
        .await;
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let said = [REQUEST.as_bytes(), &first].concat();
        stream.write_all(&said).await.unwrap();
        head(&mut stream).await;
        let got = soon("the end", both_ways(&mut stream, &[])).await;
        same(&got, &first, &stage, "to the client");
        let (_, got) = Heard(told).next().await;
        same(&got, &first, &stage, "to the application");
    }
}

#[tokio::test]
async fn b13_the_end_of_one_side_is_the_end_for_the_other() {
    for stage in Stage::all_over_both() {
        let (tell, mut told) = unbounded_channel();
        let _app = Server::tcp(stage.app, move |mut stream| {
            let tell = tell.clone();
            async move {
                head(&mut stream).await;
                stream.write_all(ACCEPTED.as_bytes()).await.unwrap();
                if stream.read_u8().await.is_ok() {
                    // Its end comes with a reset.
                    stream.set_zero_linger().unwrap();
                    return;
                }
                let _ = tell.send(());
            }
        })
        .await;
        let mut stream = upgraded(stage.address).await;
        stream.write_all(b"x").await.unwrap();
        let ended = soon("the application's end", stream.read_u8()).await;
        assert!(ended.is_err(), "{:?}: {ended:?}", stage.way);
        let stream = upgraded(stage.address).await;
        stream.set_zero_linger().unwrap();
        drop(stream);
        soon("the client's end", told.recv()).await.unwrap();
    }
}

/// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 section 3).
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

#[tokio::test]
async fn b13_websocket_over_http2_is_not_offered_and_refused() {
    for stage in Stage::all_over_both() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        let settings = raw.until(SETTINGS).await.unwrap().payload;
        let offered = settings
            .chunks(6)
            .map(|setting| u16::from_be_bytes([setting[0], setting[1]]));
        assert!(
            !offered.collect::<Vec<_>>().contains(&ENABLE_CONNECT_PROTOCOL),
            "{:?}",
            stage.way
        );
        let request = block(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "web"),
            ("sec-websocket-version", "13"),
        ]);
        raw.say(&http2_frame(HEADERS, END_HEADERS, 1, &request)).await;
        let refused = loop {
            match raw.frame().await {
                Some(got) if got.kind == HEADERS => break !got.payload.starts_with(&[0x88]),
                Some(got) if [RST_STREAM, GOAWAY].contains(&got.kind) => break true,
                Some(_) => {}
                None => break true,
            }
        };
        assert!(refused, "{:?}", stage.way);
        assert_eq!(app.connections(), 0, "{:?}: {}", stage.way, app.seen());
    }
}
