use proptest::prelude::*;

use super::*;

const DETECTION: OutlierDetection = OutlierDetection {
    consecutive_failures: 3,
    base_ejection_time: Duration::from_secs(1),
    max_ejection_time: Duration::from_secs(8),
    max_ejection_percent: 50,
    recovery_successes: 2,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn after(health: Health, outcomes: &[Outcome], now: Duration) -> Health {
    outcomes.iter().fold(health, |health, outcome| {
        health.after(*outcome, now, &DETECTION, EjectionBudget::Available)
    })
}

/// The health once a trial at `now` had this outcome.
fn trial(health: Health, outcome: Outcome, now: Duration) -> Health {
    assert!(health.admits(now));
    after(health.admitted(now).settled(), &[outcome], now)
}

#[test]
fn failures_in_a_row_eject() {
    let two = after(Health::default(), &[Outcome::Failure; 2], seconds(0));
    assert!(two.admits(seconds(0)));
    let three = after(two, &[Outcome::Failure], seconds(0));
    assert!(!three.admits(seconds(0)) && three.is_ejected(seconds(0)));
    assert!(three.admits(seconds(1)) && !three.is_ejected(seconds(1)));
}

#[test]
fn a_success_between_failures_begins_the_row_anew() {
    let outcomes = [Outcome::Failure, Outcome::Failure, Outcome::Success];
    let health = after(Health::default(), &outcomes.repeat(9), seconds(0));
    assert_eq!(health, Health::default());
}

#[test]
fn an_unreachable_endpoint_is_ejected_at_once_whatever_the_budget() {
    let health = Health::default().after(
        Outcome::Unreachable,
        seconds(0),
        &DETECTION,
        EjectionBudget::Exhausted,
    );
    assert!(health.is_ejected(seconds(0)));
}

#[test]
fn overload_cancellation_and_policy_never_eject() {
    for outcome in [Outcome::Overloaded, Outcome::Cancelled, Outcome::Ignored] {
        assert_eq!(
            after(Health::default(), &[outcome; 100], seconds(0)),
            Health::default()
        );
    }
}

#[test]
fn without_budget_failures_do_not_eject_and_with_it_they_do() {
    let failed = (0..9).fold(Health::default(), |health, _| {
        health.after(
            Outcome::Failure,
            seconds(0),
            &DETECTION,
            EjectionBudget::Exhausted,
        )
    });
    assert!(failed.admits(seconds(0)));
    assert!(after(failed, &[Outcome::Failure], seconds(0)).is_ejected(seconds(0)));
}

#[test]
fn each_ejection_lasts_twice_as_long_up_to_the_longest() {
    let mut health = after(Health::default(), &[Outcome::Failure; 3], seconds(0));
    let mut now = seconds(0);
    for expected in [1, 2, 4, 8, 8, 8] {
        let Health::Ejected { until, .. } = health else {
            panic!("{health:?}");
        };
        assert_eq!(until, now + seconds(expected));
        now = until;
        health = trial(health, Outcome::Failure, now);
    }
}

#[test]
fn failures_of_requests_from_before_the_ejection_do_not_prolong_it() {
    let ejected = after(Health::default(), &[Outcome::Failure; 3], seconds(0));
    assert_eq!(
        after(ejected, &[Outcome::Failure; 50], Duration::from_millis(900)),
        ejected
    );
    assert_eq!(
        after(ejected, &[Outcome::Unreachable; 50], Duration::from_millis(900)),
        ejected
    );
}

#[test]
fn a_recovering_endpoint_takes_one_trial_then_more_and_is_healthy_after_enough() {
    let now = seconds(1);
    let ejected = after(Health::default(), &[Outcome::Failure; 3], seconds(0));
    let first = ejected.admitted(now);
    assert!(!first.admits(now), "the first trial has no outcome yet");
    let second = after(first.settled(), &[Outcome::Success], now);
    assert!(second.admits(now) && second.admitted(now).admits(now));
    let healthy = after(second.admitted(now).settled(), &[Outcome::Success], now);
    assert_eq!(healthy, Health::default());
}

#[test]
fn a_stream_that_goes_on_for_hours_does_not_keep_other_trials_away() {
    let now = seconds(1);
    let ejected = after(Health::default(), &[Outcome::Failure; 3], seconds(0));
    let answered = ejected.admitted(now).settled();
    assert!(answered.admits(now));
    assert_eq!(after(answered, &[Outcome::Success; 2], now), Health::default());
}

#[test]
fn a_trial_that_says_nothing_makes_room_for_another() {
    let now = seconds(1);
    let ejected = after(Health::default(), &[Outcome::Failure; 3], seconds(0));
    for outcome in [Outcome::Cancelled, Outcome::Ignored, Outcome::Overloaded] {
        assert!(trial(ejected, outcome, now).admits(now));
    }
}

#[test]
fn at_least_one_endpoint_stays_and_half_of_many() {
    let may = |endpoints, ejected| DETECTION.budget(endpoints, ejected) == EjectionBudget::Available;
    assert!(!may(0, 0) && !may(1, 0));
    assert!(may(2, 0) && !may(2, 1));
    assert!(may(3, 1) && !may(3, 2));
    assert!(may(10, 4) && !may(10, 5));
}

#[test]
fn statuses_say_how_an_endpoint_does() {
    for (status, grpc, outcome) in [
        (200, None, Outcome::Success),
        (404, None, Outcome::Success),
        (403, None, Outcome::Success),
        (429, None, Outcome::Overloaded),
        (500, None, Outcome::Failure),
        (503, None, Outcome::Failure),
        (200, Some(0), Outcome::Success),
        (200, Some(5), Outcome::Success),
        (200, Some(8), Outcome::Overloaded),
        (200, Some(13), Outcome::Failure),
        (200, Some(14), Outcome::Failure),
    ] {
        assert_eq!(Outcome::of_response(status, grpc), outcome, "{status} {grpc:?}");
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::Failure),
        Just(Outcome::Overloaded),
        Just(Outcome::Unreachable),
        Just(Outcome::Cancelled),
        Just(Outcome::Ignored),
    ]
}

proptest! {
    /// Whatever happened, an endpoint that serves every trial is healthy within the longest ejection and its trials.
    #[test]
    fn an_endpoint_that_is_well_again_always_recovers(
        history in proptest::collection::vec((outcome(), 0u64..3000), 0..60),
    ) {
        let mut now = Duration::ZERO;
        let mut health = Health::default();
        for (outcome, wait) in history {
            now += Duration::from_millis(wait);
            if health.admits(now) {
                health = health
                    .admitted(now)
                    .settled()
                    .after(outcome, now, &DETECTION, EjectionBudget::Available);
            }
        }
        now += DETECTION.max_ejection_time;
        for _ in 0..DETECTION.recovery_successes {
            health = trial(health, Outcome::Success, now);
        }
        prop_assert_eq!(health, Health::default());
    }

    /// No order of outcomes, also of requests from long ago, ejects for longer than the longest ejection.
    #[test]
    fn no_ejection_is_longer_than_the_longest(
        outcomes in proptest::collection::vec((outcome(), 0u64..3000), 0..60),
    ) {
        let mut now = Duration::ZERO;
        let mut health = Health::default();
        for (outcome, wait) in outcomes {
            now += Duration::from_millis(wait);
            health = health.after(outcome, now, &DETECTION, EjectionBudget::Available);
            prop_assert!(!health.is_ejected(now + DETECTION.max_ejection_time));
        }
    }
}
