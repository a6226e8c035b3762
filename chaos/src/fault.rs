//! What is done to a request, and to a line of a watch.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::call::Call;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It is forwarded.
    Pass,
    /// It is answered so, and not forwarded.
    Answer(Refusal),
    /// It is answered with what was answered before.
    Replay(Bytes),
    /// It is forwarded later.
    Delay(Duration),
    /// It is forwarded twice, as after a connection that was lost between request and answer.
    Twice,
    /// A watch is opened, and ends at once with the word that its place in the history is forgotten.
    ExpireAtOnce,
    /// The connection ends, and nothing is forwarded.
    CutBefore,
    /// It is forwarded, and the connection ends without an answer.
    CutAfter,
    /// Nothing is forwarded, and the connection stays open in silence.
    Silence,
    /// The operator is killed, and nothing is forwarded.
    KillBefore,
    /// It is forwarded, and the operator is killed before it hears of that.
    KillAfter,
}

/// An answer that the API server could have given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Reason of the Status.
    pub reason: &'static str,
    /// Message of the Status.
    pub message: &'static str,
    /// Seconds to wait.
    pub retry_after: Option<u32>,
}

/// Somebody else wrote first.
pub const CONFLICT: Refusal = refusal(409, "Conflict", "the object has been modified");
/// The place in the history is forgotten.
pub const EXPIRED: Refusal = refusal(410, "Expired", "too old resource version");
/// Too many requests.
pub const THROTTLED: Refusal = Refusal {
    retry_after: Some(2),
    ..refusal(429, "TooManyRequests", "too many requests")
};
/// Something broke.
pub const BROKEN: Refusal = refusal(500, "InternalError", "an error on the server");
/// It starts or stops.
pub const UNAVAILABLE: Refusal = Refusal {
    retry_after: Some(2),
    ..refusal(
        503,
        "ServiceUnavailable",
        "the server is currently unable to handle the request",
    )
};
/// The API server is behind another one that was read from before.
pub const BEHIND: Refusal = refusal(504, "Timeout", "Too large resource version: 99999999, current: 1");
/// A right was taken away.
pub const FORBIDDEN: Refusal = refusal(403, "Forbidden", "forbidden by the experiment");

const fn refusal(code: u16, reason: &'static str, message: &'static str) -> Refusal {
    Refusal {
        code,
        reason,
        message,
        retry_after: None,
    }
}

/// What becomes of a line of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineAction {
    /// It is told.
    Pass,
    /// It is told twice.
    Twice,
    /// It is told after the next one, or after this time.
    Later(Duration),
    /// The connection ends in the middle of the line.
    Cut,
    /// It is not told, and the watch ends with the word that its place in the history is forgotten: an API server loses
    /// nothing in another way.
    Expire,
}

/// Decides what becomes of everything that passes.
pub trait Plan: Send {
    /// A request.
    fn request(&mut self, _call: &Call) -> Action {
        Action::Pass
    }

    /// A line of a watch.
    fn line(&mut self, _watch: &Call, _event: &Value) -> LineAction {
        LineAction::Pass
    }

    /// The error with which the API server ends a watch.
    fn error(&mut self, _watch: &Call, _event: &Value) {}
}

/// Nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Calm;

impl Plan for Calm {}

/// A plan that is only about requests.
pub struct Requests<F>(pub F);

impl<F: FnMut(&Call) -> Action + Send> Plan for Requests<F> {
    fn request(&mut self, call: &Call) -> Action {
        (self.0)(call)
    }
}

/// A plan that is only about lines of watches.
pub struct Lines<F>(pub F);

impl<F: FnMut(&Call, &Value) -> LineAction + Send> Plan for Lines<F> {
    fn line(&mut self, watch: &Call, event: &Value) -> LineAction {
        (self.0)(watch, event)
    }
}

/// A plan that does nothing, and listens to the errors with which watches end.
pub struct Errors<F>(pub F);

impl<F: FnMut(&Call, &Value) + Send> Plan for Errors<F> {
    fn error(&mut self, watch: &Call, event: &Value) {
        (self.0)(watch, event);
    }
}

/// Everything that can happen, drawn by a seed. What becomes of a request depends on the seed, on what it asks for and
/// on how often that was asked before, and on nothing else: so a seed does the same again, though calls overtake each
/// other.
#[derive(Debug)]
pub struct Noise {
    seed: u64,
    seen: BTreeMap<String, u64>,
}

impl Noise {
    /// The same seed draws the same.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            seen: BTreeMap::new(),
        }
    }

    fn draw(&mut self, what: String) -> fastrand::Rng {
        let mut hasher = FnvHasher::of(self.seed);
        hasher.add(what.as_bytes());
        let count = self.seen.entry(what).or_default();
        *count += 1;
        hasher.add(&count.to_le_bytes());
        fastrand::Rng::with_seed(hasher.0)
    }
}

/// FNV-1a; the standard library's hasher may change with its version, and a seed must not.
struct FnvHasher(u64);

impl FnvHasher {
    fn of(seed: u64) -> Self {
        let mut hasher = Self(0xcbf2_9ce4_8422_2325);
        hasher.add(&seed.to_le_bytes());
        hasher
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn short(random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(random.u64(10..300))
}

impl Plan for Noise {
    fn request(&mut self, call: &Call) -> Action {
        // Who leads is not asked by chance here: experiments R12 and R13 are about that.
        if call.is_election() {
            return Action::Pass;
        }
        let mut random = self.draw(call.to_string());
        match random.u8(..100) {
            0..8 => Action::Delay(short(&mut random)),
            8..12 => Action::CutBefore,
            12..16 => Action::CutAfter,
            16..20 if call.is_write() => Action::Twice,
            20..24 if call.is_write() => Action::Answer(CONFLICT),
            24..28 => Action::Answer(BROKEN),
            28..31 => Action::Answer(THROTTLED),
            31..33 if !call.is_write() => Action::Answer(EXPIRED),
            _ => Action::Pass,
        }
    }

    fn line(&mut self, watch: &Call, event: &Value) -> LineAction {
        let about = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut random = self.draw(format!(
            "{} {} {}/{}",
            watch.kind,
            about("/type"),
            about("/object/metadata/namespace"),
            about("/object/metadata/name")
        ));
        match random.u8(..100) {
            0..6 => LineAction::Twice,
            6..12 => LineAction::Later(short(&mut random)),
            12..15 => LineAction::Cut,
            15..18 => LineAction::Expire,
            _ => LineAction::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again() {
        let call = Call::of(
            &http::Method::POST,
            &"/api/v1/namespaces/shop/configmaps".parse().unwrap(),
        );
        let draw = |seed| {
            let mut noise = Noise::new(seed);
            (0..200)
                .map(|_| format!("{:?}", noise.request(&call)))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
