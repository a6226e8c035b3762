//! What strangers may cost this proxy: connections, requests under way, and bytes held for those who do not take them.
//!
//! ```text
//! accept ──► Admissions (caps; who gives way) ─► Admitted, which lasts as long as anything of the connection
//! request ─► Load (by source) ─► Permit          │ bytes of a body on their way: Flow
//!                                                ▼
//!                        Budget of whoever gets them: less is read at once, then nothing for a body of which some are held,
//!                        then clients end that take nothing
//! ```

mod admitted;
mod budget;
mod capacity;
mod files;
mod flow;
mod large_heads;
mod sweep;

use std::sync::Arc;

use smilax_core::admission::{Admissions, Busy, Load};
use tokio_util::sync::CancellationToken;

pub use admitted::{Admitted, Costs, TooMany};
pub use budget::{Budget, Budgets, FEW_BYTES, Pressure, Reading, Receiver};
pub use capacity::{Asked, Capacity};
pub use files::raise_limit;
pub use flow::{Flow, Held, Way};
pub use large_heads::{LargeHeads, Ticket};
pub use sweep::{Patience, sweep_forever};

/// What there is room for, shared by the threads of a proxy.
#[derive(Debug)]
pub struct Overload {
    /// Connections from the application.
    pub outbound: Admissions<CancellationToken>,
    /// Connections to it.
    pub inbound: Admissions<CancellationToken>,
    /// Bytes that are held.
    pub budgets: Arc<Budgets>,
    /// Requests to the application that are under way.
    pub load: Arc<Load>,
    /// Heads of requests that have grown large.
    pub large_heads: Arc<LargeHeads>,
}

impl Overload {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        let load = Load::new(capacity.request_bytes);
        Self {
            outbound: Admissions::new(capacity.outbound, Busy::Stays),
            inbound: Admissions::new(capacity.inbound, Busy::Stays),
            budgets: Arc::new(Budgets::new(capacity.held_bytes, &load)),
            load,
            large_heads: Arc::default(),
        }
    }
}
