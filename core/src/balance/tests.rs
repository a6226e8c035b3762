use proptest::prelude::*;

use super::*;
use crate::name::Workload;

fn endpoint(number: u16) -> Endpoint {
    Endpoint {
        address: SocketAddr::from(([10, 0, 0, 1], 1000 + number)),
        workload: None,
        state: EndpointState::Ready,
        zone: None,
        for_zones: vec![],
        node: None,
    }
}

fn draining(number: u16) -> Endpoint {
    Endpoint {
        state: EndpointState::Draining,
        ..endpoint(number)
    }
}

fn in_zone(number: u16, zone: &str) -> Endpoint {
    Endpoint {
        for_zones: vec![zone.into()],
        ..endpoint(number)
    }
}

fn balancer(endpoints: &[Endpoint]) -> Balancer {
    let mut balancer = Balancer::default();
    balancer.update(endpoints, Some("a"));
    balancer
}

/// An even sequence of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn number(member: &Member) -> usize {
    usize::from(member.address.port() - 1000)
}

/// Requests to each, one after the other, that take as long as `latency` says.
fn shares(
    balancer: &Balancer,
    requests: usize,
    seed: u64,
    latency: impl Fn(usize) -> Duration,
) -> Vec<usize> {
    let mut dice = Dice(seed);
    let mut counts = vec![0; balancer.members().len()];
    let mut now = Duration::ZERO;
    for _ in 0..requests {
        let member = balancer.pick(now, dice.roll(), &[]).unwrap();
        let index = number(member);
        now += serve(balancer, member, now, Outcome::Success, latency(index));
        counts[index] += 1;
    }
    counts
}

/// One request that takes `latency`, which is returned.
fn serve(
    balancer: &Balancer,
    member: &Member,
    now: Duration,
    outcome: Outcome,
    latency: Duration,
) -> Duration {
    let epoch = member.begin(now);
    member.settle(epoch);
    balancer.record(member, epoch, outcome, Some(latency), now + latency);
    member.end();
    latency
}

fn eject(balancer: &Balancer, member: &Member) {
    balancer.record(
        member,
        member.load.epoch.get(),
        Outcome::Unreachable,
        None,
        Duration::ZERO,
    );
}

/// Sequential requests for `duration` to endpoints of which `fails` says which fail at once; the others take 20 ms.
fn shares_of_failing(
    balancer: &Balancer,
    from: Duration,
    duration: Duration,
    dice: &mut Dice,
    fails: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut counts = vec![0; balancer.members().len()];
    let mut now = from;
    while now < from + duration {
        let member = balancer.pick(now, dice.roll(), &[]).unwrap();
        let index = number(member);
        now += if fails(index) {
            serve(
                balancer,
                member,
                now,
                Outcome::Failure,
                Duration::from_micros(500),
            )
        } else {
            serve(balancer, member, now, Outcome::Success, Duration::from_millis(20))
        };
        counts[index] += 1;
    }
    counts
}

fn percent(counts: &[usize], index: usize) -> usize {
    counts[index] * 100 / counts.iter().sum::<usize>()
}

