//! Whether a watch works, and when that is worth a line in the log. Pure.

use kube::runtime::watcher;

/// Whether a watch works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// It does, or nothing is known yet.
    #[default]
    Well,
    /// It broke, and has brought nothing since.
    Failing,
}

/// How a watch broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The cluster does not serve the kind.
    Missing,
    /// Part of a watch's life: its place was forgotten (410), or the storage of a definition that changed is being made
    /// anew (429).
    Passing,
    /// Anything else.
    Failed,
}

/// A watch that failed works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovered;

impl Health {
    /// The watch brought something; whether that it recovered is to be logged.
    pub(super) fn brought<K>(&mut self, event: &watcher::Event<K>) -> Option<Recovered> {
        // That it begins to list proves nothing yet: the list may fail.
        if matches!(event, watcher::Event::Init) || *self == Self::Well {
            return None;
        }
        *self = Self::Well;
        Some(Recovered)
    }

    /// The watch broke; what of that is to be logged. A failure is logged once, until the watch recovers.
    pub(super) fn broke(&mut self, how: Break) -> Option<Break> {
        match (how, *self) {
            (Break::Passing, _) => Some(how),
            (Break::Missing | Break::Failed, Self::Failing) => None,
            (Break::Missing | Break::Failed, Self::Well) => {
                *self = Self::Failing;
                Some(how)
            }
        }
    }
}

impl Break {
    pub(super) fn of(error: &watcher::Error) -> Self {
        let code = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            | watcher::Error::WatchFailed(kube::Error::Api(status))
            | watcher::Error::WatchError(status) => status.code,
            _ => return Self::Failed,
        };
        match code {
            404 => Self::Missing,
            410 | 429 => Self::Passing,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::runtime::watcher::Event;

    use super::*;

    #[test]
    fn a_watch_that_failed_has_recovered_when_it_brings_something_and_not_when_it_begins_to_list() {
        let mut health = Health::default();
        assert_eq!(health.broke(Break::Failed), Some(Break::Failed));
        assert_eq!(health.brought(&Event::<()>::Init), None);
        assert_eq!(health.brought(&Event::<()>::InitDone), Some(Recovered));
        assert_eq!(health.brought(&Event::Apply(())), None, "it is said once");
    }

    #[test]
    fn a_failure_is_said_once_until_the_watch_recovers() {
        let mut health = Health::default();
        assert!(health.broke(Break::Missing).is_some());
        assert_eq!(health.broke(Break::Missing), None);
        health.brought(&Event::<()>::InitDone);
        assert!(health.broke(Break::Missing).is_some());
    }

    #[test]
    fn what_passes_is_no_failure_and_ends_none() {
        let mut health = Health::default();
        health.broke(Break::Passing);
        assert_eq!(health.brought(&Event::<()>::InitDone), None);
        health.broke(Break::Failed);
        health.broke(Break::Passing);
        assert_eq!(health.brought(&Event::<()>::InitDone), Some(Recovered));
    }

    #[test]
    fn a_kind_that_is_not_served_is_told_from_a_forgotten_place_and_from_a_failure() {
        let answered = |code| {
            Break::of(&watcher::Error::WatchError(
                Status::failure("", "").with_code(code).boxed(),
            ))
        };
        assert_eq!(
            [404, 410, 429, 500].map(answered),
            [Break::Missing, Break::Passing, Break::Passing, Break::Failed]
        );
        assert_eq!(Break::of(&watcher::Error::NoResourceVersion), Break::Failed);
    }
}
