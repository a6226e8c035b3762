//! When what there is to say is said. Pure: the time comes in.
//!
//! That something is in force is said a little later, and of several such messages only the newest: thousands of proxies
//! acknowledge one change, and what the operator reads of the first would hold up what it has to tell the last. All else
//! is said at once, and nothing overtakes what is waiting.

use std::mem::{Discriminant, discriminant, take};
use std::time::Duration;

use smilax_core::workload_connection::{Ack, Outcome, ProxyMessage, Subject};

/// How long an acknowledgement waits at least.
const WAIT: Duration = Duration::from_millis(100);
/// How much longer it waits at most, by chance.
const SPREAD: Duration = Duration::from_millis(100);

/// What is to be said on one connection. Its times are counted from any beginning, which is the same for all.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<ProxyMessage>,
    due: Option<Duration>,
}

impl Outbox {
    /// There is this to say. Gives what is said now.
    pub fn put(&mut self, messages: Vec<ProxyMessage>, now: Duration, dice: f64) -> Vec<ProxyMessage> {
        let mut say = Vec::new();
        for message in messages {
            if let Some(about) = in_force(&message) {
                self.waiting.retain(|one| in_force(one) != Some(about));
                self.waiting.push(message);
                let wait = WAIT + SPREAD.mul_f64(dice.clamp(0.0, 1.0));
                self.due.get_or_insert(now + wait);
            } else {
                say.append(&mut self.take());
                say.push(message);
            }
        }
        say
    }

    /// When something is to be said without anything happening.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Everything that waits.
    pub fn take(&mut self) -> Vec<ProxyMessage> {
        self.due = None;
        take(&mut self.waiting)
    }
}

/// What a message says to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InForce {
    Given(Discriminant<Subject>),
    Learned,
}

fn in_force(message: &ProxyMessage) -> Option<InForce> {
    match message {
        ProxyMessage::Ack(Ack {
            subject,
            outcome: Outcome::Applied,
        }) => Some(InForce::Given(discriminant(subject))),
        ProxyMessage::Learned(_) => Some(InForce::Learned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smilax_core::Revision;
    use smilax_core::workload_connection::{Subject, Subscribe};

    use super::*;

    fn revision(counter: u64) -> Subject {
        Subject::Revision(Revision { term: 1, counter })
    }

    fn ack(subject: Subject) -> ProxyMessage {
        ProxyMessage::Ack(Ack {
            subject,
            outcome: Outcome::Applied,
        })
    }

    fn rejected(subject: Subject) -> ProxyMessage {
        ProxyMessage::Ack(Ack {
            subject,
            outcome: Outcome::Rejected {
                path: ".".to_owned(),
                reason: "no".to_owned(),
            },
        })
    }

    #[test]
    fn that_something_is_in_force_is_said_later_and_of_several_the_newest() {
        let mut outbox = Outbox::default();
        let at = Duration::from_millis;
        assert_eq!(outbox.put(vec![ack(revision(1))], at(0), 0.0), []);
        assert_eq!(outbox.put(vec![ack(Subject::Bundle(7))], at(40), 1.0), []);
        assert_eq!(outbox.put(vec![ack(revision(2))], at(50), 1.0), []);
        assert_eq!(
            outbox.due(),
            Some(at(100)),
            "the first waits no longer for the others"
        );
        assert_eq!(outbox.take(), [ack(Subject::Bundle(7)), ack(revision(2))]);
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn a_refusal_is_said_at_once_and_overtakes_nothing() {
        let mut outbox = Outbox::default();
        outbox.put(vec![ack(revision(1))], Duration::ZERO, 0.0);
        let said = outbox.put(vec![rejected(revision(2))], Duration::ZERO, 0.0);
        assert_eq!(said, [ack(revision(1)), rejected(revision(2))]);
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn what_is_used_is_said_at_once() {
        let mut outbox = Outbox::default();
        let subscribe = ProxyMessage::Subscribe(Subscribe::default());
        assert_eq!(
            outbox.put(vec![subscribe.clone()], Duration::ZERO, 0.0),
            [subscribe]
        );
    }

    #[test]
    fn what_was_learned_is_said_later_too() {
        let mut outbox = Outbox::default();
        let learned = |generation| {
            let object = smilax_core::ObjectRef {
                kind: "TrafficSplit".into(),
                namespace: "shop".into(),
                name: "web".into(),
                generation,
            };
            ProxyMessage::Learned(vec![object])
        };
        assert_eq!(outbox.put(vec![learned(1)], Duration::ZERO, 0.0), []);
        assert_eq!(outbox.put(vec![learned(2)], Duration::ZERO, 0.0), []);
        assert_eq!(outbox.take(), [learned(2)]);
    }

    fn applied(message: &ProxyMessage) -> Option<&Ack> {
        match message {
            ProxyMessage::Ack(ack) if ack.outcome == Outcome::Applied => Some(ack),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn the_operator_ends_up_knowing_the_same_as_without_waiting(
            messages in proptest::collection::vec((0..4u8, 0..5u64), 0..30),
        ) {
            let messages: Vec<ProxyMessage> = messages
                .into_iter()
                .map(|(kind, number)| match kind {
                    0 => ack(revision(number)),
                    1 => ack(Subject::Bundle(number)),
                    2 => rejected(revision(number)),
                    _ => ProxyMessage::Subscribe(Subscribe::default()),
                })
                .collect();
            let last = |said: &[ProxyMessage], wanted: fn(&Subject) -> bool| {
                said.iter().filter_map(applied).map(|ack| ack.subject).rfind(wanted)
            };
            let mut outbox = Outbox::default();
            let mut said = Vec::new();
            for message in messages.clone() {
                said.extend(outbox.put(vec![message], Duration::ZERO, 0.5));
            }
            said.extend(outbox.take());
            for wanted in [|one: &Subject| matches!(one, Subject::Revision(_)), |one: &Subject| matches!(one, Subject::Bundle(_))] {
                prop_assert_eq!(last(&said, wanted), last(&messages, wanted));
            }
            // What is not an acknowledgement of something in force keeps its place among them, and its number.
            let others = |all: &[ProxyMessage]| -> Vec<ProxyMessage> {
                all.iter().filter(|one| applied(one).is_none()).cloned().collect()
            };
            prop_assert_eq!(others(&said), others(&messages));
        }
    }
}