proptest! {
    #[test]
    fn equal_endpoints_get_equal_shares_in_the_long_run(count in 1u16..12, seed: u64) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let requests = 3000.0;
        let expected = requests / f64::from(count);
        for share in shares(&balancer, 3000, seed, |index| Duration::from_micros(900 + 50 * index as u64)) {
            // Six standard deviations.
            let error = (f64::from(u32::try_from(share).unwrap()) - expected).abs();
            prop_assert!(error <= 6.0 * expected.sqrt(), "{share} instead of {expected}");
        }
    }

    #[test]
    fn requests_in_flight_differ_by_little(count in 2u16..12, seed: u64) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let mut dice = Dice(seed);
        for _ in 0..u32::from(count) * 50 {
            balancer.pick(Duration::ZERO, dice.roll(), &[]).unwrap().begin(Duration::ZERO);
        }
        let busy: Vec<_> = balancer.members().iter().map(|member| member.load().in_flight).collect();
        prop_assert!(busy.iter().max().unwrap() - busy.iter().min().unwrap() <= 12, "{busy:?}");
    }

    #[test]
    fn a_slow_endpoint_gets_less(count in 2u16..8, seed: u64, factor in 5u32..50) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let fast = Duration::from_millis(5);
        let shares = shares(&balancer, 2000, seed, |index| if index == 0 { fast * factor } else { fast });
        let others = shares[1..].iter().min().unwrap();
        prop_assert!(shares[0] * 3 < *others, "{shares:?}");
    }

    #[test]
    fn a_draining_endpoint_gets_nothing_while_a_ready_one_is_there(
        states in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..9),
        seed: u64,
    ) {
        let endpoints: Vec<_> = (0u16..)
            .zip(&states)
            .map(|(number, (ready, _))| if *ready { endpoint(number) } else { draining(number) })
            .collect();
        let balancer = balancer(&endpoints);
        for member in balancer.members() {
            if states[number(member)].1 {
                eject(&balancer, member);
            }
        }
        let any_ready = states.iter().any(|(ready, _)| *ready);
        let mut dice = Dice(seed);
        for _ in 0..50 {
            for picked in [
                balancer.pick(Duration::ZERO, dice.roll(), &[]),
                balancer.pick_ejected(Duration::ZERO, dice.roll(), &[]),
            ].into_iter().flatten() {
                prop_assert!(states[number(picked)].0 || !any_ready);
            }
        }
    }

    #[test]
    fn the_one_endpoint_that_is_not_ejected_is_found(count in 1u16..20, healthy in 0u16..20, random: u64) {
        let healthy = healthy % count;
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        for member in balancer.members() {
            if number(member) != usize::from(healthy) {
                eject(&balancer, member);
            }
        }
        let picked = balancer.pick(Duration::ZERO, random, &[]).unwrap();
        prop_assert_eq!(number(picked), usize::from(healthy));
    }

    #[test]
    fn of_two_equal_endpoints_each_gets_half_of_few_requests_whatever_a_busy_node_does(
        seed: u64,
        pauses in proptest::collection::vec((0usize..200, 1u64..80), 0..8),
        rate in 1u64..200,
    ) {
        let balancer = balancer(&[endpoint(0), endpoint(1)]);
        let mut dice = Dice(seed);
        let mut counts = [0; 2];
        let mut now = Duration::ZERO;
        for request in 0..200 {
            let member = balancer.pick(now, dice.roll(), &[]).unwrap();
            let pause = pauses.iter().find(|(at, _)| *at == request).map_or(0, |(_, pause)| *pause);
            let latency = Duration::from_micros(800 + dice.roll() % 1500) + Duration::from_millis(pause);
            now += serve(&balancer, member, now, Outcome::Success, latency);
            now += Duration::from_millis(1000 / rate);
            counts[number(member)] += 1;
        }
        prop_assert!((70..=130).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_failing_endpoint_gets_little_and_its_share_back_when_it_is_well(count in 2u16..8, seed: u64) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let mut dice = Dice(seed);
        let second = Duration::from_secs(1);
        let first = shares_of_failing(&balancer, Duration::ZERO, 5 * second, &mut dice, |index| index == 0);
        prop_assert!(percent(&first, 0) <= 50, "{first:?}");
        let then = shares_of_failing(&balancer, 5 * second, 15 * second, &mut dice, |index| index == 0);
        prop_assert!(percent(&then, 0) < 5, "{then:?}");
        shares_of_failing(&balancer, 20 * second, 10 * second, &mut dice, |_| false);
        let well = shares_of_failing(&balancer, 30 * second, 10 * second, &mut dice, |_| false);
        let fair = 100 / usize::from(count);
        prop_assert!(percent(&well, 0) + 8 >= fair, "{well:?}");
    }

    #[test]
    fn an_endpoint_is_not_tried_twice_for_one_request(count in 1u16..6, seed: u64) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let mut dice = Dice(seed);
        let mut tried = vec![];
        while let Some(member) = balancer.pick(Duration::ZERO, dice.roll(), &tried) {
            prop_assert!(!tried.contains(&member.address));
            tried.push(member.address);
        }
        prop_assert_eq!(tried.len(), usize::from(count));
    }
}

#[test]
fn sequential_requests_take_turns_between_two_equal_endpoints() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    assert_eq!(shares(&balancer, 60, 1, |_| Duration::from_millis(1)), [30, 30]);
}

