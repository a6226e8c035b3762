//! What must hold. Pure.

use crate::figures::{Fate, Figures};

/// What must hold under an attack, beside that nothing of the victim is lost and the attacked process survives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bars {
    /// Resident memory in MiB that the attacked process must stay below.
    pub rss_mib: f64,
    /// What the victim's 99th percentile must stay below.
    pub latency: LatencyBar,
    /// Milliseconds of processor time that the attacked process may spend for each object that was written, if there is a bar.
    pub object_ms: Option<f64>,
}

/// What a victim's 99th percentile of latency must stay below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyBar {
    /// Twice what it is without the attack.
    TwiceWithout,
    /// So many milliseconds.
    Millis(f64),
}

impl Bars {
    /// Those of a sidecar.
    pub const SIDECAR: Self = Self {
        rss_mib: 64.0,
        latency: LatencyBar::TwiceWithout,
        object_ms: None,
    };

    /// Those of an operator: the chart's memory limit, and a victim that waits no longer than this, in milliseconds.
    pub const fn operator(millis: f64) -> Self {
        Self {
            rss_mib: 256.0,
            latency: LatencyBar::Millis(millis),
            object_ms: None,
        }
    }

    /// The same, with a bar on the processor time for each object, in milliseconds.
    #[must_use]
    pub const fn per_object(self, millis: f64) -> Self {
        Self {
            object_ms: Some(millis),
            ..self
        }
    }

    /// Every bar that was missed, in words.
    pub fn missed(&self, figures: &Figures) -> Vec<String> {
        let mut missed = Vec::new();
        let mut hold = |holds: bool, words: String| {
            if !holds {
                missed.push(words);
            }
        };
        hold(
            figures.fate == Fate::Survived,
            "the attacked process ended".to_owned(),
        );
        let (peak, most) = (figures.rss.peak, self.rss_mib);
        hold(
            peak < most,
            format!("RSS {peak} MiB, which must stay below {most} MiB"),
        );
        let with = figures.with.p99_ms;
        let most = match self.latency {
            LatencyBar::TwiceWithout => 2.0 * figures.p99_without_ms(),
            LatencyBar::Millis(millis) => millis,
        };
        hold(
            with < most,
            format!("p99 {with} ms, which must stay below {most:.2} ms"),
        );
        let (lost, requests) = (figures.with.lost, figures.with.requests);
        hold(lost == 0, format!("{lost} of {requests} requests lost"));
        hold(requests > 0, "the victim sent nothing".to_owned());
        if let Some(most) = self.object_ms {
            let spent = figures.cpu_per_object_ms();
            hold(
                spent < most,
                format!("{spent} ms of processor time for each object, which must stay below {most} ms"),
            );
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Rss, Service};

    fn service(p99_ms: f64, lost: u64) -> Service {
        Service {
            requests: 100,
            lost,
            p99_ms,
            ..Service::default()
        }
    }

    /// 1 ms without the attack and 1.5 ms with it, and nothing lost.
    fn good() -> Figures {
        Figures {
            rss: Rss {
                peak: 20.0,
                ..Rss::default()
            },
            without: [service(1.0, 0), service(1.0, 0)],
            with: service(1.5, 0),
            ..Figures::default()
        }
    }

    fn missed(change: impl FnOnce(&mut Figures)) -> Vec<String> {
        let mut figures = good();
        change(&mut figures);
        Bars::SIDECAR.missed(&figures)
    }

    #[test]
    fn a_quiet_attack_misses_nothing() {
        assert_eq!(missed(|_| {}), [""; 0]);
    }

    #[test]
    fn resident_memory_stays_below_64_mib() {
        assert_eq!(missed(|figures| figures.rss.peak = 63.9), [""; 0]);
        assert_eq!(missed(|figures| figures.rss.peak = 64.0).len(), 1);
    }

    #[test]
    fn latency_stays_below_twice_that_without_the_attack() {
        assert_eq!(missed(|figures| figures.with = service(1.9, 0)), [""; 0]);
        assert_eq!(missed(|figures| figures.with = service(2.0, 0)).len(), 1);
    }

    #[test]
    fn latency_of_who_depends_on_an_operator_has_a_bar_of_its_own() {
        let mut figures = good();
        figures.with = service(999.0, 0);
        assert_eq!(Bars::operator(1000.0).missed(&figures), [""; 0]);
        figures.with = service(1000.0, 0);
        assert_eq!(Bars::operator(1000.0).missed(&figures).len(), 1);
    }

    #[test]
    fn not_one_request_may_be_lost_under_attack() {
        assert_eq!(missed(|figures| figures.with = service(1.5, 1)).len(), 1);
    }

    #[test]
    fn processor_time_is_bounded_for_each_object_where_objects_are_the_attack() {
        let mut figures = good();
        figures.attacker.objects = 100;
        figures.cpu_s = 4.99;
        let bars = Bars::operator(1000.0).per_object(50.0);
        assert_eq!(bars.missed(&figures), [""; 0]);
        figures.cpu_s = 5.0;
        assert_eq!(bars.missed(&figures).len(), 1);
    }

    #[test]
    fn a_process_that_ended_and_a_victim_that_sent_nothing_are_told() {
        assert_eq!(missed(|figures| figures.fate = Fate::Ended).len(), 1);
        assert_eq!(missed(|figures| figures.with.requests = 0).len(), 1);
    }
}
