//! One of the two is away.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Bench, seconds};
use crate::apifault::End;
use crate::call::Call;
use crate::fault::{Action, Requests};
use crate::scenario::Stage;
use crate::session::CONVERGES_WITHIN;

/// How long nothing is answered.
const SILENT: Duration = Duration::from_secs(30);

/// The API server is killed, and comes back after a while; then every request to it is lost in silence, as where a network
/// drops what is sent, and those requests never get an answer. The operator stays up.
pub(super) async fn r9(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let lasts = bench.time(Duration::from_secs(45), Duration::from_mins(10));
    bench.session.world.stop_apiserver();
    bench.session.world.fault.end_watches(End::Cut);
    tokio::time::sleep(lasts).await;
    bench.same_process()?;
    bench.session.world.start_apiserver().await?;
    let start = Instant::now();
    let part = bench.part(Stage::Change)?;
    bench.session.reach(&part, CONVERGES_WITHIN).await?;
    let took = start.elapsed();
    ensure!(
        took < CONVERGES_WITHIN,
        "changes arrive {} after its return",
        seconds(took)
    );
    let fault = bench.session.world.fault.clone();
    fault.plan(Requests(|_: &Call| Action::Silence));
    fault.end_watches(End::Cut);
    tokio::time::sleep(SILENT).await;
    fault.calm();
    let heard = bench
        .change_arrives("after-the-silence", CONVERGES_WITHIN)
        .await?;
    bench.same_process()?;
    Ok(format!(
        "away for {} s: all changes of a stage arrive within {} of its return; silent for {} s: {} after that; the same process",
        lasts.as_secs(),
        seconds(took),
        SILENT.as_secs(),
        seconds(heard)
    ))
}

/// Objects, an account and a namespace go while nobody looks.
pub(super) async fn r27(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Change).await?;
    bench.session.stop();
    let part = bench.part(Stage::Shrink)?;
    let api = bench.api();
    part.stage.play(&api).await?;
    bench.session.restart().await?;
    let took = bench.returns_to(&part.end, CONVERGES_WITHIN).await?;
    Ok(format!(
        "as in the reference run {} after the start; the namespace was gone before",
        seconds(took)
    ))
}
