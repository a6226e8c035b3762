//! What a watch tells, and what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Bench, seconds};
use crate::apifault::{End, Entry};
use crate::call::{Call, Verb};
use crate::fault::{Action, BEHIND, EXPIRED, Errors, LineAction, Lines, Requests, UNAVAILABLE};
use crate::objects;
use crate::scenario::Stage;
use crate::session::{CONVERGES_WITHIN, revisions_rise};
use crate::snapshot::{MAPS, MESH, SMI, Snapshot};

/// How soon each watch is opened anew where that takes a minute otherwise.
const REOPENED: Duration = Duration::from_secs(12);

/// Every kind that is watched, by path.
fn kinds() -> Vec<&'static str> {
    let builtin = [
        "/api/v1/namespaces",
        "/api/v1/serviceaccounts",
        "/api/v1/services",
        "/api/v1/pods",
        "/apis/discovery.k8s.io/v1/endpointslices",
        MAPS,
        MESH,
    ];
    builtin.into_iter().chain(SMI).collect()
}

fn plural(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// Every watch is told that its place is forgotten, and the list that follows is of before: an object was deleted since
/// and made anew under its name. The watch that follows goes on from there, as from an API server that is behind.
pub(super) async fn r3(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let mut old: BTreeMap<String, Bytes> = BTreeMap::new();
    for path in kinds() {
        let list = api.get(path).await?.unwrap_or_default();
        old.insert(plural(path).to_owned(), Bytes::from(list.to_string()));
    }
    let split = "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web";
    let before = uid(&api.get(split).await?.unwrap_or_default());
    api.delete(split).await?;
    api.apply(objects::split("shop", "web", &[("web-v1", 1), ("web-v2", 99)]))
        .await?;
    api.apply(objects::account("shop", "new")).await?;
    objects::Pod::new("shop", "new-a", "new", 16).create(&api).await?;
    bench.session.settle().await?;
    let wanted = Snapshot::take(&api).await?;
    let mark = bench.session.world.fault.mark();
    let expected: BTreeSet<String> = old.keys().cloned().collect();
    bench
        .session
        .world
        .fault
        .plan(Requests(move |call: &Call| match call.verb {
            Verb::List => old.remove(&call.kind).map_or(Action::Pass, Action::Replay),
            _ => Action::Pass,
        }));
    bench.session.world.fault.end_watches(End::Expired);
    let start = Instant::now();
    loop {
        let listed = bench.session.world.fault.since(mark);
        let listed: BTreeSet<&str> = listed
            .iter()
            .filter(|entry| entry.call.verb == Verb::List)
            .map(|entry| entry.call.kind.as_str())
            .collect();
        if expected.iter().all(|kind| listed.contains(kind.as_str())) {
            break;
        }
        ensure!(
            start.elapsed() < CONVERGES_WITHIN,
            "not every kind was listed anew"
        );
        tokio::time::sleep(super::LOOK).await;
    }
    let took = bench.returns_to(&wanted, CONVERGES_WITHIN).await?;
    bench.session.settle().await?;
    bench.returns_to(&wanted, Duration::from_secs(1)).await?;
    let writes = bench.session.world.fault.writes_since(mark);
    let taken = |entry: &&Entry| entry.code.is_some_and(|code| code < 300);
    let misled = writes.iter().filter(taken).filter(|entry| {
        let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
        entry.call.kind == "trafficsplits/status" && uid(&body) == before
    });
    ensure!(
        misled.count() == 0,
        "a status meant for the deleted object was taken for the new one"
    );
    revisions_rise(&writes).map_err(anyhow::Error::msg)?;
    let deleted = writes
        .iter()
        .filter(taken)
        .filter(|entry| entry.call.verb == Verb::Delete)
        .count();
    Ok(format!(
        "back at the right state {} after {} lists of before; {} writes meanwhile, {deleted} of them deletions; none reached the new object for the old one",
        seconds(took),
        expected.len(),
        writes.len()
    ))
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// In every second kind, every fourth event is lost together with the place in the history, or every event is told twice,
/// or every event is told after a later one; then the same in the other kinds. Lost events show in the list that follows,
/// late ones in the watch that is opened anew within a minute, here sooner.
pub(super) async fn r4(bench: &mut Bench) -> anyhow::Result<String> {
    let mut slowest = Duration::ZERO;
    let mut disturbed = 0;
    let late = LineAction::Later(Duration::from_millis(400));
    for action in [LineAction::Expire, LineAction::Twice, late] {
        for odd in [0, 1] {
            let concerned = kinds().into_iter().skip(odd).step_by(2).map(plural).collect();
            bench.session.reset().await?;
            let counter = Arc::new(AtomicUsize::new(0));
            let fault = bench.session.world.fault.clone();
            fault.plan(disturb(concerned, action, Arc::clone(&counter)));
            for part in bench.reference.parts.clone() {
                let fault = fault.clone();
                let reopened = async move {
                    loop {
                        tokio::time::sleep(REOPENED).await;
                        fault.end_watches(End::Cut);
                    }
                };
                let reached = tokio::select! {
                    reached = bench.session.reach(&part, CONVERGES_WITHIN) => reached?,
                    () = reopened => return Ok(String::new()),
                };
                slowest = slowest.max(reached.after);
            }
            disturbed += counter.load(Ordering::Relaxed);
        }
    }
    Ok(format!(
        "{disturbed} events lost, repeated or late, each in all of {} kinds; slowest stage {}",
        kinds().len(),
        seconds(slowest)
    ))
}

/// Does this to the events of these kinds, and counts them.
fn disturb(
    concerned: BTreeSet<&'static str>,
    action: LineAction,
    disturbed: Arc<AtomicUsize>,
) -> Lines<impl FnMut(&Call, &Value) -> LineAction + Send> {
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    Lines(move |watch: &Call, _: &Value| {
        if !concerned.contains(watch.kind.as_str()) {
            return LineAction::Pass;
        }
        let count = told.entry(watch.kind.clone()).or_default();
        *count += 1;
        if action == LineAction::Expire && *count % 4 != 1 {
            return LineAction::Pass;
        }
        disturbed.fetch_add(1, Ordering::Relaxed);
        action
    })
}

/// The most lists of the same within five seconds, and of what.
fn most_lists(entries: &[Entry]) -> (usize, String) {
    let mut times: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.call.verb == Verb::List) {
        times.entry(entry.call.to_string()).or_default().push(entry.at);
    }
    let most = times.into_iter().map(|(call, times)| {
        let within = |from: &Instant| {
            times
                .iter()
                .filter(|at| *at >= from && at.duration_since(*from) < Duration::from_secs(5))
                .count()
        };
        (times.iter().map(within).max().unwrap_or_default(), call)
    });
    most.max().unwrap_or_default()
}

/// The storage is compacted while nothing is heard, and the API server begins anew: it knows nothing of where the watches
/// were, and says so. Then every watch ends with 410, some by the answer and some by an event, for a while.
pub(super) async fn r5(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let compacted = compaction(bench).await?;
    let lasts = Duration::from_secs(40);
    let mark = bench.session.world.fault.mark();
    let mut turn = 0;
    bench.session.world.fault.plan(Requests(move |call: &Call| {
        if call.verb != Verb::Watch || call.kind == "secrets" {
            return Action::Pass;
        }
        turn += 1;
        if turn % 2 == 0 {
            Action::Answer(EXPIRED)
        } else {
            Action::ExpireAtOnce
        }
    }));
    bench.session.world.fault.end_watches(End::Expired);
    tokio::time::sleep(lasts).await;
    let entries = bench.session.world.fault.since(mark);
    bench.session.world.fault.calm();
    let (most, call) = most_lists(&entries);
    let relisted = entries
        .iter()
        .filter(|entry| entry.call.to_string() == call)
        .count();
    let took = bench.change_arrives("afterwards", Duration::from_mins(1)).await?;
    bench.same_process()?;
    // The first list after the first 410 comes at once; after that at most one in five seconds.
    let bound = 1 + usize::try_from(lasts.as_secs()).unwrap_or_default() / 5;
    let told = format!(
        "\"{call}\" {relisted} times in {} s, at most {most} within 5 s; a change arrives {} afterwards",
        lasts.as_secs(),
        seconds(took)
    );
    ensure!(relisted <= bound, "{told}; at most {bound} are right");
    Ok(format!("{compacted}; 410 at every watch: {told}"))
}

async fn compaction(bench: &mut Bench) -> anyhow::Result<String> {
    let fault = bench.session.world.fault.clone();
    fault.plan(Requests(|_: &Call| Action::Answer(UNAVAILABLE)));
    fault.end_watches(End::Cut);
    let api = bench.api();
    api.apply(objects::group("shop", "pages", "/unheard")).await?;
    bench.session.world.compact().await?;
    bench.session.world.stop_apiserver();
    bench.session.world.start_apiserver().await?;
    let mark = fault.mark();
    let forgotten: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = forgotten.clone();
    fault.plan(Errors(move |watch: &Call, event: &Value| {
        if event["object"]["code"] == EXPIRED.code {
            seen.lock().insert(watch.kind.clone());
        }
    }));
    let took = bench
        .change_arrives("after-compaction", Duration::from_secs(30))
        .await?;
    // Kinds whose turn comes late have theirs too.
    tokio::time::sleep(REOPENED).await;
    bench.same_process()?;
    fault.calm();
    let (most, call) = most_lists(&fault.since(mark));
    let forgotten = forgotten.lock().len();
    let told = format!(
        "etcd compacted and the API server restarted: the watches of {forgotten} kinds get 410; at most {most} list of the same within 5 s; a change arrives {} afterwards",
        seconds(took)
    );
    ensure!(forgotten > 0 && most <= 1, "{told}: {call}; once is right");
    Ok(told)
}

/// Lists and watches are answered as by an API server that is behind.
pub(super) async fn r6(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    bench
        .session
        .world
        .fault
        .plan(Requests(|call: &Call| match call.verb {
            Verb::List | Verb::Watch => Action::Answer(BEHIND),
            _ => Action::Pass,
        }));
    bench.session.world.fault.end_watches(End::Cut);
    tokio::time::sleep(Duration::from_secs(10)).await;
    bench.session.world.fault.calm();
    let took = bench
        .change_arrives("afterwards", Duration::from_secs(45))
        .await?;
    bench.same_process()?;
    Ok(format!(
        "10 s of 504; a change arrives {} afterwards, without a restart",
        seconds(took)
    ))
}
