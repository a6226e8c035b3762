use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CAPS: Caps = Caps { all: 8, of_one: 5 };

fn source(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// A port with connections that are known by number.
struct Port {
    register: Register<usize>,
    open: Vec<(usize, Ticket, Arc<Activity>)>,
    next: usize,
}

impl Port {
    fn new(busy: Busy) -> Self {
        Self {
            register: Register::new(CAPS, busy),
            open: vec![],
            next: 0,
        }
    }

    /// Who gave way to a connection of this source; `Err` when it was refused.
    fn enter(&mut self, of: u8, standing: Standing) -> Result<Option<usize>, ()> {
        self.enter_from(source(of), standing)
    }

    fn enter_from(&mut self, source: IpAddr, standing: Standing) -> Result<Option<usize>, ()> {
        let activity = in_standing(standing);
        let number = self.next;
        self.next += 1;
        let (ticket, gone) = match self.register.enter(source, Arc::clone(&activity), number) {
            Admission::Free(ticket) => (ticket, None),
            Admission::InPlaceOf(ticket, gone) => (ticket, Some(gone)),
            Admission::Refused => return Err(()),
        };
        self.open.retain(|(open, ..)| Some(*open) != gone);
        self.open.push((number, ticket, activity));
        Ok(gone)
    }

    fn held_by(&self, of: IpAddr) -> usize {
        self.open
            .iter()
            .filter(|(_, ticket, _)| ticket.source == of)
            .count()
    }

    fn most(&self) -> usize {
        let sources = self.open.iter().map(|(_, ticket, _)| self.held_by(ticket.source));
        sources.max().unwrap_or_default()
    }
}

fn in_standing(standing: Standing) -> Arc<Activity> {
    let activity = match standing {
        Standing::Handshaking => Activity::handshaking(),
        Standing::Fresh | Standing::Idle | Standing::Busy => Activity::new(),
    };
    if matches!(standing, Standing::Idle | Standing::Busy) {
        drop(activity.begin());
    }
    if standing == Standing::Busy {
        // For as long as the test lasts.
        Box::leak(Box::new(activity.begin()));
    }
    activity
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Handshaking),
        Just(Standing::Fresh),
        Just(Standing::Idle),
        Just(Standing::Busy),
    ]
}

#[test]
fn s4_one_source_cannot_shut_a_port() {
    let mut port = Port::new(Busy::GivesWay);
    let kubelet = 9;
    for _ in 0..100 {
        port.enter(1, Standing::Fresh).unwrap();
    }
    assert_eq!(port.enter(kubelet, Standing::Fresh), Ok(None));
    for _ in 0..100 {
        port.enter(1, Standing::Fresh).unwrap();
        port.enter(2, Standing::Busy).unwrap();
    }
    assert_eq!(port.held_by(source(kubelet)), 1);
}

#[test]
fn s4_behind_one_address_the_oldest_without_a_request_gives_way() {
    let mut port = Port::new(Busy::GivesWay);
    let [busy, idle, fresh, fresher, shaking] = [
        Standing::Busy,
        Standing::Idle,
        Standing::Fresh,
        Standing::Fresh,
        Standing::Handshaking,
    ]
    .map(|standing| {
        port.enter(1, standing).unwrap();
        port.next - 1
    });
    for gone in [shaking, fresh, fresher, idle, busy] {
        assert_eq!(port.enter(1, Standing::Busy), Ok(Some(gone)));
    }
}

#[test]
fn s6_what_is_under_way_gives_way_only_to_who_holds_less() {
    let mut port = Port::new(Busy::Stays);
    for _ in 0..5 {
        port.enter(1, Standing::Busy).unwrap();
    }
    assert_eq!(port.enter(1, Standing::Fresh), Err(()));
    for _ in 0..3 {
        port.enter(2, Standing::Busy).unwrap();
    }
    assert_eq!(port.enter(2, Standing::Fresh), Ok(Some(0)));
    assert_eq!(port.enter(3, Standing::Fresh), Ok(Some(9)));
}

/// An address of a /64.
fn of_network(network: u16, host: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host])
}

#[test]
fn e12_who_has_many_addresses_of_a_network_takes_no_place_of_another_network() {
    let mut port = Port::new(Busy::Stays);
    for _ in 0..3 {
        port.enter_from(of_network(1, 1), Standing::Idle).unwrap();
    }
    // Five have a place each, and the others are refused.
    for host in 0..100 {
        let entered = port.enter_from(of_network(2, host), Standing::Busy);
        assert_eq!(entered.is_ok(), host < 5);
    }
    assert_eq!(port.held_by(of_network(1, 1)), 3);
    assert_eq!(port.enter(1, Standing::Fresh), Ok(Some(3)));
    assert_eq!(port.held_by(of_network(1, 1)), 3);
}

