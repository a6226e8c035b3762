//! `CONNECT` (RFC 9110 section 9.3.6) to a forward proxy in the cluster: a connection that becomes bytes.
//!
//! The sidecar is no forward proxy itself. It carries the request to where the connection was going, as it would the
//! bytes that follow, and with the right that they need: rules about requests do not allow it, as nobody sees what is
//! said inside. A tunnel must not lead around a sidecar either, to what listens in its own pod. Over HTTP/2, where an
//! application could open tunnels beside its requests, it is refused, also in its extended form (RFC 8441).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;

use super::forward;
use super::{Exchange, Ready, Version};
use crate::connection::{Connection, Side};
use crate::http::errors::Refusal;
use crate::http::headers::{self, BadRequest, Upgrade};
use crate::http::identity_headers;
use crate::http::upstream::{self, Protocol};
use crate::metrics::traffic::Recording;
use crate::settings::Pod;
use crate::{inbound, outbound};

impl Exchange {
    /// Decides where a tunnel is asked for and whether it may be.
    pub(super) fn prepare_tunnel(
        &self,
        parts: &mut Parts,
        recording: &mut Recording,
    ) -> Result<Ready, Refusal> {
        let Connection {
            worker,
            original,
            side,
            ..
        } = &*self.connection;
        if self.version != Version::Http1 {
            return Err(BadRequest::Connect.into());
        }
        check(parts, &worker.shared.settings.pod)?;
        parts.headers.remove(UPGRADE);
        headers::strip_request(parts);
        let spoken = Protocol::Http1;
        let upgrade = Upgrade::Tunnel;
        let (target, protocol) = match side {
            Side::Inbound { judge, telemetry } => {
                judge.connection()?;
                identity_headers::strip(&mut parts.headers);
                upstream::prepare(parts, spoken, *original);
                if let Some(caller) = &judge.caller().headers {
                    identity_headers::add(&mut parts.headers, caller);
                }
                (inbound::target(*original, telemetry), spoken)
            }
            Side::Outbound => {
                let target = outbound::target(worker, *original);
                recording.concerns(&target.telemetry);
                let protocol = forward::wrap(parts, &target, spoken, &upgrade, *original);
                (target, protocol)
            }
        };
        Ok(Ready {
            target,
            spoken,
            protocol,
            upgrade,
        })
    }
}

/// Refuses what could be understood in two ways, and what leads into this pod.
fn check(parts: &mut Parts, pod: &Pod) -> Result<(), BadRequest> {
    if parts.headers.contains_key(CONTENT_LENGTH) || parts.headers.contains_key(TRANSFER_ENCODING) {
        return Err(BadRequest::ConnectContent);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    if hosts.next().is_some() && hosts.next().is_some() {
        return Err(BadRequest::SeveralHosts);
    }
    let authority = match (parts.uri.scheme(), parts.uri.authority()) {
        (None, Some(authority)) if authority.port_u16().is_some() => authority,
        _ => return Err(BadRequest::ConnectTarget),
    };
    if leads_into(authority.host(), pod) {
        return Err(BadRequest::Connect);
    }
    if !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

/// Whether a host is this pod, or could be read as it.
fn leads_into(host: &str, pod: &Pod) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = bare.trim_end_matches('.');
    if let Ok(address) = name.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback()
            || [
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ]
            .contains(&address)
            || pod.ips.iter().any(|ip| ip.to_canonical() == address);
    }
    let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    // Many resolvers read numbers in other forms as addresses too: 127.1, 0x7f000001.
    let number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    number || last == "localhost" || name.eq_ignore_ascii_case(&pod.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_or_could_be_this_pod_is_recognised() {
        let pod = Pod {
            name: "proxy-1".to_owned(),
            ips: vec!["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()],
            ..crate::settings::Settings::default().pod
        };
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "[::]",
            "10.1.2.3",
            "[::ffff:10.1.2.3]",
            "[fd00::3]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.0x1",
            "proxy-1",
            "",
        ] {
            assert!(leads_into(host, &pod), "{host}");
        }
        for host in [
            "example.com",
            "10.1.2.4",
            "[fd00::4]",
            "1.example.com",
            "proxy-1.proxy",
            "localhost.example",
        ] {
            assert!(!leads_into(host, &pod), "{host}");
        }
    }
}
