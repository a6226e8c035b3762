//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Between the first two looks; each further wait is half as long again, since every look costs a process.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);
/// Between two looks at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long most things may take on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// It is so.
    Done(T),
    /// Not yet; what is there instead.
    Pending(String),
}

impl<T> Progress<T> {
    /// `Done` with the value, or `Pending` with what was seen.
    pub fn when(condition: bool, value: T, seen: impl FnOnce() -> String) -> Self {
        if condition {
            Self::Done(value)
        } else {
            Self::Pending(seen())
        }
    }
}

/// Looks until it is so, for at most [`PATIENCE`].
///
/// # Panics
/// When it is not so in time, with what was seen last.
#[track_caller]
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Progress<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// Looks until it is so, for at most `limit`.
///
/// # Panics
/// When it is not so in time, with what was seen last.
#[track_caller]
pub fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Progress<T>) -> T {
    let start = Instant::now();
    let mut interval = FIRST_INTERVAL;
    loop {
        match look() {
            Progress::Done(value) => return value,
            Progress::Pending(seen) if start.elapsed() >= limit => {
                panic!(
                    "after {} s it is still not so that {what}; last seen: {seen}",
                    limit.as_secs()
                )
            }
            Progress::Pending(_) => pause(interval),
        }
        interval = (interval * 3 / 2).min(INTERVAL);
    }
}

/// Holds that it stays so for a while.
///
/// # Panics
/// When a look sees otherwise.
#[track_caller]
pub fn stays<T: std::fmt::Debug>(duration: Duration, what: &str, mut look: impl FnMut() -> Progress<T>) {
    let start = Instant::now();
    while start.elapsed() < duration {
        if let Progress::Pending(seen) = look() {
            panic!(
                "after {:?} it is no longer so that {what}: {seen}",
                start.elapsed()
            );
        }
        pause(INTERVAL);
    }
}

/// Lets time pass between two looks.
pub fn pause(duration: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "no runtime here: each test has a thread of its own"
    )]
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_value_as_soon_as_it_is_so() {
        let mut looks = 0;
        let value = wait_until("three looks were made", || {
            looks += 1;
            Progress::when(looks == 3, looks, || looks.to_string())
        });
        assert_eq!(value, 3);
    }

    #[test]
    fn waiting_in_vain_says_what_was_wanted_and_what_was_seen() {
        let failure = std::panic::catch_unwind(|| {
            wait_within(Duration::ZERO, "pigs fly", || {
                Progress::<()>::Pending("pigs in mud".to_owned())
            });
        })
        .unwrap_err();
        let text = failure.downcast_ref::<String>().unwrap();
        assert!(
            text.contains("pigs fly") && text.contains("pigs in mud"),
            "{text}"
        );
    }
}
