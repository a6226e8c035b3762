//! What must hold. Pure.

use smilax_e2e::Fault;

use crate::figures::{Back, Figures};
use crate::scenario::Event;

/// Seconds in which a pod must be back once it is well.
const BACK_WITHIN_S: f64 = 10.0;
/// Percent that a failing pod may get at most once the balancer could learn.
const FAILING_SHARE: f64 = 5.0;
/// Percent that is fair of two pods.
const FAIR_SHARE: f64 = 50.0;

/// Every bar that the mesh missed, in words.
pub fn missed(event: Event, without: &Figures, with: &Figures) -> Vec<String> {
    let mut missed = Vec::new();
    let mut hold = |holds: bool, words: String| {
        if !holds {
            missed.push(words);
        }
    };
    let (lost, lost_without) = (with.lost_outside(), without.lost_outside());
    hold(
        lost <= lost_without,
        format!("{lost} requests lost outside of applications, {lost_without} without the mesh"),
    );
    if matches!(event, Event::Deletion(..)) {
        hold(
            lost == 0,
            format!("{lost} requests lost outside of applications, of at most 0"),
        );
    }
    // Inside of an application that hangs, a request takes as long as that.
    let most_hung = match event {
        Event::Fault(Fault::Hang, _) => without.hung,
        _ => 0,
    };
    hold(
        with.hung <= most_hung,
        format!("{} requests hung, of at most {most_hung}", with.hung),
    );
    if let (Event::Fault(..), Some(share)) = (event, with.share_first) {
        hold(
            share <= FAIR_SHARE,
            format!("the pod got {share} % in the first 5 s, of at most {FAIR_SHARE} %"),
        );
    }
    if let (Event::Fault(fault, _), Some(share)) = (event, with.share_later) {
        let most = match fault {
            Fault::Abort => FAILING_SHARE,
            Fault::None | Fault::Hang | Fault::Delay(_) => FAIR_SHARE,
        };
        hold(
            share < most,
            format!("the pod got {share} % after 5 s, which must be below {most} %"),
        );
    }
    match with.back {
        Back::NotAsked => {}
        Back::After(seconds) => hold(
            seconds <= BACK_WITHIN_S,
            format!("the pod was back after {seconds} s, of at most {BACK_WITHIN_S} s"),
        ),
        Back::Never => hold(false, "the pod was not back when the load ended".to_owned()),
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{App, Operators};
    use smilax_e2e::load::Speech;

    const FAIL_FAST: Event = Event::Fault(Fault::Abort, Speech::Http1);
    const HANG: Event = Event::Fault(Fault::Hang, Speech::Http1);
    const RESTART: Event = Event::Restart(App::Exiting, Operators::Running);
    const DELETION: Event = Event::Deletion(App::Exiting, Operators::Stopped);

    fn lost(lost: u64, in_flight: u64) -> Figures {
        Figures {
            lost,
            in_flight,
            ..Figures::default()
        }
    }

    fn shares(first: f64, later: f64) -> Figures {
        Figures {
            share_first: Some(first),
            share_later: Some(later),
            back: Back::After(3.0),
            ..Figures::default()
        }
    }

    #[test]
    fn the_mesh_may_not_lose_more_than_the_same_pods_without_it() {
        assert_eq!(missed(RESTART, &lost(9, 4), &lost(6, 1)), [""; 0]);
        assert_eq!(missed(RESTART, &lost(9, 4), &lost(7, 1)).len(), 1);
    }

    #[test]
    fn deleted_pods_may_only_take_with_them_what_was_inside() {
        assert_eq!(missed(DELETION, &lost(90, 4), &lost(4, 4)), [""; 0]);
        assert_eq!(missed(DELETION, &lost(90, 4), &lost(5, 4)).len(), 1);
    }

    #[test]
    fn a_failing_pod_may_get_half_at_first_and_then_hardly_anything() {
        let without = shares(50.0, 50.0);
        assert_eq!(missed(FAIL_FAST, &without, &shares(50.0, 4.9)), [""; 0]);
        assert_eq!(missed(FAIL_FAST, &without, &shares(50.1, 4.9)).len(), 1);
        assert_eq!(missed(FAIL_FAST, &without, &shares(50.0, 5.0)).len(), 1);
    }

    #[test]
    fn a_pod_must_be_back_ten_seconds_after_it_is_well() {
        let back = |back| Figures {
            back,
            ..shares(10.0, 1.0)
        };
        let without = Figures::default();
        assert_eq!(missed(FAIL_FAST, &without, &back(Back::After(10.0))), [""; 0]);
        assert_eq!(missed(FAIL_FAST, &without, &back(Back::After(10.1))).len(), 1);
        assert_eq!(missed(FAIL_FAST, &without, &back(Back::Never)).len(), 1);
    }

    #[test]
    fn nothing_hangs_but_inside_of_an_application_that_hangs() {
        let hung = |hung| Figures {
            hung,
            ..Figures::default()
        };
        assert_eq!(missed(RESTART, &hung(5), &hung(1)).len(), 1);
        assert_eq!(missed(HANG, &hung(5), &hung(5)), [""; 0]);
        assert_eq!(missed(HANG, &hung(5), &hung(6)).len(), 1);
    }
}
