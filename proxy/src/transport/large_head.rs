//! A head that grows large while it comes takes of the memory for requests before it is one: thousands of connections could
//! keep it for as long as a head may take.

use std::io;
use std::sync::Arc;

use crate::overload::Admitted;

/// Bytes of a head that every connection may keep: a frame of HTTP/2.
const SMALL: usize = 16 * 1024;

/// The head that is coming over a client's connection.
#[derive(Debug)]
pub(super) struct LargeHead {
    admitted: Arc<Admitted>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Small,
    Large,
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
            self.stage = Stage::Large;
        }
        Ok(())
    }

    /// It is complete.
    pub(super) fn ends(&mut self) {
        if self.stage == Stage::Large {
            self.admitted.end_head();
            self.stage = Stage::Small;
        }
    }
}
