//! What attacks cost a sidecar and an operator, and what a victim notices that shares them with the attacker.
//!
//! ```text
//! Attack ─► perform(without, with, without) ─► Figures ─► bars ─► results.json ─► docs/attack-campaign.md
//! ```
//!
//! Attacker, victim, application and sidecar are processes of this program and of the proxy, each in a cgroup of its own, in
//! network namespaces that a bridge joins. Figures and bars are pure.

pub mod application;
pub mod attacker;
pub mod bars;
pub mod catalogue;
pub mod control_plane;
pub mod figures;
pub mod measure;
pub mod pod;
pub mod results;
pub mod stage;
mod tls;
pub mod victim;