#[test]
fn a_failing_endpoint_gets_little_also_of_concurrent_requests() {
    let balancer = balancer(&[endpoint(0), endpoint(1), endpoint(2)]);
    let mut dice = Dice(1);
    let mut counts = [0; 3];
    let mut now = Duration::ZERO;
    let mut in_flight: Vec<(Duration, Epoch, Rc<Member>)> = vec![];
    while now < Duration::from_secs(10) {
        in_flight.sort_by_key(|(until, ..)| *until);
        if in_flight.len() == 32 {
            let (until, epoch, member) = in_flight.remove(0);
            now = now.max(until);
            let outcome = if number(&member) == 0 {
                Outcome::Failure
            } else {
                Outcome::Success
            };
            member.settle(epoch);
            balancer.record(&member, epoch, outcome, Some(Duration::from_millis(20)), now);
            member.end();
        }
        let member = Rc::clone(balancer.pick(now, dice.roll(), &[]).unwrap());
        let epoch = member.begin(now);
        counts[number(&member)] += 1;
        let latency = if number(&member) == 0 { 1 } else { 20 };
        in_flight.push((now + Duration::from_millis(latency), epoch, member));
    }
    assert!(percent(&counts, 0) < 2, "{counts:?}");
}

#[test]
fn an_overloaded_endpoint_gets_less_and_is_not_ejected() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let mut dice = Dice(1);
    let (mut counts, mut now) = ([0; 2], Duration::ZERO);
    for _ in 0..500 {
        let member = balancer.pick(now, dice.roll(), &[]).unwrap();
        let (outcome, latency) = match number(member) {
            0 => (Outcome::Overloaded, Duration::from_millis(1)),
            _ => (Outcome::Success, Duration::from_millis(20)),
        };
        now += serve(&balancer, member, now, outcome, latency);
        counts[number(member)] += 1;
        assert!(!balancer.members()[0].load().health.is_ejected(now));
    }
    assert!(percent(&counts, 0) < 25, "{counts:?}");
}

#[test]
fn outcomes_from_before_an_ejection_change_nothing_after_it() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let member = &balancer.members()[0];
    let before = member.begin(Duration::ZERO);
    eject(&balancer, member);
    let later = Duration::from_secs(1);
    member.begin(later);
    let recovering = member.load().health;
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Unreachable] {
        member.settle(before);
        balancer.record(member, before, outcome, None, later);
        assert_eq!(member.load().health, recovering);
    }
}

#[test]
fn while_one_recovers_the_other_of_two_is_not_ejected_for_failures() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let [recovering, failing] = [&balancer.members()[0], &balancer.members()[1]];
    eject(&balancer, recovering);
    let later = Duration::from_secs(1);
    recovering.begin(later);
    for _ in 0..50 {
        serve(&balancer, failing, later, Outcome::Failure, Duration::ZERO);
    }
    assert!(failing.load().health.is_healthy());
    assert!(
        balancer.pick(later, 1, &[failing.address]).is_some(),
        "trials are limited, but not to none"
    );
}

#[test]
fn when_every_endpoint_fails_one_stays() {
    let balancer = balancer(&[endpoint(0), endpoint(1), endpoint(2)]);
    for _ in 0..100 {
        for member in balancer.members() {
            serve(
                &balancer,
                member,
                Duration::ZERO,
                Outcome::Failure,
                Duration::ZERO,
            );
        }
    }
    assert!(balancer.pick(Duration::ZERO, 1, &[]).is_some());
}

#[test]
fn an_endpoint_at_which_callers_give_up_gets_less() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let mut dice = Dice(1);
    let (mut counts, mut now) = ([0; 2], Duration::ZERO);
    for _ in 0..200 {
        let member = balancer.pick(now, dice.roll(), &[]).unwrap();
        let (outcome, latency) = match number(member) {
            0 => (Outcome::Cancelled, Duration::from_secs(1)),
            _ => (Outcome::Success, Duration::from_millis(20)),
        };
        now += serve(&balancer, member, now, outcome, latency);
        counts[number(member)] += 1;
    }
    assert!(percent(&counts, 0) < 15, "{counts:?}");
}

