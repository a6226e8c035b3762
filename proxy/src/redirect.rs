//! Redirects the pod's connections to the proxy, by rules of netfilter in the pod's network namespace.
//!
//! What the rules are is decided here, as data; [`kernel`] programs them, [`verify`] tries them out.

mod icmp;
pub mod kernel;
pub mod verify;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use smilax_core::convention::{INBOUND_PORT, OUTBOUND_PORT, PROXY_PORTS, PROXY_UID};

pub use icmp::IcmpType;
pub use kernel::ProgramError;
pub use verify::VerifyError;

/// Table that holds every rule, in the family `inet`.
pub const TABLE: &str = "smilax";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Ports of the application that are left alone.
    pub skip_inbound: PortRanges,
    /// Ports of others that are left alone.
    pub skip_outbound: PortRanges,
    /// What becomes of UDP, and of everything else but TCP, that comes in.
    pub inbound_udp: InboundUdp,
}

/// What becomes of UDP from outside, which a proxy does not carry, and of any other protocol but TCP. It bears the name of the
/// one that applications speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InboundUdp {
    /// It comes in, whoever sends it.
    #[default]
    Open,
    /// Only answers to what the pod sent come in, what goes to ports that are left alone, and what keeps a network going.
    Drop,
}

/// A word that says nothing about UDP.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is neither open nor drop")]
pub struct InvalidInboundUdp(String);

/// Ports, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRanges(pub Vec<RangeInclusive<u16>>);

/// Text that does not name ports.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is neither a port nor a range of ports; write for example 25,3306,8000-8100")]
pub struct InvalidPorts(String);

/// Where packets are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Those that come in.
    Prerouting,
    /// Those that are sent from here.
    Output,
    /// Those that have come in and are for the pod itself.
    Input,
}

/// One rule: what it is about, and what becomes of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub condition: Condition,
    /// What becomes of it.
    pub action: Action,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Came in by loopback.
    FromLoopback,
    /// Goes out by loopback.
    ToLoopback,
    /// Goes to a loopback address of IPv4.
    ToLoopbackV4,
    /// Goes to the loopback address of IPv6.
    ToLoopbackV6,
    /// Was sent by this user.
    User(u32),
    /// Goes to one of these TCP ports.
    Ports(RangeInclusive<u16>),
    /// Any TCP connection.
    AnyTcp,
    /// Belongs to what was begun before.
    Established,
    /// Goes to one of these UDP ports.
    UdpPorts(RangeInclusive<u16>),
    /// Goes to one of these SCTP ports.
    SctpPorts(RangeInclusive<u16>),
    /// Is ICMP of this type.
    Icmp(IcmpType),
    /// Is ICMPv6 of this type.
    Icmpv6(IcmpType),
    /// Everything.
    Any,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes where it was going.
    LeaveAlone,
    /// It goes to this port of the pod instead.
    Redirect(u16),
    /// It is thrown away.
    Drop,
}

/// Why the pod's connections are not redirected.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The rules could not be programmed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// They could, but do not do what they should.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl Rules {
    /// Hooks that have rules.
    pub fn hooks(&self) -> Vec<Hook> {
        match self.inbound_udp {
            InboundUdp::Open => vec![Hook::Prerouting, Hook::Output],
            InboundUdp::Drop => vec![Hook::Prerouting, Hook::Output, Hook::Input],
        }
    }

    /// The rules of one hook, in order. The first that applies decides.
    pub fn of(&self, hook: Hook) -> Vec<Rule> {
        let alone = |condition| Rule {
            condition,
            action: Action::LeaveAlone,
        };
        let (mut rules, skip, port) = match hook {
            Hook::Prerouting => {
                // Connections to the proxy's own ports arrive there; it closes those that would loop.
                let own = PROXY_PORTS.map(|port| Condition::Ports(port..=port));
                let mut rules = vec![alone(Condition::FromLoopback)];
                rules.extend(own.map(alone));
                (rules, &self.skip_inbound, INBOUND_PORT)
            }
            Hook::Output => {
                let rules = [
                    Condition::User(PROXY_UID),
                    Condition::ToLoopback,
                    Condition::ToLoopbackV4,
                    Condition::ToLoopbackV6,
                ];
                (rules.map(alone).into(), &self.skip_outbound, OUTBOUND_PORT)
            }
            Hook::Input => return self.filter(),
        };
        rules.extend(skip.0.iter().cloned().map(Condition::Ports).map(alone));
        rules.push(Rule {
            condition: Condition::AnyTcp,
            action: Action::Redirect(port),
        });
        rules
    }

    /// What keeps everything out that is no TCP, and that nobody in the pod asked for.
    fn filter(&self) -> Vec<Rule> {
        let skipped = |condition: fn(RangeInclusive<u16>) -> Condition| {
            self.skip_inbound.0.iter().cloned().map(condition)
        };
        let mut rules: Vec<Rule> = [Condition::FromLoopback, Condition::Established, Condition::AnyTcp]
            .into_iter()
            .chain(skipped(Condition::UdpPorts))
            .chain(skipped(Condition::SctpPorts))
            .chain(icmp::ESSENTIAL.map(Condition::Icmp))
            .chain(icmp::ESSENTIAL_V6.map(Condition::Icmpv6))
            .map(|condition| Rule {
                condition,
                action: Action::LeaveAlone,
            })
            .collect();
        rules.push(Rule {
            condition: Condition::Any,
            action: Action::Drop,
        });
        rules
    }
}

