//! Runs by seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use smilax_proxy::log;
use smilax_sim::judge::faults_of;
use smilax_sim::plan::Plan;

use crate::driver::play;

/// Seeds that are tried without being asked for more.
const FEW: u64 = 12;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is wrong with the run of a seed.
fn wrong_with(seed: u64) -> Vec<String> {
    let played = std::panic::catch_unwind(|| play(&Plan::of(seed)));
    played.map_or_else(|_| vec!["it panics".to_owned()], |record| faults_of(&record))
}

#[test]
fn whatever_becomes_of_the_network_newer_policy_takes_hold_and_older_never_does() {
    if let Some(seed) = number("SMILAX_SIM_SEED") {
        if let Ok(filter) = std::env::var("SMILAX_SIM_LOG") {
            log::start(&filter.parse().unwrap(), log::Format::Text).unwrap();
        }
        let plan = Plan::of(seed);
        for (at, event) in &plan.events {
            eprintln!("{at:?} {event:?}");
        }
        eprintln!("{:?}", plan.latency);
        let wrong = wrong_with(seed);
        assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
        return;
    }
    let seeds = number("SMILAX_SIM_SEEDS").unwrap_or(FEW);
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let run = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return failed;
            }
            let wrong = wrong_with(seed);
            if !wrong.is_empty() {
                eprintln!(
                    "seed {seed} fails; `make sim SEED={seed}` repeats it:\n  {}",
                    wrong.join("\n  ")
                );
                failed.push(seed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    eprintln!("{seeds} seeds in {:?}, {} failed", began.elapsed(), failed.len());
    assert!(failed.is_empty(), "seeds {failed:?} fail");
}