#[test]
fn s41_requests_of_all_addresses_of_a_network_leave_room_for_other_networks() {
    let load = Load::new(3300);
    let caps = Caps { all: 1000, of_one: 1 };
    let mut register = Register::new(caps, Busy::Stays);
    let mut connect = |address: String| {
        let address = address.parse().unwrap();
        match register.enter(address, Activity::new(), ()) {
            Admission::Free(ticket) => register.share(ticket),
            _ => panic!("there is room"),
        }
    };
    let crowd: Vec<_> = (0..500)
        .map(|number| connect(format!("2001:db8::{number:x}")))
        .collect();
    let under_way: Vec<_> = crowd
        .iter()
        .flat_map(|share| std::iter::from_fn(|| load.admit(share, 1)))
        .collect();
    assert_eq!(under_way.len(), 3200);
    assert!(load.admit(&connect("2001:db8:0:1::".to_owned()), 50).is_some());
}

#[test]
fn e12_pods_of_one_network_have_a_share_each() {
    let mut port = Port::new(Busy::Stays);
    for _ in 0..4 {
        for host in 1..=2 {
            assert_eq!(port.enter_from(of_network(1, host), Standing::Idle), Ok(None));
        }
    }
    // Of the two, each loses its own.
    assert_eq!(port.enter_from(of_network(1, 2), Standing::Idle), Ok(Some(1)));
    assert_eq!(port.held_by(of_network(1, 1)), 4);
}

const PATIENT: Limits = Limits {
    idle: Duration::from_mins(1),
    stalled: Duration::from_secs(30),
    shed: None,
};

/// Numbers of those that end at this second, and why.
fn swept(port: &mut Port, second: u64, limits: &Limits) -> Vec<(usize, Reason)> {
    port.register.sweep(Duration::from_secs(second), limits)
}

#[test]
fn a22_connections_that_are_idle_for_too_long_end_and_others_stay() {
    let mut port = Port::new(Busy::Stays);
    for standing in [Standing::Idle, Standing::Busy, Standing::Fresh] {
        port.enter(1, standing).unwrap();
    }
    assert_eq!(swept(&mut port, 1, &PATIENT), []);
    assert_eq!(swept(&mut port, 60, &PATIENT), []);
    assert_eq!(
        swept(&mut port, 62, &PATIENT),
        [(0, Reason::Idle), (2, Reason::Idle)]
    );
}

#[test]
fn a22_who_takes_nothing_of_what_is_held_ends_and_who_takes_little_stays() {
    let mut port = Port::new(Busy::Stays);
    for standing in [Standing::Busy, Standing::Idle, Standing::Busy] {
        port.enter(1, standing).unwrap();
    }
    let [stalls, slow, waits] = [0, 1, 2].map(|number: usize| Arc::clone(&port.open[number].2));
    stalls.hold(10);
    slow.hold(100);
    assert!(waits.held() == 0);
    for second in 1..30 {
        assert_eq!(swept(&mut port, second, &PATIENT), []);
        slow.release(1);
    }
    assert_eq!(swept(&mut port, 31, &PATIENT), [(0, Reason::Stalled)]);
    assert_eq!(swept(&mut port, 40, &PATIENT), []);
}

#[test]
fn s6_the_worst_offenders_are_of_the_source_for_which_most_is_held() {
    let mut port = Port::new(Busy::Stays);
    for (of, bytes) in [(1, 60), (1, 70), (2, 100), (3, 0)] {
        port.enter(of, Standing::Busy).unwrap();
        port.open.last().unwrap().2.hold(bytes);
    }
    let shed = |bytes| Limits {
        shed: Some(Shed {
            bytes,
            after: Duration::from_secs(1),
        }),
        ..PATIENT
    };
    assert_eq!(swept(&mut port, 1, &shed(1000)), []);
    assert_eq!(swept(&mut port, 2, &shed(70)), [(1, Reason::Shed)]);
    assert_eq!(
        swept(&mut port, 3, &shed(101)),
        [(2, Reason::Shed), (0, Reason::Shed)]
    );
    assert_eq!(swept(&mut port, 4, &shed(1000)), []);
    assert_eq!(port.register.len(), 1);
}

#[test]
fn an_address_is_the_same_in_either_form() {
    let mut port: Register<()> = Register::new(Caps { all: 9, of_one: 1 }, Busy::GivesWay);
    port.enter("10.0.0.1".parse().unwrap(), Activity::new(), ());
    let mapped = port.enter("::ffff:10.0.0.1".parse().unwrap(), Activity::new(), ());
    assert!(matches!(mapped, Admission::InPlaceOf(..)));
}

