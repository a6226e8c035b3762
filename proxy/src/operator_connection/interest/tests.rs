use std::collections::HashSet;

use proptest::prelude::*;
use smilax_core::{DestinationName, DestinationPortName};

use super::*;

fn port(number: u16) -> Resource {
    Resource::Endpoints(DestinationPortName {
        destination: DestinationName::new("shop", "web"),
        port: number,
    })
}

fn address(number: u32) -> Resource {
    let [_, a, b, c] = number.to_be_bytes();
    Resource::Address(([10, a, b, c], 80).into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn added(change: &Change) -> Vec<Resource> {
    change.say.iter().flat_map(|say| say.add.clone()).collect()
}

fn removed(change: &Change) -> Vec<Resource> {
    change.say.iter().flat_map(|say| say.remove.clone()).collect()
}

fn connected() -> Interest {
    let mut interest = Interest::default();
    assert_eq!(interest.step(Event::Connected, seconds(0)), Change::default());
    interest
}

#[test]
fn what_is_used_first_is_asked_for_once() {
    let mut interest = connected();
    let change = interest.step(Event::Used(vec![port(80)]), seconds(1));
    assert_eq!(added(&change), [port(80)]);
    let change = interest.step(Event::Used(vec![port(80)]), seconds(2));
    assert_eq!(change, Change::default());
}

#[test]
fn what_is_unused_for_five_minutes_is_no_longer_asked_for_and_forgotten() {
    let mut interest = connected();
    interest.step(Event::Used(vec![port(80), port(81)]), seconds(0));
    interest.step(Event::Used(vec![port(81)]), seconds(299));
    assert_eq!(interest.step(Event::Tick, seconds(299)), Change::default());
    let change = interest.step(Event::Tick, seconds(300));
    assert_eq!(
        (removed(&change), change.forget),
        (vec![port(80)], vec![port(80)])
    );
    let change = interest.step(Event::Used(vec![port(80)]), seconds(301));
    assert_eq!(added(&change), [port(80)]);
}

#[test]
fn a_new_stream_is_told_everything_again() {
    let mut interest = connected();
    interest.step(Event::Used(vec![port(80)]), seconds(0));
    interest.step(Event::Lost, seconds(1));
    let change = interest.step(Event::Used(vec![port(81)]), seconds(2));
    assert_eq!(change, Change::default(), "nothing is said to nobody");
    let change = interest.step(Event::Connected, seconds(3));
    assert_eq!(added(&change), [port(80), port(81)]);
}

#[test]
fn without_a_stream_what_is_unused_is_forgotten_too() {
    let mut interest = Interest::default();
    interest.step(Event::Used(vec![port(80)]), seconds(0));
    let change = interest.step(Event::Tick, seconds(300));
    assert_eq!((change.say, change.forget), (vec![], vec![port(80)]));
}

#[test]
fn s2_without_a_stream_it_is_not_forgotten_how_addresses_are_secured() {
    let mut interest = Interest::default();
    interest.step(Event::Used(vec![address(1)]), seconds(0));
    assert_eq!(interest.step(Event::Tick, seconds(900)), Change::default());
    let change = interest.step(Event::Connected, seconds(901));
    assert_eq!((change.say, change.forget), (vec![], vec![address(1)]));
}

#[test]
fn beyond_the_bound_whatever_was_used_longest_ago_goes() {
    let mut interest = connected();
    let most = u32::try_from(MOST_ADDRESSES).unwrap();
    for number in 0..most {
        interest.step(Event::Used(vec![address(number)]), seconds(u64::from(number) / 8));
    }
    interest.step(Event::Used(vec![address(0), port(80)]), seconds(200));
    let change = interest.step(Event::Used(vec![address(most)]), seconds(201));
    assert_eq!(added(&change), [address(most)]);
    assert_eq!(removed(&change).len(), 1);
    assert!(!change.forget.contains(&address(0)) && !change.forget.contains(&port(80)));
}

#[test]
fn messages_are_never_longer_than_the_operator_takes() {
    use smilax_core::workload_connection::{MOST_PROXY_FRAME_BYTES, ProxyMessage, encode};
    let longest = |number: usize| {
        Resource::Endpoints(DestinationPortName {
            destination: DestinationName::new(format!("{number:063}"), "x".repeat(253)),
            port: u16::MAX,
        })
    };
    let mut interest = Interest::default();
    interest.step(Event::Used((0..MOST_PORTS).map(longest).collect()), seconds(0));
    let change = interest.step(Event::Connected, seconds(1));
    assert_eq!(added(&change).len(), MOST_PORTS);
    for say in change.say {
        let frame = encode(&ProxyMessage::Subscribe(say)).unwrap();
        assert!(frame.len() <= MOST_PROXY_FRAME_BYTES, "{}", frame.len());
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let any_resource = || prop_oneof![(0u16..6).prop_map(port), (0u32..6).prop_map(address)];
    prop_oneof![
        Just(Event::Connected),
        Just(Event::Lost),
        Just(Event::Tick),
        proptest::collection::vec(any_resource(), 0..4).prop_map(Event::Used),
        proptest::collection::vec(any_resource(), 0..4).prop_map(Event::Used),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_operator_tells_of_what_is_used_and_of_nothing_else(
        events in proptest::collection::vec((any_event(), 0u64..120), 0..60),
    ) {
        let mut interest = Interest::default();
        let mut now = 0;
        let mut told: Option<HashSet<Resource>> = None;
        let mut remembered = HashSet::new();
        for (event, pause) in events {
            now += pause;
            match &event {
                // A stream begins after the one before is gone.
                Event::Connected if told.is_some() => continue,
                Event::Connected => told = Some(HashSet::new()),
                Event::Lost => told = None,
                Event::Used(resources) => remembered.extend(resources.iter().cloned()),
                Event::Tick => {}
            }
            let change = interest.step(event, seconds(now));
            for resource in &change.forget {
                prop_assert!(remembered.remove(resource));
            }
            if let Some(told) = &mut told {
                for say in change.say {
                    for resource in say.remove {
                        prop_assert!(told.remove(&resource), "removed what was not there");
                    }
                    for resource in say.add {
                        prop_assert!(told.insert(resource), "asked for twice");
                    }
                }
                prop_assert_eq!(&*told, &remembered);
            } else {
                prop_assert_eq!(change.say, [], "nothing is said to nobody");
            }
        }
        prop_assert_eq!(interest.count(), remembered.len());
    }
}
