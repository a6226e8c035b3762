//! How long a connection has had nothing under way.

use std::time::Duration;

use super::Activity;

/// Looks at a connection from time to time. Times are since any fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    completed: u32,
    since: Duration,
}

impl Quiet {
    /// Of a connection that begins now.
    #[must_use]
    pub fn begins(now: Duration) -> Self {
        Self {
            completed: 0,
            since: now,
        }
    }

    /// How long nothing has been under way, as far as was looked.
    pub fn look(&mut self, activity: &Activity, now: Duration) -> Duration {
        let completed = activity.completed();
        if completed != self.completed || !activity.is_idle() {
            *self = Self {
                completed,
                since: now,
            };
        }
        now.saturating_sub(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_a_connection_is_quiet_between_requests_and_not_during_one() {
        let [mut now, second] = [Duration::ZERO, Duration::from_secs(1)];
        let (activity, mut quiet) = (Activity::new(), Quiet::begins(now));
        let mut look = |activity: &Activity| {
            now += second;
            quiet.look(activity, now)
        };
        assert_eq!(look(&activity), second);
        assert_eq!(look(&activity), 2 * second);
        let under_way = activity.begin();
        assert_eq!(look(&activity), Duration::ZERO);
        drop(under_way);
        assert_eq!(look(&activity), Duration::ZERO);
        // A whole request between two looks.
        assert_eq!(look(&activity), second);
        drop(activity.begin());
        assert_eq!(look(&activity), Duration::ZERO);
        assert_eq!(look(&activity), second);
    }
}
