//! One reader that is stuck, a slow network, and a mount that says something else.

use std::collections::BTreeMap;
use std::time::Duration;

use smilax_core::Revision;
use smilax_sim::judge::faults_of;
use smilax_sim::plan::{Content, Event, Host, Latency, PODS, Plan};
use smilax_sim::record::{Message, Record};

use crate::driver::{Run, play};
use crate::policy::account;

/// Changes while the client does not read, and the time between two.
const CHANGES: u32 = 200;
const EACH: Duration = Duration::from_millis(250);
const BEGIN: Duration = Duration::from_secs(5);

/// 200 ms and 50 ms more or less; a few messages must be sent again.
const SLOW: Latency = Latency {
    least: Duration::from_millis(150),
    most: Duration::from_millis(250),
};

enum Reader {
    Reads,
    Stuck,
}

/// Many changes of a long policy, and a client that reads them or does not.
fn changes(seed: u64, reader: &Reader) -> Plan {
    let mut events: Vec<_> = (0..CHANGES)
        .map(|change| (BEGIN + EACH * change, Event::Policy(0, Content::Long)))
        .collect();
    if let Reader::Stuck = reader {
        events.insert(0, (BEGIN, Event::Stick));
    }
    Plan {
        seed,
        latency: SLOW,
        events,
    }
}

/// How long it takes from the write of a policy until a pod of the account has it, or a later one: the 99th of 100.
fn lag(record: &Record) -> Duration {
    let pods = record
        .pods
        .iter()
        .filter(|(_, workload)| **workload == account(0));
    let mut lags: Vec<_> = pods
        .filter(|(uid, _)| record.in_force.iter().any(|one| one.uid == **uid))
        .flat_map(|(uid, workload)| {
            let written = record
                .written
                .iter()
                .filter(|one| one.workload == *workload && one.at >= BEGIN);
            written.map(|written| {
                let mut has = record.in_force.iter().filter(|one| one.uid == *uid);
                let first = has.find(|one| one.revision >= written.revision).unwrap();
                first.at.saturating_sub(written.at)
            })
        })
        .collect();
    lags.sort();
    lags[lags.len() * 99 / 100]
}

#[test]
fn a_reader_that_is_stuck_delays_nobody_and_then_hears_the_newest_and_no_backlog() {
    for seed in [1] {
        let (reads, stuck) = (
            play(&changes(seed, &Reader::Reads)),
            play(&changes(seed, &Reader::Stuck)),
        );
        for record in [&reads, &stuck] {
            assert_eq!(faults_of(record), [""; 0], "seed {seed}");
        }
        let (usual, others) = (lag(&reads), lag(&stuck));
        assert!(
            others <= usual.mul_f64(1.1),
            "seed {seed}: p99 is {others:?} and not {usual:?}"
        );
        let heard = |record: &Record| {
            let policies = record
                .heard
                .iter()
                .filter(|one| matches!(one.message, Message::Policy(..)));
            u32::try_from(policies.count()).unwrap()
        };
        assert!(
            heard(&reads) > CHANGES / 2,
            "seed {seed}: {} are read",
            heard(&reads)
        );
        assert!(
            heard(&stuck) < CHANGES / 4,
            "seed {seed}: {} are kept",
            heard(&stuck)
        );
    }
}

/// A run in which nothing happens by itself, after everything is connected.
fn quiet() -> Run<'static> {
    let plan = Plan {
        seed: 1,
        latency: SLOW,
        events: Vec::new(),
    };
    let mut run = Run::begin(&plan);
    run.through(&[], BEGIN);
    run
}

fn in_force(run: &Run<'_>, pod: usize) -> Revision {
    run.world.with(|inner| {
        let control = inner.pods[pod].control.as_ref().unwrap();
        control.shared.table.load().revision
    })
}

#[test]
fn a_mount_that_is_behind_the_stream_leads_nobody_back_not_even_over_a_restart() {
    let mut run = quiet();
    let write = (BEGIN, Event::Policy(0, Content::Short));
    run.through(&[write; 5], BEGIN * 2);
    let newest = run.world.newest(&account(0));
    assert_eq!(in_force(&run, 0), newest, "it comes over the stream");
    for ago in [5, 3, 1, 4] {
        run.happen(Event::Mount(0, ago));
        assert_eq!(
            in_force(&run, 0),
            newest,
            "what was mounted is {ago} revisions old"
        );
    }
    // Nobody is there who could tell it, and what is mounted is old.
    for replica in [0, 1] {
        run.happen(Event::Cut(Host::Replica(replica), Host::Pod(0)));
    }
    run.happen(Event::RestartProxy(0));
    run.through(&[], BEGIN * 3);
    assert_eq!(in_force(&run, 0), newest);
}

#[test]
fn a_mount_that_is_ahead_of_the_stream_counts_and_the_stream_leads_nobody_back() {
    let mut run = quiet();
    for replica in [0, 1] {
        run.happen(Event::Lag(replica, BEGIN * 2));
    }
    let write = (BEGIN, Event::Policy(0, Content::Short));
    run.through(&[write; 3], BEGIN);
    let newest = run.world.newest(&account(0));
    run.happen(Event::Mount(0, 0));
    assert_eq!(in_force(&run, 0), newest);
    run.through(&[], BEGIN * 4);
    let seen: BTreeMap<_, _> = (0..PODS)
        .step_by(2)
        .map(|pod| (pod, in_force(&run, pod)))
        .collect();
    assert_eq!(seen, (0..PODS).step_by(2).map(|pod| (pod, newest)).collect());
    run.world
        .with(|inner| assert_eq!(faults_of(&settled(&inner.record)), [""; 0]));
}

/// The same, as if it had been played to its end.
fn settled(record: &Record) -> Record {
    let mut record = record.clone();
    record.end.settled = Some(Duration::ZERO);
    record
}
