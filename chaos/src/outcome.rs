//! What became of an experiment.

use std::time::Duration;

use serde::Serialize;

/// Whether it went as it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It did.
    Passed,
    /// It did not.
    Failed,
}

/// What became of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which: `R8`.
    pub id: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was measured, or what went wrong.
    pub figures: String,
    /// How long it took, in seconds.
    pub seconds: u64,
}

impl Outcome {
    /// From what an experiment said.
    pub fn of(id: &str, said: anyhow::Result<String>, took: Duration) -> Self {
        let (verdict, figures) = match said {
            Ok(figures) => (Verdict::Passed, figures),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        Self {
            id: id.to_owned(),
            verdict,
            figures,
            seconds: took.as_secs(),
        }
    }

    /// One line of the table.
    pub fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Passed => "ok    ",
            Verdict::Failed => "FAILED",
        };
        format!("{:<6} {verdict} {:>4} s  {}", self.id, self.seconds, self.figures)
    }
}
