//! From the cluster to the compiler and back: watches fill the index, the leader writes what comes out.
//!
//! ```text
//! watch ─► State { Index, what is stored } ─notify─► writer (leader only) ─► policy: ConfigMaps
//!                                                                         └► telling: status, then Events; each within
//!                                                                            a budget, namespaces in turn
//! ```

pub mod acknowledgement;
pub mod change;
pub mod events;
pub mod findings;
pub mod fit;
pub mod integrity;
pub mod kinds;
pub mod measuring;
pub mod migrate;
pub mod oversize;
pub mod pace;
pub mod report;
pub mod state;
pub mod statuses;
pub mod stored;
pub mod turns;
pub mod uninstall;
pub mod view;
pub mod watch;
pub mod writer;

pub use state::State;
