//! Bytes of one body, or of one direction of a connection, between being read and being taken by whoever gets them.
//!
//! A flow waits only while some of its own bytes are not taken, and is woken when they are. So it needs nobody else to go
//! on, whatever others hold, and one that does not go on holds up no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::task::AtomicWaker;

use super::{Admitted, Budget};

/// What a piece costs beside its bytes: it may be the last of a larger buffer, and stands in a queue.
const OVERHEAD: usize = 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Request,
    /// To the client.
    Response,
}

/// One body on its way.
#[derive(Debug)]
pub struct Flow {
    admitted: Arc<Admitted>,
    way: Way,
    held: AtomicUsize,
    waker: AtomicWaker,
}

/// Bytes on their way. They count as held until they are dropped, which is when they were written.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    charge: Option<Charge>,
}

#[derive(Debug)]
struct Charge {
    flow: Arc<Flow>,
    bytes: usize,
}

impl Flow {
    /// A body of this client's connection.
    #[must_use]
    pub fn new(admitted: &Arc<Admitted>, way: Way) -> Arc<Self> {
        Arc::new(Self {
            admitted: Arc::clone(admitted),
            way,
            held: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
        })
    }

    /// The budget that its bytes count in.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        self.admitted.budget(self.way)
    }

    /// Ready when more may be read for it.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Its bytes may have been taken meanwhile.
        if self.has_room() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Counts these bytes as held.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: Bytes) -> Held {
        let counted = bytes.len() + OVERHEAD;
        self.held.fetch_add(counted, Ordering::Relaxed);
        self.budget().hold(counted);
        if self.way == Way::Response {
            self.admitted.activity.hold(counted);
        }
        let charge = Some(Charge {
            flow: Arc::clone(self),
            bytes: counted,
        });
        Held { bytes, charge }
    }

    fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.budget().pressure().allowance()
    }
}

impl From<Bytes> for Held {
    /// Bytes that nobody counts.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, charge: None }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Flow {
            admitted,
            way,
            held,
            waker,
        } = &*self.flow;
        held.fetch_sub(self.bytes, Ordering::Relaxed);
        admitted.budget(*way).release(self.bytes);
        if *way == Way::Response {
            admitted.activity.release(self.bytes);
        }
        waker.wake();
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
        // A part of a piece is progress too.
        if let Some(Charge { flow, .. }) = &self.charge
            && flow.way == Way::Response
        {
            flow.admitted.activity.take();
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use smilax_core::admission::{Activity, Admissions, Busy, Caps, Load};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::overload::{Budgets, Costs, Receiver};

    const LIMIT: usize = 64 * 1024;

    struct Port {
        admissions: Admissions<CancellationToken>,
        budgets: Arc<Budgets>,
    }

    impl Port {
        fn new() -> Self {
            Self {
                admissions: Admissions::new(Caps { all: 9, of_one: 9 }, Busy::Stays),
                budgets: Arc::new(Budgets::new(LIMIT, &Load::new(usize::MAX))),
            }
        }

        fn connection(&self) -> Arc<Admitted> {
            let (activity, end) = (Activity::new(), CancellationToken::new());
            let source = "10.0.0.1".parse().unwrap();
            let (place, _) = self.admissions.enter(source, &activity, end.clone()).unwrap();
            let costs = Costs {
                budgets: Arc::clone(&self.budgets),
                requests_to: Receiver::Application,
                responses_to: Receiver::Client,
                load: None,
                large_heads: Arc::default(),
                refused: prometheus::IntCounter::new("refused", "refused").unwrap(),
            };
            Admitted::new(activity, end, costs, place)
        }

        fn held(&self) -> [usize; 3] {
            [Receiver::Client, Receiver::Application, Receiver::Server].map(|of| self.budgets.of(of).held())
        }
    }

    fn has_room(flow: &Flow) -> bool {
        flow.poll_room(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn s6_bytes_are_held_until_they_are_written_and_so_is_the_place() {
        let port = Port::new();
        let connection = port.connection();
        let mut held = Flow::new(&connection, Way::Response).hold(Bytes::from_static(b"hello"));
        held.advance(3);
        let counted = 5 + OVERHEAD;
        assert_eq!(
            (port.held(), connection.activity.held()),
            ([counted, 0, 0], counted)
        );
        let activity = Arc::clone(&connection.activity);
        drop(connection);
        assert_eq!(port.admissions.len(), 1);
        drop(held);
        assert_eq!((port.held(), activity.held()), ([0; 3], 0));
        assert!(port.admissions.is_empty());
    }

    #[test]
    fn s6_a_part_that_is_taken_is_progress() {
        let connection = Port::new().connection();
        let mut held = Flow::new(&connection, Way::Response).hold(Bytes::from_static(b"hello"));
        let before = connection.activity.taken();
        held.advance(1);
        assert_ne!(connection.activity.taken(), before);
    }

    #[test]
    fn s6_what_the_application_does_not_take_is_not_held_against_its_clients() {
        let port = Port::new();
        let connection = port.connection();
        let _upload = Flow::new(&connection, Way::Request).hold(vec![0; LIMIT].into());
        assert_eq!(connection.activity.held(), 0);
        let response = Flow::new(&connection, Way::Response);
        let _some = response.hold(vec![0; LIMIT / 4].into());
        assert!(has_room(&response));
    }

    #[test]
    fn b8_a_stalled_stream_leaves_room_for_others_of_its_connection() {
        let connection = Port::new().connection();
        let [stalled, other] = [(); 2].map(|()| Flow::new(&connection, Way::Response));
        let _held = stalled.hold(vec![0; LIMIT].into());
        assert!(!has_room(&stalled));
        assert!(has_room(&other));
    }

    #[test]
    fn s6_who_waits_is_woken_when_its_own_bytes_are_taken_whatever_others_hold() {
        let connection = Port::new().connection();
        let [waits, other] = [(); 2].map(|()| Flow::new(&connection, Way::Response));
        let _full = other.hold(vec![0; LIMIT].into());
        let own = waits.hold(Bytes::from_static(b"a"));
        let (waker, woken) = counting_waker();
        assert!(waits.poll_room(&Context::from_waker(&waker)).is_pending());
        drop(own);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(has_room(&waits));
    }

    fn counting_waker() -> (Waker, Arc<AtomicUsize>) {
        struct Count(Arc<AtomicUsize>);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        (Arc::new(Count(Arc::clone(&count))).into(), count)
    }
}
