use proptest::prelude::*;
use smilax_core::workload_connection::KeyId;

use super::*;

fn conversation() -> Conversation {
    Conversation::new("0.1.0", "web-1")
}

fn revision(counter: u64) -> Revision {
    Revision { term: 1, counter }
}

fn facts(bundle: u64, counter: u64) -> Facts {
    Facts {
        bundle: Some(bundle),
        revision: Some(revision(counter)),
        ..Facts::default()
    }
}

fn split(generation: i64) -> ObjectRef {
    ObjectRef {
        kind: "TrafficSplit".into(),
        namespace: "shop".into(),
        name: "web".into(),
        generation,
    }
}

/// What an operator knows that was told this.
fn heard(messages: &[ProxyMessage]) -> Option<Facts> {
    let (ProxyMessage::Hello(hello), rest) = messages.split_first()? else {
        panic!("the first message is not Hello: {messages:?}");
    };
    let mut known = Facts {
        bundle: hello.bundle,
        revision: hello.revision,
        certificate: hello.certificate.clone(),
        learned: hello.learned.clone(),
        ..Facts::default()
    };
    for message in rest {
        match message {
            ProxyMessage::Hello(_) => panic!("a second Hello"),
            ProxyMessage::Subscribe(_) => panic!("nothing was used"),
            ProxyMessage::Learned(learned) => known.learned.clone_from(learned),
            ProxyMessage::Certificate(certificate) => known.certificate = Some(certificate.clone()),
            ProxyMessage::Ack(Ack { subject, outcome }) => match (*subject, outcome.clone()) {
                (Subject::Bundle(generation), Outcome::Applied) => known.bundle = Some(generation),
                (Subject::Revision(revision), Outcome::Applied) => known.revision = Some(revision),
                (Subject::Bundle(generation), Outcome::Rejected { path, reason }) => {
                    known.refused_bundle = Some((generation, Refusal { path, reason }));
                }
                (Subject::Revision(revision), Outcome::Rejected { path, reason }) => {
                    known.refused_revision = Some((revision, Refusal { path, reason }));
                }
            },
        }
    }
    Some(known)
}

#[test]
fn a_connection_begins_with_who_this_is_and_what_it_has() {
    let mut conversation = conversation().on_node(Some("n1"));
    assert_eq!(conversation.step(Event::Facts(facts(3, 7))), []);
    let messages = conversation.step(Event::Connected);
    assert_eq!(
        messages,
        [ProxyMessage::Hello(Hello {
            version: "0.1.0".to_owned(),
            pod: "web-1".to_owned(),
            node: Some("n1".to_owned()),
            bundle: Some(3),
            revision: Some(revision(7)),
            certificate: None,
            learned: Vec::new(),
        })]
    );
}

#[test]
fn what_changes_is_told_once() {
    let mut conversation = conversation();
    conversation.step(Event::Connected);
    let told = conversation.step(Event::Facts(facts(3, 7)));
    assert_eq!(told.len(), 2);
    assert_eq!(conversation.step(Event::Facts(facts(3, 7))), []);
    let told = conversation.step(Event::Facts(facts(3, 8)));
    assert_eq!(told, [ack(Subject::Revision(revision(8)), Outcome::Applied)]);
}

#[test]
fn a_bundle_that_is_sent_again_is_answered_again() {
    let mut conversation = conversation();
    conversation.step(Event::Facts(facts(3, 7)));
    conversation.step(Event::Connected);
    let told = conversation.step(Event::BundleDecided(facts(3, 7)));
    assert_eq!(told, [ack(Subject::Bundle(3), Outcome::Applied)]);
}

#[test]
fn a_configuration_that_is_sent_again_is_answered_again() {
    let mut conversation = conversation();
    conversation.step(Event::Facts(facts(3, 7)));
    conversation.step(Event::Connected);
    let told = conversation.step(Event::PolicyDecided(facts(3, 7)));
    assert_eq!(told, [ack(Subject::Revision(revision(7)), Outcome::Applied)]);
}

#[test]
fn a_refusal_says_where_and_why_also_after_the_connection_was_lost() {
    let mut conversation = conversation();
    let refusal = Refusal {
        path: "destinations[0]".to_owned(),
        reason: "no".to_owned(),
    };
    let refused = Facts {
        refused_revision: Some((revision(8), refusal.clone())),
        ..facts(3, 7)
    };
    conversation.step(Event::Connected);
    let expected = ack(Subject::Revision(revision(8)), refusal.outcome());
    assert!(conversation.step(Event::Facts(refused)).contains(&expected));
    conversation.step(Event::Lost);
    assert!(conversation.step(Event::Connected).contains(&expected));
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let refusal = |path: u8| Refusal {
        path: path.to_string(),
        reason: "no".to_owned(),
    };
    (
        0u64..4,
        0u64..4,
        proptest::option::of((0u64..4, 0u8..2)),
        proptest::option::of((0u64..4, 0u8..2)),
        proptest::option::of(0u64..3),
        proptest::option::of(0i64..3),
    )
        .prop_map(
            move |(bundle, counter, bad_bundle, bad_revision, certificate, learned)| Facts {
                learned: learned.map(split).into_iter().collect(),
                refused_bundle: bad_bundle.map(|(generation, path)| (generation, refusal(path))),
                refused_revision: bad_revision.map(|(counter, path)| (revision(counter), refusal(path))),
                certificate: certificate.map(|not_after| CertificateInfo {
                    issuer: KeyId::default(),
                    not_after,
                }),
                ..facts(bundle, counter)
            },
        )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Connected),
        Just(Event::Lost),
        any_facts().prop_map(Event::BundleDecided),
        any_facts().prop_map(Event::PolicyDecided),
        any_facts().prop_map(Event::Facts),
        any_facts().prop_map(Event::Facts),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_operator_has_been_told_the_newest(
        events in proptest::collection::vec(any_event(), 0..40),
        last in any_facts(),
    ) {
        let mut conversation = conversation();
        let mut session: Option<Vec<ProxyMessage>> = None;
        for event in events.into_iter().chain([Event::Facts(last.clone())]) {
            match &event {
                // A connection begins after the one before is gone.
                Event::Connected if session.is_some() => continue,
                Event::Connected => session = Some(Vec::new()),
                Event::Lost => session = None,
                Event::Facts(_) | Event::BundleDecided(_) | Event::PolicyDecided(_) => {}
            }
            let said = conversation.step(event);
            match &mut session {
                Some(session) => session.extend(said),
                None => prop_assert!(said.is_empty(), "nothing is said to nobody"),
            }
        }
        if let Some(known) = session.as_deref().and_then(heard) {
            prop_assert_eq!((known.bundle, known.revision), (last.bundle, last.revision));
            prop_assert!(last.certificate.is_none() || known.certificate == last.certificate);
            prop_assert!(last.refused_bundle.is_none() || known.refused_bundle == last.refused_bundle);
            prop_assert!(last.refused_revision.is_none() || known.refused_revision == last.refused_revision);
        }
    }
}
