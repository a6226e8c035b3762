//! Whether measured shares are what was asked for.

use smilax_testapp::load::Report;

/// The choice among backends is exact in the long run, so three standard deviations of a fair draw are generous; what
/// misses them is wrong.
const SIGMAS: f64 = 3.0;

/// Holds that `backend` answered the share `expected` (0 to 1) of all answers, within three standard deviations of a
/// binomial draw; shares 0 and 1 hold exactly.
///
/// # Panics
/// When it did not.
#[track_caller]
pub fn assert_share(report: &Report, backend: &str, expected: f64) {
    let answers: u64 = report.by_backend.values().sum();
    let hits = report.by_backend.get(backend).copied().unwrap_or_default();
    assert!(answers > 0, "nobody answered: {report:?}");
    let tolerance = tolerance(answers, expected);
    let share = float(hits) / float(answers);
    assert!(
        (share - expected).abs() <= tolerance,
        "{backend} answered {hits} of {answers} requests, a share of {share:.4}; asked were {expected:.4} ± {tolerance:.4}; \
         all answers: {:?}",
        report.by_backend
    );
}

/// Holds that every request was answered well.
///
/// # Panics
/// When one was not, or when there was none.
#[track_caller]
pub fn assert_no_failures(report: &Report) {
    assert!(report.requests > 0, "no request was sent: {report:?}");
    assert!(
        report.failures.is_empty(),
        "{} of {} requests failed: {:?}; answers: {:?}",
        report.failed(),
        report.requests,
        report.failures,
        report.by_backend
    );
}

fn tolerance(answers: u64, share: f64) -> f64 {
    SIGMAS * (share * (1.0 - share) / float(answers)).sqrt()
}

#[expect(clippy::cast_precision_loss, reason = "no test sends 2^53 requests")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn report(counts: &[(&str, u64)]) -> Report {
        Report {
            requests: counts.iter().map(|(_, count)| count).sum(),
            by_backend: counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect::<BTreeMap<_, _>>(),
            ..Report::default()
        }
    }

    fn fails(body: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(body).is_err()
    }

    #[test]
    fn a_share_within_three_sigma_holds() {
        let measured = report(&[("web-v1", 1790), ("web-v2", 210)]);
        assert_share(&measured, "web-v1", 0.9);
        assert_share(&measured, "web-v2", 0.1);
    }

    #[test]
    fn a_share_outside_three_sigma_fails() {
        // Three sigma at 2,000 requests and 0.1 are 40.2 requests.
        assert!(fails(|| assert_share(
            &report(&[("web-v1", 1759), ("web-v2", 241)]),
            "web-v2",
            0.1
        )));
        assert!(!fails(|| assert_share(
            &report(&[("web-v1", 1760), ("web-v2", 240)]),
            "web-v2",
            0.1
        )));
    }

    #[test]
    fn shares_of_nothing_and_everything_hold_exactly() {
        assert_share(&report(&[("web-v1", 2000)]), "web-v2", 0.0);
        assert!(fails(|| assert_share(
            &report(&[("web-v1", 1999), ("web-v2", 1)]),
            "web-v2",
            0.0
        )));
        assert!(fails(|| assert_share(
            &report(&[("web-v1", 1999), ("web-v2", 1)]),
            "web-v1",
            1.0
        )));
    }

    #[test]
    fn no_answer_at_all_fails() {
        assert!(fails(|| assert_share(&report(&[]), "web-v1", 0.0)));
        assert!(fails(|| assert_no_failures(&Report::default())));
    }
}
