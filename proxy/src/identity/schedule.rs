//! When a certificate is asked for. Pure: the time and the dice are given.

use std::time::Duration;

use smilax_core::workload_connection::{CertificateInfo, KeyId};

/// Seconds by which authorities date certificates back, for clocks that are behind.
const BACKDATED: u64 = 60;
/// Shortest pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How far requests are spread when everybody needs another certificate at once.
const SPREAD: Duration = Duration::from_secs(5);

/// A certificate in use, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// From when it is valid, in seconds since the epoch.
    pub not_before: u64,
    /// Until when, and who signed it.
    pub info: CertificateInfo,
}

/// Whether another key than that of a certificate signs now.
pub fn is_outdated(in_use: &InUse, signs_now: &KeyId) -> bool {
    *signs_now != KeyId::default() && in_use.info.issuer != *signs_now
}

/// How long to wait with the next request, when it has been outdated for so long.
///
/// `dice` is between 0 and 1, and the same until the certificate changes.
pub fn wait(in_use: Option<&InUse>, outdated_for: Option<Duration>, now: u64, dice: f64) -> Duration {
    let Some(in_use) = in_use else {
        return Duration::ZERO;
    };
    if now >= in_use.info.not_after {
        return Duration::ZERO;
    }
    let until = Duration::from_secs(renewal(in_use, dice).saturating_sub(now));
    match outdated_for {
        None => until,
        Some(since) => until.min(SPREAD.mul_f64(dice.clamp(0.0, 1.0)).saturating_sub(since)),
    }
}

/// When a certificate is renewed, in seconds since the epoch: shortly before two thirds of its life are over, or up to a
/// tenth of its life before that. Who then finds the operator away for a third of that life has a last try or two after
/// its return.
fn renewal(in_use: &InUse, dice: f64) -> u64 {
    let end = in_use.info.not_after;
    let begin = match in_use.not_before + BACKDATED {
        begin if begin < end => begin,
        _ => in_use.not_before,
    };
    let life = Duration::from_secs(end.saturating_sub(begin));
    let share = 2.0 / 3.0 - dice.clamp(0.0, 1.0) / 10.0;
    let last_tries = (LONGEST_PAUSE * 2).min(life / 100);
    begin + life.mul_f64(share).saturating_sub(last_tries).as_secs()
}

/// The pause after some failures in a row, the half of it at random.
pub fn pause(failures: u32, dice: f64) -> Duration {
    let doubled = SHORTEST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST_PAUSE)
        .mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId(name.to_owned())
    }

    fn in_use(not_before: u64, not_after: u64) -> InUse {
        InUse {
            not_before,
            info: CertificateInfo {
                issuer: key("ours"),
                not_after,
            },
        }
    }

    #[test]
    fn without_a_certificate_one_is_asked_for_at_once() {
        assert_eq!(wait(None, None, 7, 0.5), Duration::ZERO);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let day = in_use(1000, 1060 + 86_400);
        let (two_thirds, minute) = (Duration::from_hours(16), Duration::from_mins(1));
        assert_eq!(wait(Some(&day), None, 1060, 0.0) + minute, two_thirds);
        assert_eq!(
            wait(Some(&day), None, 1060 + two_thirds.as_secs(), 0.0),
            Duration::ZERO
        );
    }

    #[test]
    fn another_signing_key_is_reason_to_ask_within_seconds() {
        let day = in_use(1000, 1060 + 86_400);
        assert!(is_outdated(&day, &key("theirs")) && !is_outdated(&day, &key("ours")));
        let after = |since| wait(Some(&day), Some(since), 1060, 1.0);
        assert_eq!(after(Duration::ZERO), SPREAD);
        assert_eq!(after(SPREAD), Duration::ZERO, "waiting comes to an end");
        assert_eq!(wait(Some(&day), Some(Duration::ZERO), 1060, 0.0), Duration::ZERO);
    }

    #[test]
    fn a_certificate_that_ran_out_is_replaced_at_once() {
        let over = in_use(1000, 2000);
        assert_eq!(wait(Some(&over), None, 2000, 1.0), Duration::ZERO);
    }

    /// Lets a proxy with a certificate of a day ask for another, on a clock of its own. When it gets it, in seconds after
    /// the first.
    fn renewed(away: &std::ops::Range<u64>, dice: f64, pauses: &[f64]) -> f64 {
        let begin = 1_000_000;
        let day = in_use(begin - BACKDATED, begin + DAY);
        let mut pauses = pauses.iter().cycle();
        let (mut after, mut failures) = (0.0, 0);
        loop {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "two days at most"
            )]
            let now = after as u64;
            let wait = wait(Some(&day), None, begin + now, dice);
            if !wait.is_zero() {
                // The shell looks at the clock once a minute.
                after += wait.as_secs_f64().min(60.0);
            } else if away.contains(&now) {
                failures += 1;
                after += pause(failures, *pauses.next().unwrap()).as_secs_f64();
            } else {
                return after;
            }
        }
    }

    const DAY: u64 = 86_400;

    proptest! {
        #[test]
        fn an_operator_that_is_away_for_a_third_of_a_certificates_life_leaves_nobody_without_one(
            // Around the time at which most ask, and at any other.
            leaves in prop_oneof![57_400u64..57_600, 0u64..DAY],
            dice in prop_oneof![Just(0.0), 0.0f64..=1.0],
            pauses in prop::collection::vec(0.0f64..=1.0, 1..9),
        ) {
            let undisturbed = renewed(&(0..0), dice, &pauses);
            let away = leaves..leaves + DAY / 3;
            let at = renewed(&away, dice, &pauses);
            let returns = f64::from(u32::try_from(away.end).unwrap());
            prop_assert!(at < 86_400.0, "without a certificate until {at}");
            prop_assert!(at <= returns.max(undisturbed) + 60.0, "{} s after the return", at - returns);
        }

        #[test]
        fn a_certificate_is_renewed_in_its_time(begin in 0u64..1 << 40, life in 1u64..1 << 30, dice in 0.0f64..=1.0) {
            let one = in_use(begin, begin + life);
            let at = renewal(&one, dice);
            prop_assert!(at >= begin && at <= begin + life);
            if life > 600 {
                prop_assert!(at < begin + life - life / 4, "a quarter of its life is left for retries");
            }
        }

        #[test]
        fn pauses_grow_to_their_bound_and_are_never_nothing(failures in 1u32.., dice in 0.0f64..=1.0) {
            let pause = pause(failures, dice);
            prop_assert!(pause >= SHORTEST_PAUSE / 2 && pause <= LONGEST_PAUSE);
            prop_assert!(super::pause(failures.saturating_add(1), dice) >= pause);
        }
    }
}
