//! What happens in a run, by its seed.

use std::time::Duration;

use fastrand::Rng;

/// Replicas of the operator.
pub const REPLICAS: usize = 2;
/// Pods whose proxies are real.
pub const PODS: usize = 4;
/// Services that they may call.
pub const SERVICES: usize = 4;
/// Accounts that the pods run under, in turn.
pub const ACCOUNTS: usize = 2;

/// When the last fault has ended.
pub const CALM: Duration = Duration::from_secs(75);
/// The first fault comes after this.
const BEGIN: Duration = Duration::from_secs(3);
/// Faults of a run at most.
const FAULTS: usize = 9;
/// Changes of policy, endpoints and use in a run at most.
const CHANGES: usize = 40;

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What chance is drawn from.
    pub seed: u64,
    /// How long messages are under way while there are faults.
    pub latency: Latency,
    /// What happens, in order of time.
    pub events: Vec<(Duration, Event)>,
}

/// How long messages are under way: at least `least`, mostly not much longer, `most` at the most. They overtake each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub least: Duration,
    /// The longest: what was lost and sent again.
    pub most: Duration,
}

/// Somebody on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A replica of the operator.
    Replica(usize),
    /// A pod with a proxy.
    Pod(usize),
    /// A client that may cease to read.
    Reader,
}

/// What a policy is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Good and short.
    Short,
    /// Good, and far longer than what fits into a packet or a window.
    Long,
    /// It cannot be used.
    Bad,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The leader writes the policy of an account.
    Policy(usize, Content),
    /// Other pods stand behind a Service: bit n for the nth.
    Endpoints(usize, u8),
    /// A pod begins to call a Service.
    Use(usize, usize),
    /// The mount of a pod shows what the API server had so many revisions ago.
    Mount(usize, usize),
    /// The mesh is to trust the next root too.
    Announce,
    /// A pod is replaced by another.
    Replace(usize),
    /// The proxy's container starts again.
    RestartProxy(usize),
    /// A replica is killed.
    Kill(usize),
    /// It starts again.
    Start(usize),
    /// A replica leads from now on.
    Lead(usize),
    /// What the API server tells a replica comes so late from now on.
    Lag(usize, Duration),
    /// Nothing comes through between two, in either direction; what is under way is lost.
    Cut(Host, Host),
    /// Nothing comes through from one to the other.
    CutOneWay(Host, Host),
    /// It does again.
    Mend(Host, Host),
    /// What is sent between two stays under way.
    Hold(Host, Host),
    /// It arrives.
    Release(Host, Host),
    /// Links break and mend by themselves.
    Flaky,
    /// They no longer do.
    Steady,
    /// The client ceases to read.
    Stick,
    /// It reads on.
    Unstick,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut events = Vec::new();
        for _ in 0..dice.usize(3..=FAULTS) {
            let (begin, end) = span(&mut dice);
            fault(&mut dice, begin, end, &mut events);
        }
        for _ in 0..dice.usize(8..=CHANGES) {
            let at = moment(&mut dice, Duration::ZERO, CALM);
            events.push((at, change(&mut dice)));
        }
        if dice.u8(..4) == 0 {
            events.push((moment(&mut dice, BEGIN, CALM), Event::Announce));
        }
        events.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            latency: latency(&mut dice),
            events,
        }
    }
}

fn latency(dice: &mut Rng) -> Latency {
    let (least, most) = [(1, 5), (10, 60), (150, 250), (150, 700)][dice.usize(..4)];
    Latency {
        least: Duration::from_millis(least),
        most: Duration::from_millis(most),
    }
}

fn moment(dice: &mut Rng, from: Duration, to: Duration) -> Duration {
    from + to.saturating_sub(from).mul_f64(dice.f64())
}

/// A fault is short, or longer than it takes to notice that nobody is there.
fn span(dice: &mut Rng) -> (Duration, Duration) {
    let begin = moment(dice, BEGIN, CALM * 3 / 4);
    let most = if dice.bool() {
        Duration::from_secs(3)
    } else {
        Duration::from_secs(45)
    };
    (begin, (begin + most.mul_f64(dice.f64())).min(CALM))
}

fn host(dice: &mut Rng) -> Host {
    match dice.usize(..=PODS) {
        PODS => Host::Reader,
        pod => Host::Pod(pod),
    }
}

fn fault(dice: &mut Rng, begin: Duration, end: Duration, events: &mut Vec<(Duration, Event)>) {
    let replica = dice.usize(..REPLICAS);
    let (one, other) = (Host::Replica(replica), host(dice));
    let (first, last) = match dice.u8(..16) {
        0..=2 => (Event::Cut(one, other), Event::Mend(one, other)),
        3 => (Event::CutOneWay(one, other), Event::Mend(one, other)),
        4 => (Event::CutOneWay(other, one), Event::Mend(one, other)),
        5 => {
            let (one, other) = (Host::Replica(0), Host::Replica(1));
            (Event::Cut(one, other), Event::Mend(one, other))
        }
        6 => {
            // A replica loses everybody.
            for pod in (0..PODS).map(Host::Pod) {
                events.push((begin, Event::Cut(one, pod)));
                events.push((end, Event::Mend(one, pod)));
            }
            (Event::Cut(one, Host::Reader), Event::Mend(one, Host::Reader))
        }
        7 | 8 => (Event::Hold(one, other), Event::Release(one, other)),
        9 | 10 => (Event::Kill(replica), Event::Start(replica)),
        11 => {
            let late = Duration::from_millis(dice.u64(500..20_000));
            let usual = Duration::from_millis(dice.u64(1..300));
            (Event::Lag(replica, late), Event::Lag(replica, usual))
        }
        12 => (Event::Flaky, Event::Steady),
        13 | 14 => (Event::Stick, Event::Unstick),
        _ => (Event::Lead(replica), Event::Lead(1 - replica)),
    };
    events.push((begin, first));
    events.push((end, last));
}

fn change(dice: &mut Rng) -> Event {
    let pod = dice.usize(..PODS);
    match dice.u8(..20) {
        0..=6 => {
            let content = match dice.u8(..10) {
                0 => Content::Bad,
                1 | 2 => Content::Long,
                _ => Content::Short,
            };
            Event::Policy(dice.usize(..ACCOUNTS), content)
        }
        7..=11 => Event::Endpoints(dice.usize(..SERVICES), dice.u8(..)),
        12 | 13 => Event::Use(pod, dice.usize(..SERVICES)),
        14..=17 => Event::Mount(pod, dice.usize(..6)),
        18 => Event::RestartProxy(pod),
        _ => Event::Replace(pod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_again_and_another_one_another() {
        assert_eq!(Plan::of(7), Plan::of(7));
        assert_ne!(Plan::of(7).events, Plan::of(8).events);
    }

    #[test]
    fn what_breaks_is_mended_before_it_is_to_be_calm() {
        for seed in 0..500 {
            let plan = Plan::of(seed);
            let times: Vec<_> = plan.events.iter().map(|(at, _)| *at).collect();
            assert!(times.is_sorted() && times.iter().all(|at| *at <= CALM));
            let count =
                |wanted: fn(&Event) -> bool| plan.events.iter().filter(|(_, one)| wanted(one)).count();
            assert_eq!(
                count(|one| matches!(one, Event::Cut(..) | Event::CutOneWay(..))),
                count(|one| matches!(one, Event::Mend(..)))
            );
            assert_eq!(
                count(|one| matches!(one, Event::Kill(_))),
                count(|one| matches!(one, Event::Start(_)))
            );
        }
    }
}
