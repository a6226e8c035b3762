use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use smilax_core::endpoints::{DestinationPortName, Resource};
use smilax_core::workload_connection::{Hello, MOST_RESOURCES, Subscribe};
use smilax_core::{DestinationName, Revision, Workload};

use crate::workload_server::publish::session::Session;
use crate::workload_server::publish::topic::{Topic, Version};

fn web() -> Workload {
    Workload::new("shop", "web")
}

fn endpoints(name: &str) -> Resource {
    Resource::Endpoints(DestinationPortName {
        destination: DestinationName::new("shop", name),
        port: 80,
    })
}

fn address(port: u16) -> Resource {
    Resource::Address(SocketAddr::from(([10, 0, 0, 1], port)))
}

fn add(resources: impl IntoIterator<Item = Resource>) -> Subscribe {
    Subscribe {
        add: resources.into_iter().collect(),
        ..Subscribe::default()
    }
}

fn remove(resource: Resource) -> Subscribe {
    Subscribe {
        remove: vec![resource],
        ..Subscribe::default()
    }
}

fn that_has(revision: Option<Revision>) -> Hello {
    Hello {
        revision,
        ..Hello::default()
    }
}

/// Says hello with this revision, and reads what there is.
fn greeted(revision: Option<Revision>) -> Session {
    let mut session = Session::default();
    session.hello(&web(), &that_has(revision));
    session
}

/// Everything that is told until nothing is due, each in the version that `now` says.
fn read(session: &mut Session, now: &BTreeMap<Topic, Version>) -> Vec<(Topic, Version)> {
    let mut told = Vec::new();
    while let Some(topic) = session.next().cloned() {
        let version = now[&topic];
        session.sent(&topic, version);
        told.push((topic, version));
    }
    told
}

#[test]
fn a_policy_that_the_proxy_has_is_not_sent_again_and_a_later_one_is() {
    let at = |counter| Revision { term: 4, counter };
    let policy = Topic::policy(&web());
    let mut session = greeted(Some(at(7)));
    session.changed(&policy, at(6).into());
    session.changed(&policy, at(7).into());
    assert_eq!(session.next(), None);
    session.changed(&policy, at(8).into());
    assert_eq!(session.next(), Some(&policy));
    let mut fresh = greeted(None);
    fresh.changed(&policy, at(1).into());
    assert_eq!(fresh.next(), Some(&policy));
}

#[test]
fn who_says_which_node_it_is_on_follows_where_that_is() {
    let on = |node: String| Hello {
        node: Some(node),
        ..Hello::default()
    };
    let joined = |hello: &Hello| Session::default().hello(&web(), hello).joined;
    assert!(joined(&on("n1".to_owned())).contains(&Topic::Locality("n1".into())));
    assert_eq!(joined(&on("n".repeat(254))).len(), joined(&that_has(None)).len());
}

#[test]
fn what_is_subscribed_to_again_is_told_again() {
    let topic = Topic::from(endpoints("web"));
    let mut session = greeted(None);
    session.subscribe(add([endpoints("web")]));
    session.changed(&topic, Version::nth(1));
    session.sent(&topic, Version::nth(1));
    assert_eq!(session.next(), None);
    let change = session.subscribe(add([endpoints("web")]));
    assert!(change.joined.is_empty(), "it is followed already");
    assert_eq!(session.next(), Some(&topic));
}

#[test]
fn no_more_is_followed_than_is_allowed_and_room_is_made_by_leaving() {
    let mut session = greeted(None);
    let most = u16::try_from(MOST_RESOURCES).unwrap();
    let change = session.subscribe(add((0..most + 9).map(address)));
    assert_eq!(change.joined.len(), MOST_RESOURCES);
    assert!(session.subscribe(add([endpoints("web")])).joined.is_empty());
    session.subscribe(remove(address(0)));
    assert_eq!(session.subscribe(add([endpoints("web")])).joined.len(), 1);
}

#[test]
fn a_name_that_nothing_can_have_is_not_followed() {
    let mut session = greeted(None);
    assert!(
        session
            .subscribe(add([endpoints(&"x".repeat(254))]))
            .joined
            .is_empty()
    );
    assert_eq!(
        session.subscribe(add([endpoints(&"x".repeat(253))])).joined.len(),
        1
    );
}

