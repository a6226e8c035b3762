//! Killed at a write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Bench;
use crate::call::Call;
use crate::fault::{Action, Plan, Requests};
use crate::scenario::Stage;
use crate::session::{CONVERGES_WITHIN, Part, Session, revisions_rise};
use crate::world::say;

/// How long a write that the reference run made is waited for once the end state is there.
const LATE: Duration = Duration::from_millis(1500);
/// How often a point that was not met is tried again.
const TRIES: usize = 3;
/// What is worth a word.
const SLOW: Duration = Duration::from_secs(3);
/// More are not looked for.
const MOST_FAILURES: usize = 5;

/// On which side of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Nothing is written.
    Before,
    /// It is written, and the operator does not hear of that.
    After,
}

/// A point to kill at: the n-th write of this name in a stage.
#[derive(Clone, Debug)]
struct Point {
    write: String,
    nth: usize,
    side: Side,
}

impl Point {
    fn told(&self, part: &Part) -> String {
        format!(
            "{:?} write {} of {:?} in stage {}",
            self.side,
            self.nth,
            self.write,
            part.stage.word()
        )
    }
}

/// Kills at a point, once.
struct KillAt {
    point: Point,
    left: usize,
}

impl Plan for KillAt {
    fn request(&mut self, call: &Call) -> Action {
        if self.left == 0 || call.to_string() != self.point.write {
            return Action::Pass;
        }
        self.left -= 1;
        match (self.left, self.point.side) {
            (0, Side::Before) => Action::KillBefore,
            (0, Side::After) => Action::KillAfter,
            _ => Action::Pass,
        }
    }
}

/// Every point of a stage.
fn points(writes: &[String]) -> Vec<Point> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for write in writes {
        let nth = seen.entry(write).or_default();
        *nth += 1;
        points.extend([Side::Before, Side::After].map(|side| Point {
            write: write.clone(),
            nth: *nth,
            side,
        }));
    }
    points
}

/// Killed before and after every write of the reference run, one point of each stage in each run.
pub(super) async fn r1(bench: &mut Bench) -> anyhow::Result<String> {
    let all: Vec<_> = bench
        .reference
        .parts
        .iter()
        .map(|part| (part, points(&part.writes)))
        .collect();
    let total: usize = all.iter().map(|(_, points)| points.len()).sum();
    let mut left: Vec<Vec<(Point, usize)>> = all
        .iter()
        .map(|(_, points)| points.iter().rev().map(|point| (point.clone(), TRIES)).collect())
        .collect();
    let mut tally = Tally::default();
    while left.iter().any(|points| !points.is_empty()) {
        tally.runs += 1;
        let start = Instant::now();
        bench.session.reset().await?;
        let mut took = vec![start.elapsed()];
        let mark = bench.session.world.fault.mark();
        for (part, points) in bench.reference.parts.iter().zip(&mut left) {
            let point = points.pop();
            let told = point.as_ref().map(|(point, _)| point.told(part));
            if let Err(error) = meet(&mut bench.session, part, point, points, &mut tally).await {
                // What follows would be judged by what is wrong already.
                tally
                    .failures
                    .push(format!("{}: {error:#}", told.unwrap_or_default()));
                say(tally.failures.last().map_or("", String::as_str));
                break;
            }
            took.push(start.elapsed());
        }
        let took: Vec<String> = took
            .iter()
            .map(|one| format!("{:.1}", one.as_secs_f64()))
            .collect();
        let entries = bench.session.world.fault.writes_since(mark);
        if let Err(error) = revisions_rise(&entries) {
            tally.failures.push(error);
        }
        let doubled = 2 * bench.reference.writes() + 20;
        if entries.len() > doubled {
            let counts = (entries.len(), bench.reference.writes());
            tally.failures.push(format!(
                "{} writes, and the reference run made {}",
                counts.0, counts.1
            ));
        }
        say(&format!(
            "R1: run {}, {} of {total} points, slowest {:.1} s; stages ended after {} s",
            tally.runs,
            tally.met,
            tally.slowest.as_secs_f64(),
            took.join(" ")
        ));
        anyhow::ensure!(
            tally.failures.len() < MOST_FAILURES,
            "{}",
            tally.failures.join("\n")
        );
    }
    anyhow::ensure!(
        tally.not_made * 20 <= total,
        "{} of {total} points were not met, which is more than chance",
        tally.not_made
    );
    anyhow::ensure!(
        tally.failures.is_empty(),
        "{} of {total} points were met; {}",
        tally.met,
        tally.failures.join("\n")
    );
    Ok(format!(
        "killed at {} points, before and after each of {} writes; {} points at writes that depend on time were not made in {TRIES} \
         further runs; {} runs, slowest convergence {:.1} s",
        tally.met,
        total / 2,
        tally.not_made,
        tally.runs,
        tally.slowest.as_secs_f64()
    ))
}

