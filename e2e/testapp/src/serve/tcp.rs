//! Two TCP servers: one waits for the client, one speaks first.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::answer::Identity;

/// Answers the first line with name and pod, then echoes.
pub(super) async fn answer_first_line(stream: TcpStream, identity: &Identity) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(());
    }
    stream.write_all(greeting(identity).as_bytes()).await?;
    echo(stream).await
}

/// Sends name and pod at once, then echoes.
pub(super) async fn greet_first(mut stream: TcpStream, identity: &Identity) -> io::Result<()> {
    stream.write_all(greeting(identity).as_bytes()).await?;
    echo(BufReader::new(stream)).await
}

fn greeting(identity: &Identity) -> String {
    format!("{} {}\n", identity.name, identity.pod)
}

async fn echo(stream: BufReader<TcpStream>) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::io::copy_buf(&mut BufReader::new(&mut read), &mut write).await?;
    write.shutdown().await
}
