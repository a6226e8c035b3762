//! Connecting to the application of this pod.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ConnectError;

/// How long the first attempt may take; each further one takes twice as long. An application whose queue of connections is
/// full makes the kernel drop the first segment, which is sent again after a second only: a burst of connections would delay
/// whoever comes next by that much.
const FIRST_ATTEMPT: Duration = Duration::from_millis(30);

/// Connects to the application, which listens at `target`.
///
/// # Errors
/// [`ConnectError`]; after `limit` at the latest.
pub async fn connect_to_application(target: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectError> {
    let until = Instant::now() + limit;
    let mut attempt = FIRST_ATTEMPT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match super::connect(target, attempt.min(left)).await {
            Err(ConnectError::TimedOut(..)) if attempt < left => attempt *= 2,
            Err(ConnectError::TimedOut(..)) => return Err(ConnectError::TimedOut(target, limit)),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener whose queue has room for one connection.
    fn listener() -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        socket.listen(0).unwrap();
        socket
    }

    fn address(listener: &Socket) -> SocketAddr {
        listener.local_addr().unwrap().as_socket().unwrap()
    }

    #[tokio::test]
    async fn an_application_whose_queue_was_full_is_reached_soon_after() {
        let listener = listener();
        let address = address(&listener);
        let _first = TcpStream::connect(address).await.unwrap();
        let second = tokio::spawn(connect_to_application(address, Duration::from_secs(10)));
        tokio::time::sleep(FIRST_ATTEMPT / 2).await;
        let _accepted = listener.accept().unwrap();
        // The kernel alone would try again after a second.
        let soon = tokio::time::timeout(FIRST_ATTEMPT * 10, second).await;
        assert!(soon.is_ok_and(|joined| joined.unwrap().is_ok()));
    }

    #[tokio::test]
    async fn an_application_that_accepts_nothing_is_given_up_in_time() {
        let listener = listener();
        let address = address(&listener);
        let _first = TcpStream::connect(address).await.unwrap();
        let limit = FIRST_ATTEMPT * 4;
        let result = connect_to_application(address, limit).await;
        assert!(matches!(result, Err(ConnectError::TimedOut(..))), "{result:?}");
    }
}
