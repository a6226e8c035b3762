//! What is kept of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::figures::{Back, Figures};

/// One scenario at one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests a second.
    pub rate: u32,
    /// Without the mesh.
    pub without: Figures,
    /// With it.
    pub with: Figures,
    /// Bars that the mesh missed.
    pub missed: Vec<String>,
}

/// Outcomes by scenario, in the order of the rates.
pub type Results = BTreeMap<String, Vec<Outcome>>;

/// One line for people.
pub fn line(figures: &Figures) -> String {
    let mut line = format!(
        "sent {}, lost {} ({} in flight when an application died), hung {}",
        figures.sent, figures.lost, figures.in_flight, figures.hung
    );
    let mut add = |text: String| {
        // Writing to a String does not fail.
        let _ = write!(line, ", {text}");
    };
    if let Some(share) = figures.share_first {
        add(format!("share {share} % at first"));
    }
    if let Some(share) = figures.share_later {
        add(format!("{share} % later"));
    }
    if let Some(seconds) = figures.errors_until_s {
        add(format!("errors until {seconds} s"));
    }
    match figures.back {
        Back::NotAsked => {}
        Back::After(seconds) => add(format!("back after {seconds} s")),
        Back::Never => add("not back".to_owned()),
    }
    add(format!("p50 {} ms, p99 {} ms", figures.p50_ms, figures.p99_ms));
    if !figures.lost_by_kind.is_empty() {
        add(format!("lost by kind {:?}", figures.lost_by_kind));
    }
    line
}
