//! A line for each refusal, and not too many of them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::request::Parts;
use smilax_core::ObjectRef;
use smilax_core::access::DenialReason;

use super::{Caller, Refused};

/// Lines in one period at most.
const MOST_LINES: u32 = 20;
/// How long a period is.
const PERIOD: Duration = Duration::from_secs(10);

/// What a line is about.
pub(super) struct Report<'a> {
    pub(super) caller: &'a Caller,
    pub(super) port: u16,
    pub(super) decision: &'static str,
    pub(super) refused: &'a Refused,
    pub(super) nearest: Option<&'a ObjectRef>,
    pub(super) request: Option<&'a Parts>,
}

/// Writes lines, and counts those that it leaves out.
#[derive(Debug)]
pub struct Reports {
    began: Cell<Instant>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            began: Cell::new(Instant::now()),
            lines: Cell::new(0),
            left_out: Cell::new(0),
        }
    }
}

impl Reports {
    pub(super) fn tell(&self, report: &Report<'_>) {
        let Some(left_out) = self.room(Instant::now()) else {
            return;
        };
        let nearest = report.nearest.map(ToString::to_string);
        let what = headline(report.refused);
        tracing::warn!(
            decision = report.decision,
            source = report.caller.name(),
            address = %report.caller.address,
            port = report.port,
            reason = report.refused.as_str(),
            why = %report.refused,
            nearest = nearest.as_deref().unwrap_or("none"),
            method = report.request.map_or("-", |request| request.method.as_str()),
            path = report.request.map_or("-", |request| request.uri.path()),
            left_out,
            "{what}"
        );
    }

    /// How many lines were left out before this one; `None` when it must be left out itself.
    fn room(&self, now: Instant) -> Option<u64> {
        if now.duration_since(self.began.get()) >= PERIOD {
            self.began.set(now);
            self.lines.set(0);
        }
        if self.lines.get() >= MOST_LINES {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.left_out.take())
    }
}

/// What happened, before `decision` says what became of the call.
fn headline(refused: &Refused) -> &'static str {
    match refused {
        Refused::Denied(DenialReason::Unauthenticated) => {
            "a call proves no identity, so no TrafficTarget can allow it"
        }
        Refused::Denied(_) => "no TrafficTarget allows a call",
        Refused::Plaintext => "a call proves no identity, which the TLS mode strict asks for",
        Refused::AmbiguousPath(_) | Refused::AmbiguousHeader(_) => {
            "a call can be read in two ways, and a TrafficTarget reads what is ambiguous in it"
        }
        Refused::NoPolicy => "a call came before the configuration that says who may call",
        Refused::Distrusted => "a call is of an identity that is no longer trusted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_blamed_on_a_missing_target_only_where_one_would_help() {
        let blamed = |refused| headline(&refused).contains("no TrafficTarget allows");
        assert!(blamed(Refused::Denied(DenialReason::NoTarget)));
        let unproven = Refused::Denied(DenialReason::Unauthenticated);
        for refused in [
            unproven,
            Refused::Plaintext,
            Refused::NoPolicy,
            Refused::Distrusted,
        ] {
            assert!(!blamed(refused));
        }
    }

    #[test]
    fn of_many_refusals_few_are_told_and_the_rest_is_counted() {
        let reports = Reports::default();
        let start = Instant::now();
        let told = (0..1000).filter(|_| reports.room(start).is_some()).count();
        assert_eq!(told, MOST_LINES as usize);
        assert_eq!(reports.room(start + PERIOD), Some(1000 - u64::from(MOST_LINES)));
        assert_eq!(reports.room(start + PERIOD), Some(0));
    }
}
