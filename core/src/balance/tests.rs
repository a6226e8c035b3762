use proptest::prelude::*;

use super::*;

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
        let member = balancer.pick(now, dice.roll()).unwrap();
        let index = number(member);
        member.begin();
        now += latency(index);
        member.answered(now, latency(index));
        member.end();
        counts[index] += 1;
    }
    counts
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
    fn requests_under_way_differ_by_little(count in 2u16..12, seed: u64) {
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        let mut dice = Dice(seed);
        for _ in 0..u32::from(count) * 50 {
            balancer.pick(Duration::ZERO, dice.roll()).unwrap().begin();
        }
        let busy: Vec<_> = balancer.members().iter().map(|member| member.doing().under_way).collect();
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
                member.failed(Duration::ZERO);
            }
        }
        let any_ready = states.iter().any(|(ready, _)| *ready);
        let mut dice = Dice(seed);
        for _ in 0..50 {
            for picked in [
                balancer.pick(Duration::ZERO, dice.roll()),
                balancer.pick_resting(Duration::ZERO, dice.roll()),
            ].into_iter().flatten() {
                prop_assert!(states[number(picked)].0 || !any_ready);
            }
        }
    }

    #[test]
    fn whoever_is_awake_is_found_however_many_rest(count in 1u16..20, awake in 0u16..20, random: u64) {
        let awake = awake % count;
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let balancer = balancer(&endpoints);
        for member in balancer.members() {
            if number(member) != usize::from(awake) {
                member.failed(Duration::ZERO);
            }
        }
        let picked = balancer.pick(Duration::ZERO, random).unwrap();
        prop_assert_eq!(number(picked), usize::from(awake));
    }
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
fn when_those_of_the_own_zone_rest_others_take_over() {
    let balancer = balancer(&[endpoint(0), in_zone(1, "a")]);
    balancer.members()[0].failed(Duration::ZERO);
    assert_eq!(number(balancer.pick(Duration::ZERO, 7).unwrap()), 0);
}

#[test]
fn an_endpoint_that_failed_rests_for_a_moment_and_longer_each_time() {
    let balancer = balancer(&[endpoint(0)]);
    let picked = |now| balancer.pick(now, 3).is_some();
    let member = &balancer.members()[0];
    member.failed(Duration::ZERO);
    assert!(!picked(Duration::ZERO) && picked(REST));
    member.failed(REST);
    assert!(!picked(REST * 2) && picked(REST * 3));
    for _ in 0..100 {
        member.failed(Duration::ZERO);
    }
    assert!(picked(REST * 8));
    member.reached();
    member.failed(Duration::ZERO);
    assert!(picked(REST));
}

#[test]
fn when_all_rest_somebody_can_still_be_asked_for() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    for member in balancer.members() {
        member.failed(Duration::ZERO);
    }
    assert!(balancer.pick(Duration::ZERO, 1).is_none());
    assert!(balancer.pick_resting(Duration::ZERO, 1).is_some());
}

#[test]
fn where_somebody_else_was_met_is_remembered_until_whoever_is_meant_is_there() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let member = &balancer.members()[0];
    member.failed(Duration::ZERO);
    assert!(!balancer.is_mistrusted());
    member.mistrusted(Duration::ZERO);
    assert!(balancer.is_mistrusted());
    assert_eq!(number(balancer.pick(Duration::ZERO, 0).unwrap()), 1);
    member.reached();
    assert!(!balancer.is_mistrusted());
}

#[test]
fn what_was_measured_survives_an_update_and_what_must_be_proven_follows_it() {
    let mut balancer = balancer(&[endpoint(0), endpoint(1)]);
    balancer.members()[0].answered(Duration::ZERO, Duration::from_millis(3));
    let workload = Workload::new("shop", "web");
    let secured = Endpoint {
        workload: Some(workload.clone()),
        ..endpoint(0)
    };
    balancer.update(&[endpoint(2), secured], None);
    let member = balancer
        .members()
        .iter()
        .find(|member| number(member) == 0)
        .unwrap();
    assert_eq!(member.doing().latency, Some(Duration::from_millis(3)));
    assert_eq!(member.expected.as_deref(), Some(&[workload][..]));
    assert_eq!(balancer.members().len(), 2);
}

#[test]
fn a_slow_endpoint_gets_another_chance() {
    let balancer = balancer(&[endpoint(0), endpoint(1)]);
    let [slow, fast] = [&balancer.members()[0], &balancer.members()[1]];
    slow.answered(Duration::ZERO, Duration::from_secs(1));
    fast.answered(Duration::ZERO, Duration::from_millis(10));
    assert!(fast.is_better_than(slow, Duration::ZERO));
    let later = Duration::from_mins(2);
    fast.answered(later, Duration::from_millis(10));
    assert!(!fast.is_better_than(slow, later));
}

#[test]
fn nobody_is_picked_where_nobody_is() {
    assert!(Balancer::default().pick(Duration::ZERO, 5).is_none());
}