#[test]
fn a_topic_that_changes_all_the_time_keeps_no_other_waiting() {
    let mut session = greeted(None);
    session.subscribe(add([endpoints("a"), endpoints("b")]));
    let (a, b) = (Topic::from(endpoints("a")), Topic::from(endpoints("b")));
    session.changed(&a, Version::nth(1));
    session.changed(&b, Version::nth(2));
    session.sent(&a, Version::nth(1));
    session.changed(&a, Version::nth(3));
    assert_eq!(session.next(), Some(&b));
}

#[test]
fn what_every_proxy_needs_comes_before_what_it_subscribed_to() {
    let mut session = greeted(None);
    session.subscribe(add([endpoints("a")]));
    session.changed(&endpoints("a").into(), Version::nth(1));
    session.changed(&Topic::Bundle, Version::nth(2));
    assert_eq!(session.next(), Some(&Topic::Bundle));
}

#[derive(Clone, Debug)]
enum Event {
    Add(usize),
    Remove(usize),
    /// The nth of all topics gets a newer value.
    Publish(usize),
    Send,
    /// While a value is being sent, there comes a newer one.
    SendOvertaken,
}

fn resources() -> Vec<Resource> {
    vec![endpoints("a"), endpoints("b"), address(80), address(81)]
}

fn topics() -> Vec<Topic> {
    let own = [Topic::Bundle, Topic::Members(web()), Topic::policy(&web())];
    own.into_iter()
        .chain(resources().into_iter().map(Topic::from))
        .collect()
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0usize..4).prop_map(Event::Add),
        (0usize..4).prop_map(Event::Remove),
        (0usize..7).prop_map(Event::Publish),
        Just(Event::Send),
        Just(Event::SendOvertaken),
    ]
}

proptest! {
    #[test]
    fn who_reads_to_the_end_has_the_newest_of_what_it_follows_and_nothing_else(
        events in prop::collection::vec(any_event(), 0..60), revision in prop::option::of(0u64..20),
    ) {
        let mut session = Session::default();
        let mut now: BTreeMap<Topic, Version> = BTreeMap::new();
        let mut has: BTreeMap<Topic, Version> = BTreeMap::new();
        let known = revision.map(|counter| Revision { term: 0, counter });
        let mut follows: Vec<Topic> = session.hello(&web(), &that_has(known)).joined;
        if let Some(revision) = known {
            has.insert(Topic::policy(&web()), revision.into());
        }
        let mut count = 0;
        for event in events {
            match event {
                Event::Add(nth) => {
                    let resource = resources().remove(nth);
                    let topic = Topic::from(resource.clone());
                    for joined in session.subscribe(add([resource])).joined {
                        // As the hub does: who joins hears at once what there is.
                        if let Some(version) = now.get(&joined) {
                            session.changed(&joined, *version);
                        }
                        follows.push(joined);
                    }
                    has.remove(&topic);
                }
                Event::Remove(nth) => {
                    let left = session.subscribe(remove(resources().remove(nth))).left;
                    follows.retain(|topic| !left.contains(topic));
                    has.retain(|topic, _| !left.contains(topic));
                }
                Event::Publish(nth) => {
                    count += 1;
                    let topic = topics().remove(nth);
                    now.insert(topic.clone(), Version::nth(count));
                    session.changed(&topic, Version::nth(count));
                }
                Event::Send | Event::SendOvertaken => {
                    if let Some(topic) = session.next().cloned() {
                        let version = now[&topic];
                        if matches!(event, Event::SendOvertaken) {
                            count += 1;
                            now.insert(topic.clone(), Version::nth(count));
                            session.changed(&topic, Version::nth(count));
                        }
                        prop_assert!(follows.contains(&topic), "{topic:?} is not followed");
                        prop_assert!(has.get(&topic) < Some(&version), "{topic:?} was told already");
                        session.sent(&topic, version);
                        has.insert(topic, version);
                    }
                }
            }
        }
        let told = read(&mut session, &now);
        prop_assert!(told.len() <= follows.len(), "a backlog: {told:?}");
        for (topic, version) in told {
            prop_assert!(follows.contains(&topic), "{topic:?} is not followed");
            prop_assert!(has.get(&topic) < Some(&version), "{topic:?} was told already");
            has.insert(topic, version);
        }
        for topic in follows {
            prop_assert!(has.get(&topic) >= now.get(&topic), "{topic:?} is old");
        }
    }
}
