//! Tells the workers that something changed which open connections may depend on.

use tokio::sync::watch;

/// The control thread tells, workers wait.
#[derive(Debug)]
pub struct Changes(watch::Sender<()>);

impl Changes {
    /// The configuration, the members of bindings, or whom to trust has changed: what was decided for connections that
    /// are open must be decided again.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    /// Something to wait on for the next change.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}