/// What was met so far.
#[derive(Debug, Default)]
struct Tally {
    met: usize,
    /// Points at writes that no further run made.
    not_made: usize,
    runs: usize,
    slowest: Duration,
    failures: Vec<String>,
}

/// Plays a stage with a kill at this point. One that was not met comes back later, some times.
async fn meet(
    session: &mut Session,
    part: &Part,
    point: Option<(Point, usize)>,
    points: &mut Vec<(Point, usize)>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let Some((point, tries)) = point else {
        session.reach(part, CONVERGES_WITHIN).await?;
        return Ok(());
    };
    session.world.fault.plan(KillAt {
        point: point.clone(),
        left: point.nth,
    });
    let mut reached = session.reach(part, CONVERGES_WITHIN).await?;
    if reached.kills == 0
        && let Some(late) = session.await_kill(part, LATE).await?
    {
        reached = late;
    }
    session.world.fault.calm();
    if reached.kills > 0 {
        tally.met += 1;
        tally.slowest = tally.slowest.max(reached.after);
        if reached.after > SLOW {
            say(&format!(
                "  {:.1} s: {}",
                reached.after.as_secs_f64(),
                point.told(part)
            ));
        }
    } else if tries > 1 {
        points.insert(0, (point, tries - 1));
    } else {
        // Changes are gathered for a moment, so a write more or less depends on time: none of these runs made this one.
        say(&format!("  not made again: {}", point.told(part)));
        tally.not_made += 1;
    }
    Ok(())
}

/// Killed before the first status is written, and after the first ConfigMap is made: nothing is left over, and nothing
/// is there twice. There are no finalizers to be killed at.
pub(super) async fn r2(bench: &mut Bench) -> anyhow::Result<String> {
    let mut slowest = Duration::ZERO;
    let cases: [(&str, Stage, Action); 3] = [
        ("trafficsplits/status", Stage::Rule, Action::KillBefore),
        ("configmaps", Stage::Join, Action::KillAfter),
        ("configmaps", Stage::Shrink, Action::KillAfter),
    ];
    for (kind, stage, action) in cases {
        bench.session.reset().await?;
        for part in bench.reference.parts.clone() {
            let mut left = part.stage == stage;
            let action = action.clone();
            bench.session.world.fault.plan(Requests(move |call: &Call| {
                if left && call.kind == kind && call.is_write() {
                    left = false;
                    return action.clone();
                }
                Action::Pass
            }));
            let reached = bench.session.reach(&part, CONVERGES_WITHIN).await?;
            slowest = slowest.max(reached.after);
            if part.stage == stage {
                anyhow::ensure!(
                    reached.kills == 1,
                    "{} kills at {kind} in stage {}",
                    reached.kills,
                    stage.word()
                );
            }
        }
    }
    Ok(format!(
        "3 points; slowest convergence {:.1} s",
        slowest.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_is_met_before_and_after_as_often_as_it_was_made() {
        let points = points(&["a".to_owned(), "b".to_owned(), "a".to_owned()]);
        let told: Vec<_> = points
            .iter()
            .map(|point| format!("{} {} {:?}", point.write, point.nth, point.side))
            .collect();
        assert_eq!(
            told,
            [
                "a 1 Before",
                "a 1 After",
                "b 1 Before",
                "b 1 After",
                "a 2 Before",
                "a 2 After"
            ]
        );
    }
}
