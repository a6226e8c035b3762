//! What a load says about an event. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smilax_e2e::{Report, WINDOW_MS, Window};

/// Milliseconds of the first part of an event, in which a balancer may still learn.
const LEARNING_MS: u64 = 5000;
/// Milliseconds over which a share is taken when it is to tell when a pod is back.
const BACK_OVER_MS: u64 = 1000;

/// When what happened, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The event began.
    pub began_ms: u64,
    /// Its cause was gone.
    pub healed_ms: Option<u64>,
}

/// How the traffic of pods is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// By their answers.
    Answers,
    /// By their answers, and by requests that no pod answered.
    AnswersAndSilence,
}

/// Pods that the event befalls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// Their names.
    pub pods: Vec<String>,
    /// Pods behind the Service.
    pub of: u32,
    /// How their traffic is told.
    pub attribution: Attribution,
}

/// When affected pods had at least half of their fair share again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Back {
    /// Nobody asks.
    #[default]
    NotAsked,
    /// So many seconds after the cause was gone.
    After(f64),
    /// Not before the load ended.
    Never,
}

/// What was measured in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests.
    pub sent: u64,
    /// Those without a 2xx, or a gRPC status of OK.
    pub lost: u64,
    /// Those by kind.
    pub lost_by_kind: BTreeMap<String, u64>,
    /// Requests inside of applications when these died, as they said or, after SIGKILL, at most.
    pub in_flight: u64,
    /// Those that took 2 s longer than the application.
    pub hung: u64,
    /// Percent of the traffic that affected pods got in the first 5 s.
    pub share_first: Option<f64>,
    /// The same from then until the cause was gone.
    pub share_later: Option<f64>,
    /// Seconds from the event until the last request was due that was lost or hung.
    pub errors_until_s: Option<f64>,
    /// When affected pods were back.
    pub back: Back,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl Figures {
    /// What a report says.
    pub fn of(report: &Report, moments: Moments, affected: Option<&Affected>, in_flight: u64) -> Self {
        let since = |moment: u64| moment.saturating_sub(report.began_at_ms);
        let began = since(moments.began_ms);
        let end = report.timeline.len() as u64 * WINDOW_MS;
        let healed = moments.healed_ms.map_or(end, since);
        let share = |from, to| affected.and_then(|affected| affected.share(report, from, to));
        Self {
            sent: report.requests,
            lost: report.failed(),
            lost_by_kind: report
                .failures
                .iter()
                .map(|failure| (failure.kind.clone(), failure.count))
                .collect(),
            in_flight,
            hung: report.timeline.iter().map(|window| window.hung).sum(),
            share_first: share(began, healed.min(began + LEARNING_MS)),
            share_later: share(began + LEARNING_MS, healed),
            errors_until_s: errors_until(report).map(|until| seconds(until.saturating_sub(began))),
            back: match (affected, moments.healed_ms) {
                (Some(affected), Some(_)) => affected.back(report, healed, end),
                _ => Back::NotAsked,
            },
            p50_ms: tenths(float(report.p50_us) / 1000.0),
            p99_ms: tenths(float(report.p99_us) / 1000.0),
        }
    }

    /// Requests that were lost although no application died with them.
    pub fn lost_outside(&self) -> u64 {
        self.lost.saturating_sub(self.in_flight)
    }
}

impl Affected {
    /// Percent of the requests due in these milliseconds after the start that affected pods got; `None` without requests.
    fn share(&self, report: &Report, from_ms: u64, to_ms: u64) -> Option<f64> {
        let windows = windows(report, from_ms, to_ms);
        let requests: u64 = windows.iter().map(|window| window.requests).sum();
        let theirs: u64 = windows.iter().map(|window| self.of_window(window)).sum();
        (requests > 0).then(|| tenths(100.0 * float(theirs) / float(requests)))
    }

    fn of_window(&self, window: &Window) -> u64 {
        let answers: u64 = self.pods.iter().filter_map(|pod| window.by_pod.get(pod)).sum();
        match self.attribution {
            Attribution::Answers => answers,
            Attribution::AnswersAndSilence => {
                answers + window.requests.saturating_sub(window.by_pod.values().sum())
            }
        }
    }

    /// Silence is no sign of being back, so only answers that went well count.
    fn back(&self, report: &Report, healed_ms: u64, end_ms: u64) -> Back {
        let answers = Self {
            attribution: Attribution::Answers,
            ..self.clone()
        };
        let half = 50.0 * float(self.pods.len() as u64) / f64::from(self.of);
        let mut from = healed_ms.next_multiple_of(WINDOW_MS);
        while from + BACK_OVER_MS <= end_ms {
            let share = answers.share(report, from, from + BACK_OVER_MS);
            if share.is_some_and(|share| share >= half) {
                return Back::After(seconds(from + BACK_OVER_MS - healed_ms));
            }
            from += WINDOW_MS;
        }
        Back::Never
    }
}

