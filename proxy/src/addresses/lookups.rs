//! What one worker has asked about addresses. Pure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use smilax_core::Resource;

use crate::operator_connection::interest::MOST_ADDRESSES;

/// An operator that has not answered is asked again after this time, and waited for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What was asked.
#[derive(Debug, Default)]
pub struct Lookups(RefCell<HashMap<SocketAddr, Asked>>);

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Duration,
    usage: Usage,
}

/// Whether something is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    SinceItWasLastSaid,
    NoMore,
}

/// What to do about an address of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask, and wait this long at most.
    Ask(Duration),
    /// Another connection has asked: wait this long at most.
    Wait(Duration),
    /// Go on without knowing.
    GoOn,
}

impl Lookups {
    /// What to do at `now` about an address that is not known, when an answer is waited for `patience`.
    pub fn ask(&self, address: SocketAddr, now: Duration, patience: Duration) -> Step {
        let mut asked = self.0.borrow_mut();
        if let Some(known) = asked.get_mut(&address) {
            known.usage = Usage::SinceItWasLastSaid;
            let since = now.saturating_sub(known.at);
            if since < patience {
                return Step::Wait(patience.saturating_sub(since));
            }
            if since < ASK_AGAIN {
                return Step::GoOn;
            }
        }
        if asked.len() >= MOST_ADDRESSES {
            // What nobody waits for any more need not be remembered.
            asked.retain(|_, one| now.saturating_sub(one.at) < patience);
        }
        if asked.len() >= MOST_ADDRESSES {
            return Step::GoOn;
        }
        let usage = Usage::SinceItWasLastSaid;
        asked.insert(address, Asked { at: now, usage });
        Step::Ask(patience)
    }

    /// An address that is known was used.
    pub fn mark(&self, address: SocketAddr, now: Duration) {
        let mut asked = self.0.borrow_mut();
        let room = asked.len() < MOST_ADDRESSES;
        match asked.get_mut(&address) {
            Some(known) => known.usage = Usage::SinceItWasLastSaid,
            None if room => {
                let usage = Usage::SinceItWasLastSaid;
                asked.insert(address, Asked { at: now, usage });
            }
            None => {}
        }
    }

    /// What was used since this was last asked. What was not is no longer remembered.
    pub fn take_uses(&self) -> Vec<Resource> {
        let mut used = Vec::new();
        self.0.borrow_mut().retain(|address, one| {
            let keep = one.usage == Usage::SinceItWasLastSaid;
            if keep {
                used.push(Resource::Address(*address));
            }
            one.usage = Usage::NoMore;
            keep
        });
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn address(number: u32) -> SocketAddr {
        let [_, a, b, c] = number.to_be_bytes();
        ([10, a, b, c], 80).into()
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_first_asks_and_others_wait_for_the_rest_of_its_time() {
        let lookups = Lookups::default();
        assert_eq!(lookups.ask(address(1), at(0), PATIENCE), Step::Ask(PATIENCE));
        assert_eq!(lookups.ask(address(1), at(60), PATIENCE), Step::Wait(at(40)));
        assert_eq!(lookups.ask(address(2), at(60), PATIENCE), Step::Ask(PATIENCE));
    }

    #[test]
    fn an_operator_that_does_not_answer_is_waited_for_once_in_a_while() {
        let lookups = Lookups::default();
        lookups.ask(address(1), at(0), PATIENCE);
        assert_eq!(lookups.ask(address(1), at(100), PATIENCE), Step::GoOn);
        assert_eq!(lookups.ask(address(1), at(29_999), PATIENCE), Step::GoOn);
        assert_eq!(lookups.ask(address(1), at(30_000), PATIENCE), Step::Ask(PATIENCE));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_beyond_it_nobody_waits() {
        let lookups = Lookups::default();
        let most = u32::try_from(MOST_ADDRESSES).unwrap();
        for number in 0..most {
            assert_eq!(lookups.ask(address(number), at(0), PATIENCE), Step::Ask(PATIENCE));
        }
        assert_eq!(lookups.ask(address(most), at(1), PATIENCE), Step::GoOn);
        assert_eq!(lookups.ask(address(most), at(100), PATIENCE), Step::Ask(PATIENCE));
    }

    #[test]
    fn what_is_used_is_said_once_each_time() {
        let lookups = Lookups::default();
        lookups.ask(address(1), at(0), PATIENCE);
        lookups.mark(address(2), at(0));
        let mut used = lookups.take_uses();
        used.sort();
        assert_eq!(
            used,
            [Resource::Address(address(1)), Resource::Address(address(2))]
        );
        lookups.mark(address(2), at(5));
        assert_eq!(lookups.take_uses(), [Resource::Address(address(2))]);
        assert_eq!(lookups.take_uses(), []);
    }
}
