//! What workers would like to be told of.

use parking_lot::Mutex;
use smilax_core::Resource;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Messages that wait to be taken at most. What finds no room is said again when it is still used a while later.
const MOST_WAITING: usize = 1024;

/// The way from workers to whoever subscribes.
#[derive(Debug)]
pub struct Wanted {
    say: Sender<Vec<Resource>>,
    said: Mutex<Option<Receiver<Vec<Resource>>>>,
}

/// Whether something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was.
    Yes,
    /// There was no room, or nobody listens.
    No,
}

impl Wanted {
    /// These are used.
    pub fn say(&self, used: Vec<Resource>) -> Said {
        match self.say.try_send(used) {
            Ok(()) => Said::Yes,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Said::No,
        }
    }

    /// Where it is heard. There is one listener.
    pub fn listen(&self) -> Option<Receiver<Vec<Resource>>> {
        self.said.lock().take()
    }
}

impl Default for Wanted {
    fn default() -> Self {
        let (say, said) = channel(MOST_WAITING);
        Self {
            say,
            said: Mutex::new(Some(said)),
        }
    }
}