#[test]
fn an_endpoint_that_hung_gets_one_request_at_a_time_until_it_answers_and_then_its_share() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let mut dice = Dice(1);
    let members = balancer.members();
    let (hung, healthy) = (&members[0], &members[1]);
    for _ in 0..10 {
        serve(
            &balancer,
            hung,
            Duration::ZERO,
            Outcome::Cancelled,
            Duration::from_secs(5),
        );
        serve(
            &balancer,
            healthy,
            Duration::ZERO,
            Outcome::Success,
            Duration::from_millis(20),
        );
    }
    let mut now = Duration::from_secs(5);
    let mut pick = |now: &mut Duration| {
        *now += Duration::from_millis(5);
        let member = balancer.pick(*now, dice.roll(), &[]).unwrap();
        (number(member) == 0).then_some(member)
    };
    // While it hangs, at 200 requests a second.
    let mut trial = None;
    while now < Duration::from_secs(10) {
        match pick(&mut now) {
            Some(member) => {
                assert!(trial.is_none(), "one trial at a time");
                trial = Some((now, member.begin(now)));
            }
            None => {
                serve(
                    &balancer,
                    healthy,
                    now,
                    Outcome::Success,
                    Duration::from_millis(20),
                );
            }
        }
    }
    let (began, epoch) = trial.expect("a trial");
    assert!(began < Duration::from_millis(8_500), "{began:?}");
    hung.settle(epoch);
    balancer.record(
        hung,
        epoch,
        Outcome::Success,
        Some(Duration::from_millis(20)),
        now,
    );
    hung.end();
    let counts = shares(&balancer, 200, 3, |_| Duration::from_millis(20));
    assert!(percent(&counts, 0) > 40, "{counts:?}");
}

#[test]
fn endpoints_meant_for_the_own_zone_are_preferred_where_there_are_any() {
    let near = balancer(&[endpoint(0), in_zone(1, "a"), in_zone(2, "b")]);
    assert_eq!(shares(&near, 100, 1, |_| Duration::from_millis(1)), [0, 100, 0]);
    let none_near = balancer(&[in_zone(0, "b"), in_zone(1, "b")]);
    let shares = shares(&none_near, 100, 1, |_| Duration::from_millis(1));
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}

#[test]
fn when_those_of_the_own_zone_are_ejected_others_take_over() {
    let balancer = balancer(&[endpoint(0), in_zone(1, "a")]);
    eject(&balancer, &balancer.members()[0]);
    assert_eq!(number(balancer.pick(Duration::ZERO, 7, &[]).unwrap()), 0);
}

#[test]
fn when_all_are_ejected_one_can_still_be_asked_for() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    for member in balancer.members() {
        eject(&balancer, member);
    }
    assert!(balancer.pick(Duration::ZERO, 1, &[]).is_none());
    assert!(balancer.pick_ejected(Duration::ZERO, 1, &[]).is_some());
}

#[test]
fn a_wrong_identity_is_remembered_until_the_expected_one_is_met() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let member = &balancer.members()[0];
    eject(&balancer, member);
    assert!(!balancer.has_wrong_identity());
    balancer.record_wrong_identity(member, member.load.epoch.get(), Duration::ZERO);
    assert!(balancer.has_wrong_identity());
    assert_eq!(number(balancer.pick(Duration::ZERO, 0, &[]).unwrap()), 1);
    member.has_expected_identity();
    assert!(!balancer.has_wrong_identity());
}

#[test]
fn what_was_measured_survives_an_update_and_what_must_be_proven_follows_it() {
    let mut balancer = balancer(&[endpoint(0), endpoint(1)]);
    let latency = Duration::from_millis(3);
    serve(
        &balancer,
        &balancer.members()[0],
        Duration::ZERO,
        Outcome::Success,
        latency,
    );
    let workload = Workload::new("shop", "web");
    let secured = Endpoint {
        workload: Some(workload.clone().into()),
        ..endpoint(0)
    };
    balancer.update(&[endpoint(2), secured], None);
    let member = balancer
        .members()
        .iter()
        .find(|member| number(member) == 0)
        .unwrap();
    assert_eq!(member.load().latency, Some(Duration::from_millis(3)));
    assert_eq!(member.expected.as_deref(), Some(&[workload.into()][..]));
    assert_eq!(balancer.members().len(), 2);
}

#[test]
fn nothing_is_picked_where_nothing_is() {
    assert!(Balancer::default().pick(Duration::ZERO, 5, &[]).is_none());
}
