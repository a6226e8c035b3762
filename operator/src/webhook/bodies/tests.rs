use proptest::prelude::*;

use super::*;

const LIMIT: usize = 4000;

/// A ledger whose bodies are known by number, at a time that only this changes.
struct Fixture {
    ledger: Ledger<usize>,
    now: Instant,
    tickets: Vec<Ticket>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(LIMIT),
            now: Instant::now(),
            tickets: Vec::new(),
        }
    }

    /// Another body of a source; its number.
    fn begin(&mut self, source: u8) -> usize {
        let number = self.tickets.len();
        let network = Network::of([10, 0, 0, source].into());
        self.tickets.push(self.ledger.begin(network, number, self.now));
        number
    }

    /// Who is told to end for it; `None` when there is room.
    fn grow(&mut self, body: usize, more: usize) -> Option<Vec<usize>> {
        match self.ledger.grow(self.tickets[body], more, self.now) {
            Growth::Granted => None,
            Growth::Waits(told) => Some(told),
        }
    }

    /// Another body with as much as its source may have, in steps of 10.
    fn fill(&mut self, source: u8) -> usize {
        let body = self.begin(source);
        while self.grow(body, 10).is_none() {}
        body
    }

    /// So much later that nobody had to wait recently, and nothing has only begun.
    fn later(&mut self) {
        self.now += 2 * PRESSURE;
    }

    fn end(&mut self, body: usize) {
        self.ledger.end(self.tickets[body]);
    }

    fn held(&self) -> usize {
        self.ledger.all
    }
}

#[test]
fn s40_a_source_alone_has_most_and_leaves_something() {
    let mut fixture = Fixture::new();
    fixture.fill(1);
    assert!((LIMIT / 2..LIMIT).contains(&fixture.held()), "{}", fixture.held());
    let other = fixture.begin(2);
    assert_eq!(fixture.grow(other, 10), None);
}

#[test]
fn s40_a_source_gets_its_part_from_the_slowest_body_of_who_has_most() {
    let mut fixture = Fixture::new();
    let slow = fixture.begin(1);
    assert_eq!(fixture.grow(slow, 500), None);
    fixture.now += YOUNG;
    fixture.fill(1);
    let slower = fixture.begin(2);
    assert_eq!(fixture.grow(slower, 200), None);
    fixture.later();
    let newcomer = fixture.begin(3);
    assert_eq!(fixture.grow(newcomer, 400), Some(vec![slow]));
    assert_eq!(fixture.grow(newcomer, 400), Some(vec![]), "one is enough");
    fixture.end(slow);
    assert_eq!(fixture.grow(newcomer, 400), None);
}

#[test]
fn s40_what_becomes_free_is_for_who_had_to_wait() {
    let mut fixture = Fixture::new();
    let slow = fixture.begin(1);
    assert_eq!(fixture.grow(slow, 1000), None);
    let greedy = fixture.fill(1);
    fixture.later();
    let newcomer = fixture.begin(2);
    assert_eq!(fixture.grow(newcomer, 1000), Some(vec![slow]));
    fixture.end(slow);
    assert_eq!(fixture.grow(greedy, 10), Some(vec![]));
    assert_eq!(fixture.grow(newcomer, 1000), None);
    fixture.end(newcomer);
    fixture.later();
    assert_eq!(fixture.grow(greedy, 10), None);
}

#[test]
fn s40_who_has_more_than_its_part_takes_nothing_from_others() {
    let mut fixture = Fixture::new();
    fixture.fill(1);
    fixture.later();
    let newcomer = fixture.begin(2);
    assert_eq!(fixture.grow(newcomer, LIMIT / 3 + 10), Some(vec![]));
}

#[test]
fn s40_what_is_being_answered_and_what_has_only_begun_stays() {
    let mut fixture = Fixture::new();
    let answered = fixture.begin(1);
    assert_eq!(fixture.grow(answered, 1000), None);
    fixture.ledger.stand(fixture.tickets[answered], Standing::Stays);
    fixture.later();
    let fast = fixture.fill(1);
    let newcomer = fixture.begin(2);
    assert_eq!(fixture.grow(newcomer, 1000), Some(vec![]));
    fixture.now += YOUNG;
    assert_eq!(fixture.grow(newcomer, 1000), Some(vec![fast]));
}

#[test]
fn s40_sources_that_hold_nothing_leave_no_trace() {
    let mut fixture = Fixture::new();
    for source in 0..100 {
        let body = fixture.begin(source);
        assert_eq!(fixture.grow(body, 10), None);
        fixture.end(body);
    }
    assert_eq!((fixture.ledger.sources.len(), fixture.held()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    Grow(prop::sample::Index, usize),
    End(prop::sample::Index),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8).prop_map(Step::Begin),
        (any::<prop::sample::Index>(), 1..900_usize).prop_map(|(body, more)| Step::Grow(body, more)),
        any::<prop::sample::Index>().prop_map(Step::End),
        (0..1500_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn s40_all_together_never_have_more_than_there_is_and_each_can_have_its_part(
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let mut fixture = Fixture::new();
        for step in steps {
            match step {
                Step::Begin(source) => _ = fixture.begin(source),
                Step::Wait(millis) => fixture.now += Duration::from_millis(millis),
                Step::Grow(..) | Step::End(_) if fixture.tickets.is_empty() => {}
                Step::Grow(body, more) => {
                    let body = body.index(fixture.tickets.len());
                    for told in fixture.grow(body, more).unwrap_or_default() {
                        fixture.end(told);
                    }
                }
                Step::End(body) => {
                    let body = body.index(fixture.tickets.len());
                    fixture.end(body);
                }
            }
            prop_assert!(fixture.held() <= LIMIT);
        }
        fixture.later();
        let newcomer = fixture.begin(9);
        let part = fixture.ledger.part();
        for told in fixture.grow(newcomer, part).unwrap_or_default() {
            fixture.end(told);
        }
        let own = &fixture.ledger.sources[&fixture.tickets[newcomer].source];
        prop_assert!(own.held == part || fixture.grow(newcomer, part).is_none());
    }
}
