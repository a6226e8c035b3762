//! Redirects the pod's connections to the proxy, by rules of netfilter in the pod's network namespace.
//!
//! What the rules are is decided here, as data; [`kernel`] programs them, [`verify`] tries them out.

pub mod kernel;
pub mod verify;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use smilax_core::convention::{INBOUND_PORT, OUTBOUND_PORT, PROXY_PORTS, PROXY_UID};

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
}

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
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes where it was going.
    LeaveAlone,
    /// It goes to this port of the pod instead.
    Redirect(u16),
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
        };
        rules.extend(skip.0.iter().cloned().map(Condition::Ports).map(alone));
        rules.push(Rule {
            condition: Condition::AnyTcp,
            action: Action::Redirect(port),
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
        for hook in [Hook::Prerouting, Hook::Output] {
            writeln!(f, "\tchain {} {{", hook.name())?;
            writeln!(
                f,
                "\t\ttype nat hook {} priority dstnat; policy accept;",
                hook.name()
            )?;
            for rule in self.of(hook) {
                writeln!(f, "\t\t{} {}", rule.condition, rule.action)?;
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
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaveAlone => f.write_str("accept"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
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
        };
        insta::assert_snapshot!(rules);
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
