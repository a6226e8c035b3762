use proptest::prelude::*;

use super::*;

/// Whether something is carried as it comes where nothing is known of the server.
fn is_other(spoken: Spoken) -> bool {
    matches!(spoken, Spoken::Text | Spoken::Bytes)
}

#[test]
fn s51_text_that_a_lenient_server_may_take_for_a_request_is_told_from_binary_protocols() {
    for text in [
        &b"GET x\r\n"[..],
        b"GET / FOO\r\n",
        b"a b c\n",
        b"a@b / HTTP/1.1\r\n",
        b"<x / y\r\n",
        b"GET \xe4\r\n",
    ] {
        assert_eq!(guess(text), Guess::Spoken(Spoken::Text), "{text:?}");
    }
    assert_eq!(hangs(b"FOO"), Spoken::Text);
    for (protocol, binary) in [
        ("MongoDB", &b"\x41\x20\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\n"[..]),
        ("MongoDB", b"\x3c\x01\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0"),
        ("MongoDB", b"\x41\x40\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0"),
        ("Bolt", b"\x60\x60\xb0\x17\0\0\x04\x04"),
        ("ClickHouse", b"\0\x11ClickHouse client"),
        ("AMQP", b"AMQP\0\0\x09\x01"),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
    ] {
        assert_eq!(guess(binary), Guess::Spoken(Spoken::Bytes), "{protocol}");
    }
}

#[test]
fn a_request_line_that_is_longer_than_what_is_looked_at_is_judged_by_its_beginning() {
    let long = format!("GET /{}", "a".repeat(LOOK_BYTES));
    assert_eq!(guess(long.as_bytes()), Guess::Spoken(Spoken::Http1));
    assert_eq!(
        guess(format!("{long}\n").as_bytes()),
        Guess::Spoken(Spoken::Http1)
    );
}

#[test]
fn requests_are_recognised() {
    for request in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST /a?b HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"PROPFIND /dav HTTP/1.1\r\n",
        b"GET http://web/ HTTP/1.1\r\n",
        b"CONNECT web:80 HTTP/1.1\r\n",
    ] {
        let text = String::from_utf8_lossy(request);
        assert_eq!(guess(request), Guess::Spoken(Spoken::Http1), "{text}");
    }
    assert_eq!(guess(PREFACE), Guess::Spoken(Spoken::Http2));
}

#[test]
fn s32_a_server_that_greets_in_http_is_told_from_one_that_greets_in_its_own_protocol() {
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    for greeting in [
        &settings[..],
        &settings[..9],
        b"HTTP/1.1 408 Request Timeout\r\n",
        b"HTTP/",
    ] {
        assert_eq!(greets_in_http(greeting), Some(true), "{greeting:?}");
    }
    for unclear in [&b""[..], &settings[..1], &settings[..8], b"H", b"HTTP"] {
        assert_eq!(greets_in_http(unclear), None, "{unclear:?}");
    }
    let mysql = b"\x4a\0\0\0\x0a8.0.36\0";
    for other in [
        &mysql[..],
        b"SSH-2.0-x\r\n",
        b"220 mail ESMTP\r\n",
        b"\xff\xfd\x18",
        b"\0\0\0\x05",
        b"HELO",
    ] {
        assert_eq!(greets_in_http(other), Some(false), "{other:?}");
    }
}

