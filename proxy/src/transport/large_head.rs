//! A head that grows large while it comes takes of the memory for requests before it is one: thousands of connections could
//! keep it for as long as a head may take.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::overload::{Admitted, Ticket};

/// Bytes of a head that every connection may keep: a frame of HTTP/2.
const SMALL: usize = 16 * 1024;

/// The head that is coming over a client's connection.
#[derive(Debug)]
pub(super) struct LargeHead {
    admitted: Arc<Admitted>,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Small,
    /// It takes turns with others that are; with a ticket it waits for its own.
    Large(Option<Ticket>),
}

impl LargeHead {
    pub(super) fn new(admitted: Arc<Admitted>) -> Self {
        Self {
            admitted,
            stage: Stage::Small,
        }
    }

    pub(super) fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// So many bytes of a head are here, which may become `most`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn grows(&mut self, bytes: usize, most: usize) -> io::Result<()> {
        if bytes > SMALL && self.stage == Stage::Small {
            let begun = self.admitted.begin_large_head(most);
            begun.map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
            self.stage = Stage::Large(None);
        }
        Ok(())
    }

    /// Ready when more of the head may be read. One piece of a large head is parsed together with all that came before;
    /// dozens of connections that each send one would hold up the others of their thread for tens of milliseconds.
    pub(super) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Small => Poll::Ready(()),
            Stage::Large(ticket) => self.admitted.large_heads().poll_turn(ticket, cx),
        }
    }

    /// It is complete, or nothing more of it is read.
    pub(super) fn ends(&mut self) {
        if let Stage::Large(ticket) = &mut self.stage {
            if let Some(ticket) = ticket.take() {
                self.admitted.large_heads().leave(ticket);
            }
            self.admitted.end_head();
            self.stage = Stage::Small;
        }
    }
}

impl Drop for LargeHead {
    fn drop(&mut self) {
        self.ends();
    }
}
