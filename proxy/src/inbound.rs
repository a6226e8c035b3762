//! What others send to the application.
//!
//! The application is asked at the address that the caller used, an address of the pod. One that listens on loopback
//! alone was not reachable from outside before, and is not through the proxy.

use std::net::SocketAddr;
use std::rc::Rc;

use smilax_core::config::Protocol;

use crate::connection::Target;
use crate::settings::Settings;
use crate::worker::Worker;

/// Nobody else's address is ever dialled for a caller, nor a port of the proxy.
pub fn accepts(settings: &Settings, original: SocketAddr) -> bool {
    settings.pod.is_reached_at(original.ip()) && !settings.ports.contains(original.port())
}

/// What the application speaks on a port.
pub fn protocol(worker: &Worker, original: SocketAddr) -> Protocol {
    let known = &worker.shared.settings.inbound_protocols;
    known.get(&original.port()).copied().unwrap_or_default()
}

/// The application.
pub fn target(worker: &Worker, original: SocketAddr) -> Target {
    Target {
        address: original,
        telemetry: Rc::clone(&worker.inbound_telemetry),
    }
}
