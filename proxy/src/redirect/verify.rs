//! Tries the redirect out, by really connecting. The connection is made to an address that is kept for documentation
//! (RFC 5737, RFC 3849), so nobody is disturbed should it leave the pod; its first hop would drop it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use smilax_core::convention::OUTBOUND_PORT;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Rules;

const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
const DOCUMENTATION: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// What trying showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Works,
    /// This family has no route out of the pod.
    NoRoute,
}

/// Why the redirect does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The connection did not arrive.
    #[error(
        "a connection to {0} did not arrive at port {OUTBOUND_PORT}: another rule of netfilter comes before ours, or conntrack is missing"
    )]
    NotRedirected(SocketAddr),
    /// It arrived, but where it was going is lost.
    #[error(
        "the original destination of a redirected connection is {found} instead of {expected}: {hint}",
        hint = "the kernel module nf_conntrack is missing or too old"
    )]
    DestinationLost {
        /// Where it was going.
        expected: SocketAddr,
        /// What is remembered.
        found: String,
    },
    /// It could not be tried.
    #[error("cannot try the redirect out: {0}")]
    System(#[from] io::Error),
}

/// Connects to a documentation address of each family that has a route, and expects to arrive here.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(rules: &Rules) -> Result<(), VerifyError> {
    let Some(port) = (1024..=u16::MAX).find(|port| !rules.skip_outbound.contains(*port)) else {
        tracing::warn!("not tried out: all outbound ports are left alone");
        return Ok(());
    };
    for address in DOCUMENTATION {
        let target = SocketAddr::new(address, port);
        match try_out(target) {
            Ok(Outcome::Works) => tracing::info!(%target, "the redirect works"),
            Ok(Outcome::NoRoute) => tracing::info!(%target, "not tried out: this family has no route"),
            Err(VerifyError::System(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!("not tried out: the proxy listens already");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn try_out(target: SocketAddr) -> Result<Outcome, VerifyError> {
    let here: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let Some(listener) = listen(SocketAddr::new(here, OUTBOUND_PORT))? else {
        return Ok(Outcome::NoRoute);
    };
    let client = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    if target.is_ipv4() {
        client.set_ttl_v4(1)?;
    } else {
        client.set_unicast_hops_v6(1)?;
    }
    client.set_nonblocking(true)?;
    match client.connect(&target.into()) {
        Ok(()) => {}
        // EINPROGRESS.
        Err(error) if error.raw_os_error() == Some(115) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable
            ) =>
        {
            return Ok(Outcome::NoRoute);
        }
        Err(error) => return Err(error.into()),
    }
    let accepted = accept(&listener)?.ok_or(VerifyError::NotRedirected(target))?;
    let socket = SockRef::from(&accepted);
    let remembered = if target.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let found = remembered.map(|address| address.as_socket());
    match found {
        Ok(Some(found)) if found == target => Ok(Outcome::Works),
        Ok(found) => Err(VerifyError::DestinationLost {
            expected: target,
            found: found.map_or_else(|| "nothing".to_owned(), |address| address.to_string()),
        }),
        Err(error) => Err(VerifyError::DestinationLost {
            expected: target,
            found: error.to_string(),
        }),
    }
}

/// `None` where the kernel lacks the family.
fn listen(address: SocketAddr) -> io::Result<Option<TcpListener>> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)) {
        // EAFNOSUPPORT.
        Err(error) if error.raw_os_error() == Some(97) => return Ok(None),
        other => other?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(None),
        other => other?,
    }
    socket.listen(1)?;
    Ok(Some(socket.into()))
}

fn accept(listener: &TcpListener) -> io::Result<Option<std::net::TcpStream>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                pause();
            }
            Err(error) => return Err(error),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this program has no runtime to block")]
fn pause() {
    std::thread::sleep(PAUSE);
}
