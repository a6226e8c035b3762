//! What strangers may cost this proxy: connections, and bytes held for clients that do not take them.
//!
//! ```text
//! accept ─► Admissions (caps; who gives way) ─► Admitted, which lasts as long as anything of the connection
//!                                                  │ bytes of responses on their way: Charge
//!                                                  ▼
//!                            Budget: less is read at once, then nothing for who has some, then the worst end
//! ```

mod admitted;
mod budget;
mod capacity;
mod sweep;

use std::sync::Arc;

use smilax_core::admission::{Admissions, Busy};
use tokio_util::sync::CancellationToken;

pub use admitted::{Admitted, Held, Sharing};
pub use budget::{Budget, FEW_BYTES, Pressure};
pub use capacity::Capacity;
pub use sweep::{Patience, sweep_forever};

/// What there is room for, shared by the threads of a proxy.
#[derive(Debug)]
pub struct Overload {
    /// Connections from the application.
    pub outbound: Admissions<CancellationToken>,
    /// Connections to it.
    pub inbound: Admissions<CancellationToken>,
    /// Bytes held for clients.
    pub budget: Arc<Budget>,
}

impl Overload {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            outbound: Admissions::new(capacity.outbound, Busy::Stays),
            inbound: Admissions::new(capacity.inbound, Busy::Stays),
            budget: Arc::new(Budget::new(capacity.held_bytes)),
        }
    }
}
