//! Where a connection was going before it was redirected to the proxy.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// How a connection tells where it was going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// Netfilter redirected it and remembers (`SO_ORIGINAL_DST`).
    #[default]
    Redirected,
    /// Every connection was going here: to try the proxy out without a redirect.
    Fixed(SocketAddr),
}

/// A resolver that is neither `redirected` nor an address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither \"redirected\" nor an address with a port, for example 10.0.0.1:80")]
pub struct InvalidResolver(String);

impl Resolver {
    /// Where the connection was going.
    ///
    /// # Errors
    /// When netfilter remembers nothing: the connection was made to the proxy itself.
    pub fn resolve(self, stream: &TcpStream) -> io::Result<SocketAddr> {
        match self {
            Self::Redirected => redirected(stream),
            Self::Fixed(address) => Ok(address),
        }
    }
}

fn redirected(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let address = if stream.local_addr()?.is_ipv4() {
        socket.original_dst_v4()?
    } else {
        socket.original_dst_v6()?
    };
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("the original destination is not an IP address"))
}

impl FromStr for Resolver {
    type Err = InvalidResolver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "redirected" => Ok(Self::Redirected),
            address => address
                .parse()
                .map(Self::Fixed)
                .map_err(|_| InvalidResolver(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_the_redirect_or_an_address() {
        assert_eq!("redirected".parse::<Resolver>().unwrap(), Resolver::Redirected);
        let fixed = Resolver::Fixed("10.0.0.1:80".parse().unwrap());
        assert_eq!("10.0.0.1:80".parse::<Resolver>().unwrap(), fixed);
        assert!("10.0.0.1".parse::<Resolver>().is_err());
    }
}
