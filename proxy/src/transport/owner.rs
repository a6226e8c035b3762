//! Whether a client of this pod still has its socket.
//!
//! A client that closes its connection and one that only finishes sending look alike on the wire. The kernel knows
//! better, as long as both ends are in one network namespace, as an application and its sidecar are: it answers for
//! one socket by `sock_diag(7)`, and a socket that no process has open has no inode.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;
/// Where an answer has the state of the socket, and its inode.
const STATE: usize = HEADER + 1;
const INODE: usize = HEADER + 68;
/// `TCP_FIN_WAIT1` and `TCP_FIN_WAIT2`: it has finished sending.
const FINISHED: [u8; 2] = [4, 5];

/// What is known of a client that has finished sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It still reads.
    Present,
    /// It has closed its connection.
    Gone,
    /// It is in no process of this pod.
    Unknown,
}

/// Whether a socket of `client` that is connected to any of these is open.
pub(super) fn of(client: SocketAddr, servers: [SocketAddr; 2]) -> Owner {
    servers
        .into_iter()
        .map(|server| ask(client, server).unwrap_or(Owner::Unknown))
        .find(|owner| *owner != Owner::Unknown)
        .unwrap_or(Owner::Unknown)
}

fn ask(client: SocketAddr, server: SocketAddr) -> io::Result<Owner> {
    let (domain, protocol) = (Domain::from(AF_NETLINK), Protocol::from(NETLINK_SOCK_DIAG));
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // The kernel answers before this returns.
    socket.send(&request(client, server))?;
    let mut answer = [0; 512];
    let length = socket.read(&mut answer)?;
    Ok(read(answer.get(..length).unwrap_or_default()))
}

fn request(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut request = Vec::with_capacity(REQUEST);
    request.extend(u32::try_from(REQUEST).unwrap_or_default().to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port, which one question does not need.
    request.extend([0; 8]);
    let family = if client.is_ipv4() { AF_INET } else { AF_INET6 };
    request.extend([family, IPPROTO_TCP, 0, 0]);
    // In any state.
    request.extend([0xff; 4]);
    request.extend(client.port().to_be_bytes());
    request.extend(server.port().to_be_bytes());
    for address in [client.ip(), server.ip()] {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        request.extend(bytes);
    }
    // Any interface, any cookie.
    request.extend([0; 4]);
    request.extend([0xff; 8]);
    request
}

fn read(answer: &[u8]) -> Owner {
    let kind = answer.get(4..6) == Some(&SOCK_DIAG_BY_FAMILY.to_ne_bytes()[..]);
    let state = answer.get(STATE).copied().unwrap_or_default();
    let inode = answer.get(INODE..INODE + 4);
    match inode {
        Some(inode) if kind && FINISHED.contains(&state) => {
            if inode == [0; 4] {
                Owner::Gone
            } else {
                Owner::Present
            }
        }
        _ => Owner::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn owner(server: &mut TcpStream) -> Owner {
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        let elsewhere = "192.0.2.1:80".parse().unwrap();
        of(
            server.peer_addr().unwrap(),
            [elsewhere, server.local_addr().unwrap()],
        )
    }

    #[test]
    fn a_client_that_has_finished_sending_is_present() {
        let (client, mut server) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(owner(&mut server), Owner::Present);
        drop(client);
        assert_eq!(owner(&mut server), Owner::Gone);
    }

    #[test]
    fn a_client_that_has_closed_its_connection_is_gone() {
        let (client, mut server) = pair();
        drop(client);
        assert_eq!(owner(&mut server), Owner::Gone);
    }

    #[test]
    fn a_client_of_which_the_kernel_knows_nothing_is_unknown() {
        let servers = ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        assert_eq!(of("192.0.2.1:80".parse().unwrap(), servers), Owner::Unknown);
        assert_eq!(of("[2001:db8::1]:80".parse().unwrap(), servers), Owner::Unknown);
    }
}
