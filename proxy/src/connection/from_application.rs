//! How a connection from the application begins: what is spoken is found out first, unless it is known.

use std::rc::Rc;

use bytes::Bytes;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use super::{Connection, patience};
use crate::detect::{self, Spoken};
use crate::http::server::Version;
use crate::outbound;
use crate::tcp::{CarryError, Watch};

impl Connection {
    pub(super) async fn carry_outbound(self: Rc<Self>, stream: TcpStream) -> Result<(), CarryError> {
        let limits = self.worker.shared.settings.limits;
        outbound::look_up(&self.worker, self.original).await;
        match outbound::protocol(&self.worker, self.original) {
            Protocol::Tcp => self.carry_bytes(stream.into(), Watch::Unwatched).await,
            Protocol::Http => match detect::wait(&stream, patience(limits.idle, limits.header_read)).await? {
                Some(Spoken::Tls) => self.carry_bytes(stream.into(), Watch::Unwatched).await,
                Some(Spoken::Http2) => self.serve(stream, Version::Http2).await,
                // What is no HTTP is told so by the server.
                Some(Spoken::Http1 | Spoken::Text | Spoken::Bytes) => {
                    self.serve(stream, Version::Http1).await
                }
                None => Err(CarryError::Idle(limits.idle)),
            },
            Protocol::Detect => self.carry_unknown(stream).await,
        }
    }

    /// Finds out what is spoken. A client that says nothing may be waiting for the server: then a server is asked, and
    /// whoever speaks first decides. Whatever comes out, the policy holds.
    async fn carry_unknown(self: Rc<Self>, stream: TcpStream) -> Result<(), CarryError> {
        let limits = self.worker.shared.settings.limits;
        let known = self.worker.server_first.borrow().knows(self.original);
        let brief = patience(limits.detect, limits.detect);
        if !known && let Some(spoken) = detect::wait(&stream, brief).await? {
            return match version(spoken) {
                Some(version) => self.serve(stream, version).await,
                None => self.carry_bytes(stream.into(), Watch::Unwatched).await,
            };
        }
        let mut target = self.bytes_target();
        let mut upstream = self.connect(&stream, &mut target).await?;
        let heard = tokio::select! {
            biased;
            spoken = detect::wait(&stream, patience(limits.idle, limits.detect)) => {
                Ok(spoken?.ok_or(CarryError::Idle(limits.idle))?)
            }
            greeting = upstream.stream.speaks() => Err(greeting?),
        };
        match heard.map(version) {
            Ok(Some(version)) => {
                drop((upstream, target));
                self.serve(stream, version).await
            }
            Ok(None) => {
                self.between(stream.into(), upstream, &target, &Bytes::new(), Watch::Unwatched)
                    .await
            }
            Err(greeting) => {
                self.remember(self.original);
                self.between(stream.into(), upstream, &target, &greeting, Watch::Unwatched)
                    .await
            }
        }
    }
}

fn version(spoken: Spoken) -> Option<Version> {
    match spoken {
        Spoken::Http1 => Some(Version::Http1),
        Spoken::Http2 => Some(Version::Http2),
        Spoken::Tls | Spoken::Text | Spoken::Bytes => None,
    }
}