proptest! {
    #[test]
    fn s4_caps_hold_and_every_newcomer_gets_a_place(arrivals in vec((0..6u8, standings()), 0..80)) {
        let mut port = Port::new(Busy::GivesWay);
        for (of, standing) in arrivals {
            prop_assert!(port.enter(of, standing).is_ok());
            prop_assert!(port.register.len() <= CAPS.all);
            prop_assert_eq!(port.register.len(), port.open.len());
            prop_assert!(port.most() <= CAPS.of_one);
        }
    }

    #[test]
    fn s4_nobody_loses_a_place_to_who_holds_more(
        arrivals in vec((0..6u8, standings()), 0..80), stays in any::<bool>(),
    ) {
        let mut port = Port::new(if stays { Busy::Stays } else { Busy::GivesWay });
        for (of, standing) in arrivals {
            let before = port.open.clone();
            let own = port.held_by(source(of));
            let (held, most): (Vec<_>, _) = (before.iter().map(|(_, one, _)| port.held_by(one.source)).collect(), port.most());
            let Ok(Some(gone)) = port.enter(of, standing) else { continue };
            let at = before.iter().position(|(number, ..)| *number == gone).unwrap();
            let (_, ticket, activity) = &before[at];
            if ticket.source != source(of) {
                prop_assert_eq!(held[at], most);
                prop_assert!(held[at] > own);
            }
            for (number, other, its) in &before {
                if other.source == ticket.source {
                    prop_assert!((activity.standing(), gone) <= (its.standing(), *number));
                }
            }
        }
    }

    #[test]
    fn s4_who_leaves_leaves_no_trace(arrivals in vec((0..6u8, standings()), 0..40)) {
        let mut port = Port::new(Busy::GivesWay);
        let mut tickets = vec![];
        for (of, standing) in arrivals {
            port.enter(of, standing).unwrap();
            tickets.push(port.open.last().unwrap().1);
        }
        for ticket in tickets {
            port.register.leave(ticket);
        }
        prop_assert!(port.register.is_empty());
        prop_assert!(port.register.sources.is_empty());
        prop_assert!(port.register.networks.is_empty());
    }
}

/// A full port of one source, all of whose connections are busy, and what is under way on each.
fn busy_port(connections: usize) -> (Register<usize>, Vec<Option<UnderWay>>) {
    let all = connections;
    let mut register = Register::new(Caps { all, of_one: all }, Busy::GivesWay);
    let requests = (0..connections)
        .map(|number| {
            let activity = Activity::new();
            let under_way = Some(activity.begin());
            register.enter(source(1), activity, number);
            under_way
        })
        .collect();
    (register, requests)
}

fn gone(admission: &Admission<usize>) -> Option<usize> {
    match admission {
        Admission::InPlaceOf(_, gone) => Some(*gone),
        Admission::Free(_) | Admission::Refused => None,
    }
}

#[test]
fn s6_of_thousands_the_one_that_was_seen_idle_gives_way() {
    let (mut register, mut requests) = busy_port(10_000);
    requests[7_000] = None;
    register.sweep(Duration::ZERO, &PATIENT);
    let newcomer = register.enter(source(2), Activity::new(), 10_000);
    assert_eq!(gone(&newcomer), Some(7_000));
}

#[test]
fn s6_between_two_looks_at_all_a_few_are_looked_at_for_each_newcomer() {
    let (mut register, mut requests) = busy_port(200);
    requests[150] = None;
    let newcomers =
        (0..8).map(|number| gone(&register.enter(source(2), in_standing(Standing::Busy), 200 + number)));
    assert!(newcomers.collect::<Vec<_>>().contains(&Some(150)));
}

proptest! {
    /// However connections change after they came, those that were seen idle give way first, the oldest of them before others.
    #[test]
    fn s6_nobody_gives_way_while_somebody_who_was_seen_doing_less_stays(
        ended in vec(0..64usize, 0..64), newcomers in 1..20usize,
    ) {
        let (mut register, mut requests) = busy_port(64);
        for &number in &ended {
            requests[number] = None;
        }
        register.sweep(Duration::ZERO, &PATIENT);
        let mut idle: std::collections::BTreeSet<usize> = ended.into_iter().collect();
        for number in 0..newcomers {
            let gave_way = gone(&register.enter(source(2), in_standing(Standing::Busy), 64 + number));
            if let Some(oldest) = idle.pop_first() {
                prop_assert_eq!(gave_way, Some(oldest));
            }
        }
    }
}
