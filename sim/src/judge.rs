//! What must hold of everything that was seen. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use smilax_core::{Revision, Workload};

use crate::record::{Message, Record, Usable};

/// Everything is as it should be so soon after the last fault. The simulated network has no kernel that watches over
/// connections, so a silent one is noticed by pings: after 70 s by the proxy, whose next try comes within 30 s, and after
/// 140 s by the operator. Who is gone is forgotten a little later.
pub const SETTLED: Duration = Duration::from_mins(4);

/// What was seen and must never be, in words.
pub fn faults_of(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(goes_back(record));
    faults.extend(not_its_own(record));
    faults.extend(never_written(record));
    faults.extend(told_again(record));
    faults.extend(not_asked_for(record));
    faults.extend(end(record));
    faults
}

/// A revision in force never goes back, over restarts of the proxy too.
fn goes_back(record: &Record) -> Vec<String> {
    let mut last: BTreeMap<&str, Revision> = BTreeMap::new();
    let mut faults = Vec::new();
    for one in &record.in_force {
        let before = last.insert(&one.uid, one.revision);
        if before.is_some_and(|before| before > one.revision) {
            let before = before.unwrap_or_default();
            faults.push(format!(
                "{:?}: pod {} goes back from {before} to {}",
                one.at, one.uid, one.revision
            ));
        }
    }
    faults
}

/// Nobody has, or hears, what is another identity's.
fn not_its_own(record: &Record) -> Vec<String> {
    let in_force = record.in_force.iter().filter_map(|one| {
        let own = record.pods.get(&one.uid);
        (own != Some(&one.workload))
            .then(|| format!("{:?}: pod {} has the policy of {}", one.at, one.uid, one.workload))
    });
    let reader = record.pods.get(READER);
    let heard = record.heard.iter().filter_map(|one| match &one.message {
        Message::Policy(workload, _) if Some(workload) != reader => {
            Some(format!("{:?}: the client hears the policy of {workload}", one.at))
        }
        _ => None,
    });
    in_force.chain(heard).collect()
}

/// UID of the client that is no proxy.
pub const READER: &str = "reader";

/// What is in force was written, and can be used.
fn never_written(record: &Record) -> Vec<String> {
    let written: BTreeMap<(&Workload, Revision), Usable> = record
        .written
        .iter()
        .map(|one| ((&one.workload, one.revision), one.usable))
        .collect();
    let in_force = record.in_force.iter();
    let bad = in_force.filter(|one| written.get(&(&one.workload, one.revision)) != Some(&Usable::Yes));
    bad.map(|one| {
        format!(
            "{:?}: pod {} has {}, which is of no use",
            one.at, one.uid, one.revision
        )
    })
    .collect()
}

/// On one stream policies only get newer, and newer than the one that was named in the beginning.
fn told_again(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last = None;
    for one in &record.heard {
        match &one.message {
            Message::Began(revision, _) => last = *revision,
            Message::Policy(_, revision) => {
                if last >= Some(*revision) {
                    faults.push(format!(
                        "{:?}: the client is told {revision} after {last:?}",
                        one.at
                    ));
                }
                last = Some(*revision);
            }
            _ => {}
        }
    }
    faults
}

/// Nothing is told that was not asked for.
fn not_asked_for(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    let mut asked = None;
    for one in &record.heard {
        match &one.message {
            Message::Began(_, resources) => asked = Some(resources),
            Message::Update(resource) if asked.is_none_or(|asked| !asked.contains(resource)) => {
                faults.push(format!("{:?}: the client is told of {resource:?}", one.at));
            }
            _ => {}
        }
    }
    faults
}

