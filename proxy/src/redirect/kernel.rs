//! Programs rules by netlink, in one transaction: nothing else is needed in the image, and no moment sees half of them.

use std::io;

use nlink::netlink::nftables::{
    BaseChain, Chain, CmpOp, CtState, Expr, Family, FilterHook, MetaKey, NatHook, PacketField, PayloadBase,
    Priority, RangeOp, Register, Rule as Kernel,
};
use nlink::netlink::{Connection, Nftables};

use super::{Action, Condition, Hook, Rule, Rules, TABLE};

/// Protocol number of TCP.
const TCP: u8 = 6;
/// Protocol number of SCTP.
const SCTP: u8 = 132;
/// Where the port of the receiver stands in the header of SCTP (RFC 9260 section 3.1), and how long it is, in bytes.
const SCTP_PORT: (u32, u32) = (2, 2);

/// Why the rules could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The container may not.
    #[error("not permitted: give this container the capability NET_ADMIN and user 0")]
    NotPermitted,
    /// The kernel cannot.
    #[error(
        "the kernel lacks what redirecting needs ({0}): load the modules nf_tables, nft_chain_nat, nft_redir and nf_conntrack on the node"
    )]
    Unsupported(nlink::Error),
    /// Something else.
    #[error("the rules were refused: {0}")]
    Refused(nlink::Error),
    /// No runtime.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Programs the rules in the network namespace of this process, in place of those of an earlier run.
///
/// # Errors
/// [`ProgramError`].
pub fn program(rules: &Rules) -> Result<(), ProgramError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(commit(rules)).map_err(explain)
}

async fn commit(rules: &Rules) -> nlink::Result<()> {
    let connection = Connection::<Nftables>::new()?;
    // Deleting a table that is not there fails, so it is made first.
    let mut transaction = connection
        .transaction()
        .update_table(TABLE, Family::Inet, 0)
        .del_table(TABLE, Family::Inet)
        .add_table(TABLE, Family::Inet);
    for hook in rules.hooks() {
        let base = match hook {
            Hook::Prerouting => BaseChain::nat(NatHook::Prerouting, Priority::DstNat),
            Hook::Output => BaseChain::nat(NatHook::Output, Priority::DstNat),
            Hook::Input => BaseChain::filter(FilterHook::Input, Priority::Filter),
        };
        let chain = Chain::new(TABLE, hook.name())?.family(Family::Inet).base(base);
        transaction = transaction.add_chain(chain);
        for rule in rules.of(hook) {
            transaction = transaction.add_rule(lower(hook, &rule));
        }
    }
    transaction.commit(&connection).await
}

fn lower(hook: Hook, rule: &Rule) -> Kernel {
    let kernel = Kernel::new(TABLE, hook.name()).family(Family::Inet);
    let kernel = match &rule.condition {
        Condition::FromLoopback => kernel.match_iif("lo"),
        Condition::ToLoopback => kernel.match_oif("lo"),
        Condition::ToLoopbackV4 => kernel.match_daddr(std::net::Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Condition::ToLoopbackV6 => kernel.match_daddr(std::net::Ipv6Addr::LOCALHOST.into(), 128),
        Condition::User(user) => kernel
            .expr(Expr::Meta {
                dreg: Register::R0,
                key: MetaKey::SkUid,
            })
            .expr(Expr::Cmp {
                sreg: Register::R0,
                op: CmpOp::Eq,
                data: user.to_ne_bytes().into(),
            }),
        Condition::Ports(range) if range.start() == range.end() => kernel.match_tcp_dport(*range.start()),
        Condition::Ports(range) => kernel.match_range(PacketField::TcpDport, *range.start(), *range.end()),
        Condition::AnyTcp => kernel.match_l4proto(TCP),
        Condition::Established => kernel.match_ct_state(CtState::ESTABLISHED),
        Condition::UdpPorts(range) if range.start() == range.end() => kernel.match_udp_dport(*range.start()),
        Condition::UdpPorts(range) => kernel.match_range(PacketField::UdpDport, *range.start(), *range.end()),
        Condition::SctpPorts(range) => {
            let (offset, len) = SCTP_PORT;
            let kernel = kernel.match_l4proto(SCTP).expr(Expr::Payload {
                dreg: Register::R0,
                base: PayloadBase::Transport,
                offset,
                len,
            });
            let (first, last) = (range.start().to_be_bytes(), range.end().to_be_bytes());
            let port = if first == last {
                Expr::Cmp {
                    sreg: Register::R0,
                    op: CmpOp::Eq,
                    data: first.into(),
                }
            } else {
                Expr::Range {
                    sreg: Register::R0,
                    op: RangeOp::Eq,
                    from: first.into(),
                    to: last.into(),
                }
            };
            kernel.expr(port)
        }
        Condition::Icmp(kind) => kernel.match_icmp_type(kind.number),
        Condition::Icmpv6(kind) => kernel.match_icmpv6_type(kind.number),
        Condition::Any => kernel,
    };
    match rule.action {
        Action::LeaveAlone => kernel.accept(),
        Action::Redirect(port) => kernel.redirect(Some(port)),
        Action::Drop => kernel.drop(),
    }
}

fn explain(error: nlink::Error) -> ProgramError {
    if error.is_permission_denied() {
        ProgramError::NotPermitted
    } else if error.is_not_supported() || error.is_not_found() {
        ProgramError::Unsupported(error)
    } else {
        ProgramError::Refused(error)
    }
}
