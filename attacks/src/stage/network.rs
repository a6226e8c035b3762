//! Network namespaces joined by a bridge, over IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use clap::ValueEnum;

use super::run;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4.
    #[value(name = "ipv4")]
    V4,
    /// IPv6.
    #[value(name = "ipv6")]
    V6,
}

/// A member of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Application and sidecar.
    Pod,
    /// The attacker.
    Attacker,
    /// The victim.
    Victim,
}

/// The namespaces; they are removed with it.
#[derive(Debug)]
pub struct Network(());

const BRIDGE: &str = "atk-bridge";

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The address of the node: the bridge, in the namespace of this process.
    pub fn node(self) -> IpAddr {
        self.address(1)
    }

    fn address(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 66, 0, number).into(),
            Self::V6 => Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }
}

impl Host {
    const ALL: [Self; 3] = [Self::Pod, Self::Attacker, Self::Victim];

    fn name(self) -> &'static str {
        match self {
            Self::Pod => "atk-pod",
            Self::Attacker => "atk-attacker",
            Self::Victim => "atk-victim",
        }
    }

    /// Last numbers of its addresses. An attacker has several, so that no limit for one address holds it back.
    fn numbers(self) -> &'static [u8] {
        match self {
            Self::Pod => &[2],
            Self::Attacker => &[3, 5, 6, 7],
            Self::Victim => &[4],
        }
    }

    /// Its first address.
    pub fn address(self, family: Family) -> IpAddr {
        family.address(self.numbers().first().copied().unwrap_or(0))
    }

    /// All of its addresses.
    pub fn addresses(self, family: Family) -> Vec<IpAddr> {
        self.numbers()
            .iter()
            .map(|number| family.address(*number))
            .collect()
    }

    /// A command in its namespace, whose arguments are a program and its own. Unlike `ip netns exec`, it leaves
    /// `/sys/fs/cgroup` in place.
    pub fn inside(self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name()));
        command
    }
}

impl Network {
    /// Builds it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn build() -> anyhow::Result<Self> {
        let network = Self(());
        ip(&format!("link add {BRIDGE} type bridge"))?;
        give_addresses(None, BRIDGE, |family| vec![family.node()])?;
        for host in Host::ALL {
            let name = host.name();
            let port = format!("{name}-p");
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {port} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {port} master {BRIDGE} up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            give_addresses(Some(name), "eth0", |family| host.addresses(family))?;
            for family in Family::BOTH {
                let router = family.node();
                ip(&format!("-n {name} route add default via {router}"))?;
            }
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in Host::ALL {
            // What was not made cannot be removed.
            let _ = ip(&format!("netns delete {}", host.name()));
        }
    }
}

fn give_addresses(
    namespace: Option<&str>,
    link: &str,
    addresses: impl Fn(Family) -> Vec<IpAddr>,
) -> anyhow::Result<()> {
    let inside = namespace.map_or_else(String::new, |name| format!("-n {name} "));
    for family in Family::BOTH {
        for address in addresses(family) {
            let length = match family {
                Family::V4 => "24",
                Family::V6 => "64 nodad",
            };
            ip(&format!("{inside}address add dev {link} {address}/{length}"))?;
        }
    }
    ip(&format!("{inside}link set {link} up"))
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}