#[test]
fn f7_no_form_of_a_request_that_a_server_takes_is_carried_as_bytes() {
    for request in [
        &b"\r\nGET / HTTP/1.1\r\n"[..],
        b"\n\n\r\nGET / HTTP/1.1\r\n",
        b"AMETHODOFMORETHANTWENTYLETTERS / HTTP/1.1\r\n",
        b"GET ws://web/ HTTP/1.1\r\n",
        b"GET ?x HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET\t/\tHTTP/1.1\r\n",
        b"GET / http/1.1\r\n",
        b"GET / HTTP/3\n",
        // Without a version.
        b"GET /x\r\n",
        b"POST /\r\n",
        b"POST  / \r\n",
        b"GET /x\x0cy\r\n",
        b"OPTIONS *\n",
        b"GET http://web/\r\n",
        b"CONNECT web:80\r\n",
        // Versions of other protocols that llhttp takes.
        b"SOURCE / ICE/1.0\r\n",
        b"OPTIONS /x RTSP/1.0\r\n",
        b"OPTIONS rtsp://a/ RTSP/1.0\r\n",
        b"DESCRIBE rtsp://a/ rtsp/1.0\r\n",
        // Whitespace of other kinds, and before the method.
        b" GET / HTTP/1.1\r\n",
        b"\tGET / HTTP/1.1\r\n",
        b"\x0bGET / HTTP/1.1\r\n",
        b"\x0cGET / HTTP/1.1\r\n",
        b"\r\n \xa0GET / HTTP/1.1\r\n",
        b"GET\x0b/ HTTP/1.1\r\n",
        b"GET\x0c/ HTTP/1.1\r\n",
        b"GET\r/ HTTP/1.1\r\n",
        b"GET\x1c/ HTTP/1.1\r\n",
        b"GET\x85/ HTTP/1.1\r\n",
        b"GET\xa0/ HTTP/1.1\r\n",
        b"GET /\x0bHTTP/1.1\r\n",
        b"GET /\rHTTP/1.1\r\n",
        b"GET /\x1fHTTP/1.1\r\n",
        // Longer than what is looked at.
        &b"\r\n".repeat(256),
        &b" ".repeat(600),
        &b"M".repeat(600),
    ] {
        let text = String::from_utf8_lossy(request);
        assert_eq!(guess(request), Guess::Spoken(Spoken::Http1), "{text}");
    }
}

#[test]
fn f7_who_stops_in_the_middle_of_a_request_line_has_begun_a_request() {
    for begun in [
        &b"G"[..],
        b"GET",
        b"GET ",
        b"GET /h",
        b"\r\n",
        b"\r\nPOS",
        b"FOO /a",
        b"GET a",
        b" ",
        b"\x0cGE",
        b"GET\x0b",
        b"FOO\xa0/a",
        b"PROPF",
        b"SOURCE",
        b"DESCRIBE r",
    ] {
        assert_eq!(hangs(begun), Spoken::Http1, "{}", String::from_utf8_lossy(begun));
    }
    assert_eq!(hangs(b"PRI * HTTP/2"), Spoken::Http2);
    for begun in [
        &b""[..],
        b"hello",
        b"hello world",
        b"PING",
        b"EHLO web",
        b"*1",
        b"\x16",
    ] {
        let spoken = hangs(begun);
        assert!(is_other(spoken), "{}: {spoken:?}", String::from_utf8_lossy(begun));
    }
}

