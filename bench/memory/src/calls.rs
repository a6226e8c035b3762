//! The application: calls Services one after the other, each over a connection that it keeps.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::mesh::PORT;

const PATIENCE: Duration = Duration::from_secs(10);

/// Calls each of these addresses so many times.
///
/// # Errors
/// When any call fails.
pub async fn call(services: &[Ipv4Addr], times: u32) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    for &service in services {
        let stream = TcpStream::connect(SocketAddr::from((service, PORT))).await;
        connections.push((
            service,
            BufReader::new(stream.with_context(|| service.to_string())?),
        ));
    }
    for _ in 0..times {
        for (service, connection) in &mut connections {
            timeout(PATIENCE, one(*service, connection))
                .await
                .with_context(|| format!("{service} does not answer"))?
                .with_context(|| service.to_string())?;
        }
    }
    Ok(())
}

async fn one(service: Ipv4Addr, connection: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nhost: {service}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).await?;
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 200"), "answered with {line:?}");
    let mut length = 0;
    loop {
        line.clear();
        ensure!(
            connection.read_line(&mut line).await? > 0,
            "the answer has no end"
        );
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(())
}