fn windows(report: &Report, from_ms: u64, to_ms: u64) -> &[Window] {
    let number = |millis: u64| {
        let number = usize::try_from(millis / WINDOW_MS).unwrap_or(usize::MAX);
        number.min(report.timeline.len())
    };
    report
        .timeline
        .get(number(from_ms)..number(to_ms))
        .unwrap_or_default()
}

/// End of the last window with a request that was lost or hung, in milliseconds after the start.
fn errors_until(report: &Report) -> Option<u64> {
    let last = report
        .timeline
        .iter()
        .rposition(|window| window.failed + window.hung > 0)?;
    Some((last as u64 + 1) * WINDOW_MS)
}

fn seconds(millis: u64) -> f64 {
    tenths(float(millis) / 1000.0)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "no load sends 2^53 requests")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty seconds in which `a` and `b` answer ten requests each in every window, as changed by `change`.
    fn report(change: impl Fn(u64, &mut Window)) -> Report {
        let timeline: Vec<Window> = (0..200)
            .map(|number| {
                let mut window = Window {
                    requests: 20,
                    by_pod: BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 10)]),
                    ..Window::default()
                };
                change(number * WINDOW_MS, &mut window);
                window
            })
            .collect();
        Report {
            requests: 4000,
            began_at_ms: 1_000_000,
            timeline,
            ..Report::default()
        }
    }

    fn only_b(window: &mut Window) {
        window.by_pod = BTreeMap::from([("b".to_owned(), 20)]);
    }

    fn affected(attribution: Attribution) -> Affected {
        Affected {
            pods: vec!["a".to_owned()],
            of: 2,
            attribution,
        }
    }

    const MOMENTS: Moments = Moments {
        began_ms: 1_002_000,
        healed_ms: Some(1_012_000),
    };

    #[test]
    fn shares_are_those_of_the_event_and_not_of_before_and_after() {
        let report = report(|at, window| {
            if (7000..12_000).contains(&at) {
                only_b(window);
            }
        });
        let figures = Figures::of(&report, MOMENTS, Some(&affected(Attribution::Answers)), 0);
        assert_eq!(
            (figures.share_first, figures.share_later),
            (Some(50.0), Some(0.0))
        );
    }

    #[test]
    fn requests_that_nobody_answers_are_of_the_pod_that_is_silent() {
        let report = report(|at, window| {
            if (2000..12_000).contains(&at) {
                window.by_pod.remove("a");
            }
        });
        let figures = |attribution| Figures::of(&report, MOMENTS, Some(&affected(attribution)), 0);
        assert_eq!(figures(Attribution::AnswersAndSilence).share_later, Some(50.0));
        assert_eq!(figures(Attribution::Answers).share_later, Some(0.0));
    }

    #[test]
    fn a_pod_is_back_when_it_has_half_of_its_share_over_a_second() {
        let report = report(|at, window| {
            if (2000..15_000).contains(&at) {
                only_b(window);
            }
        });
        let figures = Figures::of(&report, MOMENTS, Some(&affected(Attribution::Answers)), 0);
        // Ten of twenty from 15.0 s on: half of the fair share over the second that ends at 15.5 s.
        assert_eq!(figures.back, Back::After(3.5));
    }

    #[test]
    fn a_pod_that_stays_away_is_never_back() {
        let report = report(|at, window| {
            if at >= 2000 {
                only_b(window);
            }
        });
        let figures = Figures::of(&report, MOMENTS, Some(&affected(Attribution::Answers)), 0);
        assert_eq!(figures.back, Back::Never);
    }

    #[test]
    fn errors_last_until_the_last_request_that_was_lost_or_hung() {
        let report = report(|at, window| {
            window.failed = u64::from(at == 2500);
            window.hung = u64::from(at == 4000);
        });
        let figures = Figures::of(&report, MOMENTS, None, 0);
        assert_eq!(figures.errors_until_s, Some(2.1));
        assert_eq!(figures.hung, 1);
    }

    #[test]
    fn what_died_inside_an_application_is_not_lost_outside() {
        let figures = Figures {
            lost: 7,
            in_flight: 5,
            ..Figures::default()
        };
        assert_eq!(figures.lost_outside(), 2);
    }
}
