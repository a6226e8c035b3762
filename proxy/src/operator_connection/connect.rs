//! What carries the connection to the operator: TCP, or the network of a simulation.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Silence after which the kernel asks the other's whether it is still there, and how often then.
const ASK_AFTER: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// An operator that answers nothing, or takes nothing of what was sent, for so long is gone (`TCP_USER_TIMEOUT`, tcp(7)).
const GONE_AFTER: Duration = Duration::from_secs(30);

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
        let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_AGAIN);
        socket.set_tcp_keepalive(&asking)?;
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_notices_that_the_operator_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = Tcp.connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), ASK_AFTER);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(GONE_AFTER));
    }
}
