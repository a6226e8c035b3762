//! Everything at once, by a seed.

use std::time::Duration;

use anyhow::Context as _;

use super::Bench;
use crate::apifault::End;
use crate::fault::Noise;
use crate::session::{CONVERGES_WITHIN, revisions_rise};
use crate::world::say;

/// How many seeds, from the one that was asked for on.
const SEEDS: u64 = 4;
/// How long the noise lasts in each stage.
const LASTS: Duration = Duration::from_secs(3);

/// Each seed plays the whole scenario in noise, and every stage must end as in the reference run. After the noise every
/// watch is opened anew, as each is within a minute anyway: an event that came late is put right by that.
pub(super) async fn noise(bench: &mut Bench) -> anyhow::Result<String> {
    let mut slowest = Duration::ZERO;
    let mut disturbed = 0;
    for seed in bench.seed..bench.seed + SEEDS {
        bench.session.reset().await?;
        let mark = bench.session.world.fault.mark();
        bench.session.world.fault.plan(Noise::new(seed));
        for part in &bench.reference.parts {
            let fault = bench.session.world.fault.clone();
            let calmed = async {
                tokio::time::sleep(LASTS).await;
                fault.calm();
                fault.end_watches(End::Cut);
            };
            bench.session.world.fault.plan(Noise::new(seed));
            let (reached, ()) = tokio::join!(bench.session.reach(part, CONVERGES_WITHIN + LASTS), calmed);
            let reached = reached.with_context(|| format!("seed {seed}"))?;
            slowest = slowest.max(reached.after);
        }
        let entries = bench.session.world.fault.since(mark);
        disturbed += entries
            .iter()
            .filter(|entry| entry.code.is_none_or(|code| code >= 400))
            .count();
        revisions_rise(&entries).map_err(anyhow::Error::msg)?;
        say(&format!(
            "noise: seed {seed}, slowest stage {:.1} s",
            slowest.as_secs_f64()
        ));
    }
    Ok(format!(
        "{SEEDS} seeds from {}; {disturbed} requests without a good answer; slowest stage {:.1} s",
        bench.seed,
        slowest.as_secs_f64()
    ))
}
