//! Who answers the calls: one server for the addresses of all endpoints, and for the virtual ones.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
/// The end of a request without a body.
const END: &[u8] = b"\r\n\r\n";

/// Answers on this port of every address, until the process ends.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some(end) = received.windows(END.len()).position(|bytes| bytes == END) {
            received.drain(..end + END.len());
            stream.write_all(ANSWER).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}
