//! Promises to users, kept on a real Kubernetes.
//!
//! The tests speak to the cluster as its users do, through `kubectl`, and to its Services from inside, through a client
//! pod. Everything that waits, waits for a condition with a deadline; nothing sleeps for a time and hopes.
//!
//! ```text
//! Mesh::connect() ─► Namespace::fresh() ─► apply(object) ─► client.enforces(..) ─► client.load(..) ─► assert_share(..)
//! ```
//!
//! What fails, fails the test where it stands: these functions panic instead of returning errors, with what was
//! asked, what was seen and, under `target/e2e/`, the objects, Events and logs of the namespace.
#![expect(clippy::panic, reason = "a promise that is not kept fails its test")]

pub mod api;
pub mod client;
pub mod desk;
pub mod disrupt;
pub mod environment;
pub mod fixture;
pub mod following;
pub mod guarded;
pub mod kubectl;
pub mod load;
pub mod mesh;
pub mod namespace;
pub mod objects;
pub mod pages;
pub mod progressive;
pub mod share;
pub mod status;
pub mod wait;
pub mod watching;

pub use client::Client;
pub use fixture::{Shared, Web};
pub use following::Following;
pub use guarded::{Guarded, Server};
pub use kubectl::Kubectl;
pub use load::Load;
pub use mesh::Mesh;
pub use namespace::{Inject, Namespace};
pub use objects::{
    IdentityBinding, Match, Object, Probe, RouteGroup, Service, SplitVersion, TcpRoute, TrafficSplit,
    TrafficTarget, Workload,
};
pub use share::assert_share;
pub use smilax_testapp::answer::{Answer, Ending};
pub use smilax_testapp::fault::Fault;
pub use smilax_testapp::fetch::{Fetched, Talked};
pub use smilax_testapp::load::{Report, WINDOW_MS, Window};
pub use status::{Condition, Event};
pub use wait::{Progress, wait_until};
