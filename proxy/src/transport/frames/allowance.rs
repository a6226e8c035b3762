//! How many frames the other side may send that carry nothing.
//!
//! Frames of control cost their sender 9 bytes, and this side a look at each and often an answer, so floods of them hold up
//! everybody else in the same thread. What frames are good for is headers and data: these earn an allowance, in either
//! direction, and all others are paid from it. It grows by itself as well, slowly, since pings, settings and windows of
//! zero are sent on quiet connections too.
//!
//! ```text
//! earned   by headers, by data received, and more by data sent: its receiver opens windows again as it reads
//! paid     by everything else: pings, windows, priorities, resets, empty data and headers, unknown frames; settings, which
//!          concern every stream, cost more
//! ```

use std::time::Duration;

use super::header::{ACK, CONTINUATION, DATA, HEADERS, Header, SETTINGS};

/// The allowance of a new connection, and what it grows to by itself.
const FIRST: u32 = 10_000;
/// The largest allowance. A client may open its windows twice for each small frame that is on its way, and tens of thousands
/// may be: what is earned with them must not be lost before they are read.
const MOST: u32 = 100_000;
/// What it grows by in a second.
const GROWTH: u32 = 500;
/// What settings cost: they change the window of every stream.
const SETTINGS_COST: u32 = 20;
/// What headers earn, in either direction: priorities, windows and a reset for their stream.
const HEADERS_EARN: u32 = 20;
/// What data that was sent earns. Ten windows for each frame, as in Envoy.
const SENT_DATA_EARNS: u32 = 10;

/// What the other side may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// Until when its growth is counted.
    grown: Duration,
}

/// What a frame means for the allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    Earns(u32),
    Costs(u32),
}

/// The allowance is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Allowance {
    /// That of a new connection. Times are since any fixed moment.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            left: FIRST,
            grown: now,
        }
    }

    pub(super) fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(MOST);
    }

    /// A frame has come. The time is only asked for when nothing is left.
    pub(super) fn settle(&mut self, worth: Worth, now: impl FnOnce() -> Duration) -> Result<(), Exhausted> {
        let cost = match worth {
            Worth::Earns(frames) => {
                self.earn(frames);
                return Ok(());
            }
            Worth::Costs(cost) => cost,
        };
        if self.left < cost {
            let now = now();
            let growth = now.saturating_sub(self.grown).as_millis() * u128::from(GROWTH) / 1000;
            if growth > 0 {
                let growth = u32::try_from(growth).unwrap_or(FIRST);
                self.left = self.left.saturating_add(growth).min(FIRST);
                self.grown = now;
            }
        }
        self.left = self.left.checked_sub(cost).ok_or(Exhausted)?;
        Ok(())
    }
}

/// What a frame that came is worth. Of padded data it shows only later whether there is any.
pub(super) fn received(header: &Header) -> Worth {
    match (header.kind, header.length) {
        (_, 0) if header.kind != SETTINGS => Worth::Costs(1),
        (HEADERS, _) => Worth::Earns(HEADERS_EARN),
        (DATA, _) => Worth::Earns(1),
        // How many there may be of a block is bounded by its length.
        (CONTINUATION, _) => Worth::Earns(0),
        (SETTINGS, _) if header.flags & ACK == 0 => Worth::Costs(SETTINGS_COST),
        _ => Worth::Costs(1),
    }
}

/// What a frame earns that was sent.
pub(super) fn sent(header: &Header) -> u32 {
    match header.kind {
        HEADERS => HEADERS_EARN,
        DATA if header.length > 0 => SENT_DATA_EARNS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, length: usize) -> Header {
        Header {
            length,
            kind,
            flags: 0,
            stream: 1,
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How many of these come through at once, of so many.
    fn taken(allowance: &mut Allowance, header: &Header, now: Duration) -> u32 {
        let mut taken = 0;
        while taken < 2 * MOST && allowance.settle(received(header), || now).is_ok() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn s37_frames_that_carry_nothing_are_bounded_and_settings_more_than_others() {
        for (kind, length) in [
            (PING, 8),
            (WINDOW_UPDATE, 4),
            (2, 5),
            (3, 4),
            (GREASE, 100),
            (DATA, 0),
            (HEADERS, 0),
            (CONTINUATION, 0),
        ] {
            let mut allowance = Allowance::new(at(0));
            assert_eq!(
                taken(&mut allowance, &frame(kind, length), at(0)),
                FIRST,
                "{kind}"
            );
        }
        let mut allowance = Allowance::new(at(0));
        assert_eq!(
            taken(&mut allowance, &frame(SETTINGS, 6), at(0)),
            FIRST / SETTINGS_COST
        );
        assert_eq!(
            taken(&mut Allowance::new(at(0)), &frame(SETTINGS, 0), at(0)),
            FIRST / SETTINGS_COST
        );
    }

    /// A kind that nobody knows.
    const GREASE: u8 = 0x0b + 0x1f;

    #[test]
    fn s37_the_allowance_grows_with_time() {
        let mut allowance = Allowance::new(at(0));
        let ping = frame(PING, 8);
        taken(&mut allowance, &ping, at(0));
        assert_eq!(taken(&mut allowance, &ping, at(1_000)), GROWTH);
        assert_eq!(taken(&mut allowance, &ping, at(1_001)), 0);
        assert_eq!(taken(&mut allowance, &ping, at(1_002)), 1);
        assert_eq!(taken(&mut allowance, &ping, at(10_000_000)), FIRST);
    }

    #[test]
    fn s37_windows_for_tens_of_thousands_of_frames_on_their_way_may_come_at_once() {
        let mut allowance = Allowance::new(at(0));
        for _ in 0..40_000 {
            allowance.earn(sent(&frame(DATA, 10)));
        }
        let windows = taken(&mut allowance, &frame(WINDOW_UPDATE, 4), at(0));
        assert_eq!(windows, MOST);
    }

    #[test]
    fn s37_windows_that_are_opened_for_each_frame_that_was_sent_are_never_too_many() {
        let mut allowance = Allowance::new(at(0));
        for _ in 0..10 * MOST {
            allowance.earn(sent(&frame(DATA, 10)));
            for _ in 0..2 {
                let settled = allowance.settle(received(&frame(WINDOW_UPDATE, 4)), || at(0));
                assert_eq!(settled, Ok(()));
            }
        }
    }

    #[test]
    fn s37_answers_to_a_flood_earn_nothing_for_it() {
        for (kind, length) in [(PING, 8), (SETTINGS, 0), (3, 4), (WINDOW_UPDATE, 4), (DATA, 0)] {
            assert_eq!(sent(&frame(kind, length)), 0, "{kind}");
        }
    }
}
