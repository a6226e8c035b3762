//! What carries the connection to the operator: TCP, or the network of a simulation.

use std::io;
use std::net::SocketAddr;

use smilax_core::workload_connection::{GONE_AFTER, KEEPALIVE_EVERY, keepalive_after};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A network that leads to the operator.
pub trait Connect {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Connects to an address; what is written is sent at once.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// The network of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Connect for Tcp {
    type Stream = TcpStream;

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new()
            .with_time(keepalive_after(fastrand::f64()))
            .with_interval(KEEPALIVE_EVERY);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use smilax_core::workload_connection::KEEPALIVE_AFTER;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_notices_that_the_operator_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = Tcp.connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert!(KEEPALIVE_AFTER.contains(&socket.tcp_keepalive_time().unwrap().as_secs()));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(GONE_AFTER));
    }
}
