//! What carries connections: TCP, or the network of a simulation.

use std::io;
use std::net::SocketAddr;

use smilax_core::workload_connection::{GONE_AFTER, KEEPALIVE_EVERY, keepalive_after};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Where connections of proxies arrive.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and where it comes from; what is written is sent at once.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A network that leads to other replicas.
pub trait Connect: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The network of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = Self::accept(self).await?;
        // One that is gone already is found out by its handshake.
        prepare(&stream).ok();
        Ok((stream, address))
    }
}

impl Connect for Tcp {
    type Stream = TcpStream;

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        Ok(stream)
    }
}

/// What is told is told at once, and a peer that is gone is noticed by the kernel: pings of ours to thousands of proxies
/// would cost more than all that an idle operator does.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(keepalive_after(fastrand::f64()))
        .with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(GONE_AFTER))
}

#[cfg(test)]
mod tests {
    use smilax_core::workload_connection::KEEPALIVE_AFTER;

    use super::*;

    #[tokio::test]
    async fn the_kernel_notices_that_a_peer_is_gone_whoever_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connected, accepted) = tokio::join!(Tcp.connect(address), Listen::accept(&listener));
        for stream in [connected.unwrap(), accepted.unwrap().0] {
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert!(KEEPALIVE_AFTER.contains(&socket.tcp_keepalive_time().unwrap().as_secs()));
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(GONE_AFTER));
        }
    }
}