#[test]
fn what_only_resembles_a_request_is_bytes() {
    for bytes in [
        &b"*1\r\n$4\r\nPING\r\n"[..],
        b"PING\r\n",
        b"EHLO example.com\r\n",
        b"get key\r\n",
        b"set /a 0 0 5\r\nhello\r\n",
        b"CONNECT {\"verbose\":false}\r\n",
        b"SELECT 1;\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"PRI * HTTP/1.9\r\n\r\nSM",
    ] {
        let spoken = guess(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(
            matches!(spoken, Guess::Spoken(spoken) if is_other(spoken)) || text.starts_with("PRI"),
            "{text}: {spoken:?}"
        );
        assert_ne!(spoken, Guess::Spoken(Spoken::Http2), "{text}");
    }
}

#[test]
fn other_protocols_are_clear_from_the_first_bytes_of_their_clients() {
    for (protocol, first) in [
        ("Redis", &b"*1\r\n$4\r\nPING\r\n"[..]),
        ("Redis, inline", b"PING\r\n"),
        ("Redis, inline", b"GET key\r\n"),
        ("memcached", b"get x\r\n"),
        ("memcached", b"get /session/1\r\n"),
        ("memcached", b"get http://web/\r\n"),
        ("memcached", b"set k 0 0 1\r\nv\r\n"),
        ("memcached, binary", b"\x80\x0b\0\0\0\0\0\0"),
        ("SMTP", b"EHLO a\r\n"),
        ("POP3 and FTP", b"USER x\r\n"),
        ("IMAP", b"a1 LOGIN x y\r\n"),
        ("IMAP", b"A1 CAPABILITY\r\n"),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("PostgreSQL", b"\0\0\0\x52\0\x03\0\0user\0a\0\0"),
        ("MySQL", b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01"),
        ("MySQL", b"\x47\0\0\x01\x8d\xa6\x0f\0"),
        ("MongoDB", b"\x2a\x01\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0"),
        ("MongoDB", b"\x41\x20\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\n"),
        ("MongoDB", b"\x20\x41\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0"),
        ("Kafka", b"\0\0\0\x41\0\x12\0\x03\0\0\0\x01\0\x07console"),
        ("AMQP", b"AMQP\0\0\x09\x01"),
        ("MQTT", b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"),
        ("NATS", b"CONNECT {\"verbose\":false}\r\n"),
        ("NATS", b"PUB a 1\r\nx\r\n"),
        ("NATS", b"SUB * 1\r\n"),
        ("STOMP", b"CONNECT\naccept-version:1.2\n\n\0"),
        ("STOMP", b"CONNECT\r\nhost:/\r\n\r\n\0"),
        ("SSH", b"SSH-2.0-x\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6 Debian-1\r\n"),
        ("SIP", b"INVITE sip:a SIP/2.0\r\n"),
        ("SIP", b"OPTIONS sip:a@b SIP/2.0\r\n"),
        ("ICAP", b"OPTIONS icap://a/x ICAP/1.0\r\n"),
        ("HL7", b"\x0bMSH|^~\\&|A|B\r"),
        ("CQL", b"\x04\0\0\0\x01\0\0\0\x16"),
        ("ZooKeeper", b"\0\0\0\x2d\0\0\0\0"),
        ("ZooKeeper", b"ruok\n"),
        ("Raft", b"\0\x8a\xaaRPCHeader"),
        ("gossip", b"\x09\x82\xa4Algo\0"),
        ("gossip", b"\x0a\0\0\x01\x20\x01"),
        ("XMPP", b"<?xml version='1.0'?>"),
        ("zeros", &[0; 600]),
    ] {
        let spoken = guess(first);
        assert!(
            matches!(spoken, Guess::Spoken(spoken) if is_other(spoken)),
            "{protocol}: {first:?}: {spoken:?}"
        );
    }
}

#[test]
fn tls_is_told_from_its_first_record() {
    let hello = &[0x16, 3, 1, 2, 0, 1];
    assert_eq!(guess(hello), Guess::Spoken(Spoken::Tls));
    for here in 1..hello.len() {
        assert_eq!(guess(&hello[..here]), Guess::Unclear, "{here} bytes");
        assert_eq!(hangs(&hello[..here]), Spoken::Bytes, "{here} bytes");
    }
    assert_eq!(guess_of_proxy(&hello[..2]), Guess::Spoken(Spoken::Tls));
}

#[test]
fn s51_what_begins_like_tls_and_holds_no_hello_is_bytes() {
    for first in [
        &b"\x16\x03 /admin HTTP/1.1\r\n"[..],
        b"\x16\x03\x01GET /admin HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\0\x02",
    ] {
        for guess in [guess, guess_of_proxy] {
            assert_eq!(guess(first), Guess::Spoken(Spoken::Bytes), "{first:?}");
        }
    }
}

#[test]
fn a_request_that_has_just_begun_is_unclear() {
    for begun in [
        &b"G"[..],
        b"GET",
        b"GET ",
        b"GET /",
        b"PRI * HTT",
        b"GET / HTTP/1.1",
    ] {
        assert_eq!(guess(begun), Guess::Unclear, "{}", String::from_utf8_lossy(begun));
    }
}

#[test]
fn a_very_long_request_line_is_a_request() {
    let mut long = b"GET /".to_vec();
    long.resize(LOOK_BYTES, b'a');
    assert_eq!(guess(&long), Guess::Spoken(Spoken::Http1));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_it_always_decides_in_the_end(mut bytes: Vec<u8>) {
        let _ = guess(&bytes);
        bytes.resize(LOOK_BYTES, b'x');
        prop_assert_ne!(guess(&bytes), Guess::Unclear);
    }

    #[test]
    fn more_bytes_never_change_what_was_clear(bytes in "(GET|PUT|SET|PRI) (/|\\*|a)[ -~]{0,20}(\r\n)?", cut in 0usize..40) {
        let bytes = bytes.as_bytes();
        if let Guess::Spoken(early) = guess(&bytes[..cut.min(bytes.len())]) {
            prop_assert_eq!(guess(bytes), Guess::Spoken(early));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn servers_are_remembered_for_a_while_and_never_too_many() {
    let mut memory = Remembered::new(Duration::from_mins(1));
    let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
    memory.remember(address(1));
    assert!(memory.knows(address(1)) && !memory.knows(address(2)));
    for port in 2..5000 {
        memory.remember(address(port));
    }
    assert!(memory.until.len() <= MEMORY_ENTRIES);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(!memory.knows(address(1)));
    memory.remember(address(4999));
    assert!(memory.knows(address(4999)));
}
