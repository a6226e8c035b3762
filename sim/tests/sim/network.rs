//! The simulated network, as both sides see it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use smilax_operator::workload_server;
use smilax_proxy::operator_connection::connect;
use smilax_sim::plan::Host;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::World;

/// Port that the operator listens on.
pub(crate) const PORT: u16 = 8444;
/// Where the Service of the operator is, as policies name it.
pub(crate) const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), PORT);

/// Where a host is.
pub(crate) fn address(host: Host) -> IpAddr {
    let last = |number: usize| u8::try_from(number).unwrap() + 1;
    let address = match host {
        Host::Replica(number) => Ipv4Addr::new(10, 0, 0, last(number)),
        Host::Pod(number) => Ipv4Addr::new(10, 0, 1, last(number)),
        Host::Reader => Ipv4Addr::new(10, 0, 2, 1),
    };
    address.into()
}

/// Leads from the Service's address to one of the replicas, as kube-proxy does: to any that is there, whether it is
/// reached or not.
pub(crate) struct Service(pub(crate) Arc<World>);

impl connect::Connect for Service {
    type Stream = TcpStream;

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        assert_eq!(address, SERVICE);
        let there = self.0.replicas();
        let chosen = fastrand::choice(there).ok_or(io::ErrorKind::ConnectionRefused)?;
        TcpStream::connect((self::address(Host::Replica(chosen)), PORT)).await
    }
}

/// Where a replica listens.
pub(crate) struct Listener(pub(crate) TcpListener);

impl workload_server::Listen for Listener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

/// Leads from one replica to another.
pub(crate) struct Direct;

impl workload_server::Connect for Direct {
    type Stream = TcpStream;

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}
