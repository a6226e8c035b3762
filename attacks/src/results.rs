//! What is kept of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figures::Figures;

/// One attack over one family of addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// What was measured.
    pub figures: Figures,
    /// Bars that were missed.
    pub missed: Vec<String>,
}

/// Outcomes by attack.
pub type Results = BTreeMap<String, Vec<Outcome>>;

/// One line for people.
pub fn line(figures: &Figures) -> String {
    let (rss, with) = (figures.rss, &figures.with);
    let tally = figures.attacker;
    format!(
        "RSS {} MiB before, {} peak, {} 10 s after; CPU {} s, {} without; \
         victim p50 {} ms, {:.2} without, p99 {} ms, {:.2} without ({} and {}), lost {} of {}; \
         attacker opened {}, failed {}, open {}, wrote {} objects, sent {} KiB, received {} KiB",
        rss.before,
        rss.peak,
        rss.after,
        figures.cpu_s,
        figures.cpu_without_s,
        with.p50_ms,
        figures.p50_without_ms(),
        with.p99_ms,
        figures.p99_without_ms(),
        figures.without[0].p99_ms,
        figures.without[1].p99_ms,
        with.lost,
        with.requests,
        tally.opened,
        tally.failed,
        tally.open,
        tally.objects,
        tally.sent / 1024,
        tally.received / 1024,
    )
}
