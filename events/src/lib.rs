//! What requests meet while pods, operators and nodes fail: the same pods with the mesh and without, in turn.
//!
//! ```text
//! Scenario ─► perform(Pods, rate) ─► Report and Moments ─► Figures ─► bars ─► results.json ─► docs/events.md
//! ```
//!
//! Figures and bars are pure. What drives the cluster panics when the cluster does not do its part, as the end-to-end
//! tests do; `main` counts such a run as broken and goes on with the next.

pub mod bars;
pub mod figures;
pub mod perform;
pub mod pods;
pub mod results;
pub mod scenario;
