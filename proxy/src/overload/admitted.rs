//! One connection of a client, as far as it costs something.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf, Bytes};
use smilax_core::admission::{Activity, Place};
use tokio_util::sync::CancellationToken;

use super::Budget;

/// What a response on its way costs beside its bytes: its stream, and what the libraries keep of it.
const OVERHEAD: usize = 4 * 1024;

/// A connection that has a place. It has it until the last of this is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// What it is doing.
    pub activity: Arc<Activity>,
    /// Cancelled when it has to end.
    pub end: CancellationToken,
    budget: Arc<Budget>,
    /// Bodies that wait until less is held.
    waiting: RefCell<Vec<Waker>>,
    _place: Place<CancellationToken>,
}

/// Bytes of a response on their way to the client. They count as held for it until they are dropped, which is when they
/// were written.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    _charge: Option<Charge>,
}

#[derive(Debug)]
struct Charge {
    admitted: Rc<Admitted>,
    bytes: usize,
}

/// Over how many responses a connection goes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One: HTTP/1.
    One,
    /// Many: HTTP/2.
    Many,
}

impl Admitted {
    /// A connection that has this place.
    #[must_use]
    pub fn new(
        activity: Arc<Activity>,
        end: CancellationToken,
        budget: Arc<Budget>,
        place: Place<CancellationToken>,
    ) -> Rc<Self> {
        Rc::new(Self {
            activity,
            end,
            budget,
            waiting: RefCell::default(),
            _place: place,
        })
    }

    /// Whether more may be read for it now.
    #[must_use]
    pub fn may_hold_more(&self, sharing: Sharing) -> bool {
        let pressure = self.budget.pressure();
        let allowance = match sharing {
            Sharing::One => pressure.allowance(),
            Sharing::Many => pressure.shared_allowance(),
        };
        self.activity.held() < allowance
    }

    /// Wakes the task when less is held for the connection.
    pub fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
    }

    /// Counts these bytes as held for it.
    #[must_use]
    pub fn hold(self: &Rc<Self>, bytes: Bytes) -> Held {
        let counted = bytes.len() + OVERHEAD;
        self.activity.hold(counted);
        self.budget.hold(counted);
        Held {
            bytes,
            _charge: Some(Charge {
                admitted: Rc::clone(self),
                bytes: counted,
            }),
        }
    }
}

impl From<Bytes> for Held {
    /// Bytes that nobody counts.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _charge: None }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.admitted.activity.release(self.bytes);
        self.admitted.budget.release(self.bytes);
        let waiting = std::mem::take(&mut *self.admitted.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Buf for Held {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use smilax_core::admission::{Admissions, Busy, Caps};

    use super::*;

    fn admitted(budget: &Arc<Budget>) -> (Admissions<CancellationToken>, Rc<Admitted>) {
        let admissions = Admissions::new(Caps { all: 9, of_one: 9 }, Busy::Stays);
        let (activity, end) = (Activity::new(), CancellationToken::new());
        let source = "10.0.0.1".parse().unwrap();
        let (place, _) = admissions.enter(source, &activity, end.clone()).unwrap();
        let admitted = Admitted::new(activity, end, Arc::clone(budget), place);
        (admissions, admitted)
    }

    #[test]
    fn s6_bytes_are_held_until_they_are_written_and_so_is_the_place() {
        let budget = Arc::new(Budget::new(1 << 20));
        let (admissions, admitted) = admitted(&budget);
        let mut held = admitted.hold(Bytes::from_static(b"hello"));
        held.advance(3);
        assert_eq!(
            (budget.held(), admitted.activity.held()),
            (5 + OVERHEAD, 5 + OVERHEAD)
        );
        let activity = Arc::clone(&admitted.activity);
        drop(admitted);
        assert_eq!(admissions.len(), 1);
        drop(held);
        assert_eq!((budget.held(), activity.held(), activity.released()), (0, 0, 1));
        assert!(admissions.is_empty());
    }

    #[test]
    fn b8_a_stalled_stream_leaves_room_for_others_where_a_stalled_connection_has_none() {
        let budget = Arc::new(Budget::new(2 * OVERHEAD));
        let (_admissions, admitted) = admitted(&budget);
        assert!(admitted.may_hold_more(Sharing::One));
        let _held = admitted.hold(vec![0; OVERHEAD].into());
        assert!(!admitted.may_hold_more(Sharing::One));
        assert!(admitted.may_hold_more(Sharing::Many));
        let _more = admitted.hold(vec![0; 1 << 20].into());
        assert!(!admitted.may_hold_more(Sharing::Many));
    }
}