impl PortRanges {
    /// Whether a port is among them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// Programs the rules and tries them out. Rules of an earlier run are replaced in the same transaction.
///
/// # Errors
/// [`RedirectError`], which says what is missing.
pub fn program_and_verify(rules: &Rules) -> Result<(), RedirectError> {
    kernel::program(rules)?;
    tracing::info!(table = TABLE, "the pod's connections are redirected");
    verify::verify(rules)?;
    Ok(())
}

/// As `nft` writes it.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for hook in self.hooks() {
            let (kind, priority) = match hook {
                Hook::Prerouting | Hook::Output => ("nat", "dstnat"),
                Hook::Input => ("filter", "filter"),
            };
            writeln!(f, "\tchain {} {{", hook.name())?;
            writeln!(
                f,
                "\t\ttype {kind} hook {} priority {priority}; policy accept;",
                hook.name()
            )?;
            for rule in self.of(hook) {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl Hook {
    /// Name of the hook, and of our chain there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Output => "output",
            Self::Input => "input",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromLoopback => f.write_str("iifname \"lo\""),
            Self::ToLoopback => f.write_str("oifname \"lo\""),
            Self::ToLoopbackV4 => f.write_str("ip daddr 127.0.0.0/8"),
            Self::ToLoopbackV6 => f.write_str("ip6 daddr ::1"),
            Self::User(user) => write!(f, "meta skuid {user}"),
            Self::Ports(range) if range.start() == range.end() => write!(f, "tcp dport {}", range.start()),
            Self::Ports(range) => write!(f, "tcp dport {}-{}", range.start(), range.end()),
            Self::AnyTcp => f.write_str("meta l4proto tcp"),
            Self::Established => f.write_str("ct state established"),
            Self::UdpPorts(range) if range.start() == range.end() => {
                write!(f, "udp dport {}", range.start())
            }
            Self::UdpPorts(range) => write!(f, "udp dport {}-{}", range.start(), range.end()),
            Self::SctpPorts(range) if range.start() == range.end() => {
                write!(f, "sctp dport {}", range.start())
            }
            Self::SctpPorts(range) => write!(f, "sctp dport {}-{}", range.start(), range.end()),
            Self::Icmp(kind) => write!(f, "icmp type {}", kind.name),
            Self::Icmpv6(kind) => write!(f, "icmpv6 type {}", kind.name),
            Self::Any => Ok(()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.condition {
            Condition::Any => self.action.fmt(f),
            _ => write!(f, "{} {}", self.condition, self.action),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaveAlone => f.write_str("accept"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

impl FromStr for InboundUdp {
    type Err = InvalidInboundUdp;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "open" => Ok(Self::Open),
            "drop" => Ok(Self::Drop),
            other => Err(InvalidInboundUdp(other.to_owned())),
        }
    }
}

impl FromStr for PortRanges {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u16 = first.trim().parse().ok().filter(|port| *port > 0)?;
            let last: u16 = last.trim().parse().ok()?;
            (first <= last).then_some(first..=last)
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| parse(part).ok_or_else(|| InvalidPorts(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ruleset_is_as_documented() {
        let rules = Rules {
            skip_inbound: "9100".parse().unwrap(),
            skip_outbound: "25, 3306-3310".parse().unwrap(),
            inbound_udp: InboundUdp::Open,
        };
        insta::assert_snapshot!(rules);
    }

    #[test]
    fn s22_what_is_no_tcp_and_nobody_asked_for_is_dropped_last() {
        let rules = Rules {
            skip_inbound: "53".parse().unwrap(),
            inbound_udp: InboundUdp::Drop,
            ..Rules::default()
        };
        let words: Vec<String> = rules.of(Hook::Input).iter().map(ToString::to_string).collect();
        assert_eq!(
            words[..6],
            [
                "iifname \"lo\" accept",
                "ct state established accept",
                "meta l4proto tcp accept",
                "udp dport 53 accept",
                "sctp dport 53 accept",
                "icmp type destination-unreachable accept",
            ]
        );
        assert_eq!(words.last().unwrap(), "drop");
        // Echo requests carry whatever somebody likes.
        assert!(!words.iter().any(|rule| rule.contains("echo")));
        assert_eq!(Rules::default().hooks(), [Hook::Prerouting, Hook::Output]);
    }

    #[test]
    fn ports_and_ranges_are_read() {
        let ports: PortRanges = "25,8000-8100, 443".parse().unwrap();
        assert!(ports.contains(25) && ports.contains(8050) && ports.contains(443));
        assert!(!ports.contains(26));
        assert_eq!("".parse(), Ok(PortRanges::default()));
        for bad in ["0", "x", "1-", "9-8", "70000", "1-2-3"] {
            assert_eq!(bad.parse::<PortRanges>(), Err(InvalidPorts(bad.to_owned())));
        }
    }
}
