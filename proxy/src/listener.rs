//! Listening sockets, shared by the workers, and the loop that accepts from them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::transport::liveness;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Connections accepted before the others of the thread have their turn again. Each begins with work of its own: the kernel
/// keeps thousands that came together, and whoever is served already must not wait until all have begun.
const AT_ONCE: u32 = 8;
/// How long accepting pauses when it failed for lack of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Listening sockets of one port, not yet bound to a runtime: one for each address.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<std::net::TcpListener>,
    port: u16,
}

/// A socket that could not be made to listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub error: io::Error,
}

/// Listens on `port` of every address in `addresses` with sockets that share the port. Port 0 lets the system choose
/// one, the same for all addresses. Addresses of a family that this machine lacks are left out, unless that leaves none.
///
/// # Errors
/// [`BindError`] for the address that is not available.
pub fn bind(addresses: &[IpAddr], port: u16) -> Result<Bound, BindError> {
    let mut bound = Bound {
        sockets: Vec::with_capacity(addresses.len()),
        port,
    };
    let mut lacking = None;
    for &address in addresses {
        let address = SocketAddr::new(address, bound.port);
        match bind_one(address) {
            Ok(socket) => {
                bound.port = socket.local_addr().map_or(bound.port, |local| local.port());
                bound.sockets.push(socket);
            }
            Err(error) if lacks_family(&error) => lacking = Some(BindError { address, error }),
            Err(error) => return Err(BindError { address, error }),
        }
    }
    match lacking {
        Some(error) if bound.sockets.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn bind_one(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has a socket of its own, so that an address always has its own family's form.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&liveness::patient_probes())?;
    socket.set_tcp_notsent_lowat(liveness::UNSENT_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The kernel without IPv6 (`EAFNOSUPPORT`), or with it switched off (`EADDRNOTAVAIL`).
fn lacks_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(97 | 99))
}

impl Bound {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Hands the sockets to the runtime that this is called in.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub fn listeners(self) -> io::Result<Vec<TcpListener>> {
        self.sockets.into_iter().map(TcpListener::from_std).collect()
    }
}

/// Accepts for ever. Running out of file descriptors or memory pauses it, which is logged once until it goes on; nothing
/// ends it.
pub async fn accept_forever(listener: TcpListener, mut handle: impl FnMut(TcpStream, SocketAddr)) {
    let mut failing = false;
    let mut accepted = 0;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                failing = false;
                handle(stream, client);
                accepted += 1;
                if accepted % AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections; trying again until it works");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_on_every_address() {
        let addresses = ["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
        let first = bind(&addresses, 0).unwrap();
        let second = bind(&addresses, first.port()).unwrap();
        assert_ne!(first.port(), 0);
        assert_eq!(first.port(), second.port());
        assert_eq!(first.sockets.len(), 2);
    }

    #[test]
    fn an_address_of_somebody_else_is_an_error() {
        let error = bind(&["192.0.2.1".parse().unwrap()], 0).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