fn end(record: &Record) -> Vec<String> {
    let end = &record.end;
    let mut faults = Vec::new();
    match end.settled {
        None => faults.push(format!("it never settles: {}", end.missing.join("; "))),
        Some(settled) if settled > SETTLED => faults.push(format!("it settles after {settled:?}")),
        Some(_) => {}
    }
    for (kind, count) in end.idle.iter().filter(|(_, count)| **count > 0) {
        faults.push(format!("{count} messages of kind {kind} while nothing changes"));
    }
    if end.resent > 0 {
        faults.push(format!(
            "{} policies are sent to proxies that have them",
            end.resent
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use smilax_core::{DestinationName, DestinationPortName, Resource};

    use super::*;
    use crate::record::{Heard, InForce, Written};

    fn web() -> Workload {
        Workload::new("shop", "web")
    }

    fn revision(counter: u64) -> Revision {
        Revision { term: 1, counter }
    }

    /// A run in which nothing is wrong.
    fn good() -> Record {
        let written = [1, 2].map(|counter| Written {
            at: Duration::from_secs(counter),
            workload: web(),
            revision: revision(counter),
            usable: Usable::Yes,
        });
        let in_force = [1, 2].map(|counter| in_force(&web(), counter));
        let mut record = Record {
            written: written.to_vec(),
            in_force: in_force.to_vec(),
            pods: [("u-1", web()), (READER, web())]
                .map(|(uid, of)| (uid.to_owned(), of))
                .into(),
            heard: vec![heard(Message::Began(None, BTreeSet::new()))],
            ..Record::default()
        };
        record.heard.push(heard(Message::Policy(web(), revision(1))));
        record.heard.push(heard(Message::Policy(web(), revision(2))));
        record.end.settled = Some(Duration::from_secs(1));
        record
    }

    fn in_force(workload: &Workload, counter: u64) -> InForce {
        InForce {
            at: Duration::from_secs(counter),
            uid: "u-1".to_owned(),
            workload: workload.clone(),
            revision: revision(counter),
        }
    }

    fn heard(message: Message) -> Heard {
        Heard {
            at: Duration::ZERO,
            stream: 1,
            message,
        }
    }

    fn faults(change: impl FnOnce(&mut Record)) -> usize {
        let mut record = good();
        change(&mut record);
        faults_of(&record).len()
    }

    #[test]
    fn a_good_run_has_no_fault() {
        assert_eq!(faults_of(&good()), [""; 0]);
    }

    #[test]
    fn a_revision_that_goes_back_is_a_fault() {
        assert_eq!(faults(|record| record.in_force.push(in_force(&web(), 1))), 1);
    }

    #[test]
    fn what_is_another_ones_is_a_fault_in_force_and_on_the_wire() {
        let other = Workload::new("shop", "db");
        assert!(faults(|record| record.in_force.push(in_force(&other, 3))) > 0);
        let policy = Message::Policy(other, revision(3));
        assert_eq!(faults(|record| record.heard.push(heard(policy))), 1);
    }

    #[test]
    fn a_policy_in_force_that_nobody_wrote_or_that_is_of_no_use_is_a_fault() {
        assert_eq!(faults(|record| record.in_force.push(in_force(&web(), 3))), 1);
        assert_eq!(faults(|record| record.written[1].usable = Usable::No), 1);
    }

    #[test]
    fn a_policy_that_the_client_has_is_a_fault_when_it_is_told_again() {
        let again = Message::Policy(web(), revision(2));
        assert_eq!(faults(|record| record.heard.push(heard(again.clone()))), 1);
        let back = Message::Began(Some(revision(2)), BTreeSet::new());
        assert_eq!(
            faults(|record| record.heard.extend([heard(back), heard(again)])),
            1
        );
    }

    #[test]
    fn what_was_not_asked_for_is_a_fault() {
        let of = Resource::Endpoints(DestinationPortName {
            destination: DestinationName::new("shop", "web"),
            port: 80,
        });
        let update = Message::Update(of.clone());
        assert_eq!(faults(|record| record.heard.push(heard(update.clone()))), 1);
        let asked = Message::Began(Some(revision(2)), [of].into());
        assert_eq!(
            faults(|record| record.heard.extend([heard(asked), heard(update)])),
            0
        );
    }

    #[test]
    fn an_end_that_does_not_come_and_messages_without_a_reason_are_faults() {
        assert_eq!(faults(|record| record.end.settled = None), 1);
        assert_eq!(faults(|record| record.end.settled = Some(SETTLED * 2)), 1);
        assert_eq!(faults(|record| record.end.resent = 1), 1);
        assert_eq!(
            faults(|record| record.end.idle = [("policy".to_owned(), 1)].into()),
            1
        );
    }
}
