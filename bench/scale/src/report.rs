//! The results as a page.

use std::fmt::Write as _;
use std::time::Duration;

use crate::board::Heard;
use crate::churn::Storm;
use crate::experiment::Cost;
use crate::lag::{Lag, Party, millis};
use crate::mesh::Shape;

/// Everything that was measured at one size.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// How long changes took.
    pub lags: Vec<Lag>,
    /// The operator's memory without clients, in KiB.
    pub alone: u64,
    /// With all of them.
    pub with_all: u64,
    /// First connection of all, until the last is in step.
    pub connected: Duration,
    /// Reconnecting.
    pub reconnect: Option<(Duration, Cost)>,
    /// From a start after a kill until all are in step again.
    pub cold_start: Option<(Duration, u64)>,
    /// Changes of pods.
    pub churn: Option<Cost>,
    /// Many changes of pods.
    pub storm: Option<Storm>,
    /// Nothing.
    pub idle: Option<Cost>,
    /// Mean time of a pass of the compiler in ms, and how many there were.
    pub compile: (f64, u64),
}

/// The nearest-rank percentile of what is in order.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn mebibytes(kibibytes: u64) -> f64 {
    f64::from(u32::try_from(kibibytes).unwrap_or(u32::MAX)) / 1024.0
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The bar of the design for a change, if it has one.
fn bar(what: &str) -> &'static str {
    if what.starts_with("endpoint removed") {
        "p99 150"
    } else {
        "p50 60, p99 250"
    }
}

/// A share of one core, in percent.
fn share(cost: &Cost) -> f64 {
    100.0 * cost.processor.as_secs_f64() / cost.time.as_secs_f64()
}

/// Mean bytes of a message.
fn mean(heard: Heard) -> u64 {
    heard.bytes / heard.messages.max(1)
}

/// The tables for one size.
pub fn page(shape: Shape, results: &Results) -> String {
    tables(shape, results).unwrap_or_default()
}

fn tables(shape: Shape, results: &Results) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let lines = &mut text;
    writeln!(
        lines,
        "### {} Services, {} proxies in {} namespaces, {} of the proxies whole\n",
        shape.services, shape.proxies, shape.namespaces, shape.whole
    )?;
    lags(lines, &results.lags)?;
    floors(lines, &results.lags)?;
    writeln!(lines, "\n| what | measured | bar |\n|---|---|---|")?;
    writeln!(
        lines,
        "| operator's memory, nobody connected | {:.0} MiB | |",
        mebibytes(results.alone)
    )?;
    writeln!(
        lines,
        "| operator's memory, all connected | {:.0} MiB | 160 MiB |",
        mebibytes(results.with_all)
    )?;
    let each = mebibytes(results.with_all.saturating_sub(results.alone)) * 1024.0 / count(shape.proxies);
    writeln!(lines, "| for each proxy | {each:.0} KiB | 48 KiB |")?;
    writeln!(
        lines,
        "| first connection of all, one by one certificate, to the last in step | {:.1} s | |",
        results.connected.as_secs_f64()
    )?;
    if let Some((took, cost)) = &results.reconnect {
        writeln!(
            lines,
            "| all reconnecting at once, to the last in step | {:.1} s; {:.1} s of CPU; memory at most {:.0} MiB | 10 s |",
            took.as_secs_f64(),
            cost.processor.as_secs_f64(),
            mebibytes(cost.memory.peak)
        )?;
    }
    if let Some((took, peak)) = results.cold_start {
        writeln!(
            lines,
            "| operator killed and started, to the last in step | {:.1} s; memory at most {:.0} MiB | |",
            took.as_secs_f64(),
            mebibytes(peak)
        )?;
    }
    if let Some(cost) = &results.churn {
        let seconds = cost.time.as_secs_f64();
        let policies = cost.heard.get("policy").copied().unwrap_or_default();
        let endpoints = cost.heard.get("endpoints").copied().unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
        let rate = (cost.changes as f64 / seconds, endpoints.messages as f64 / seconds);
        writeln!(
            lines,
            "| {:.0} pod changes a second for {seconds:.0} s | {:.1} % of a core; memory at most {:.0} MiB; {:.0} endpoint messages/s; {} policies | 10 % |",
            rate.0,
            share(cost),
            mebibytes(cost.memory.peak),
            rate.1,
            policies.messages
        )?;
    }
    if let Some(storm) = &results.storm {
        self::storm(lines, storm)?;
    }
    if let Some(cost) = &results.idle {
        writeln!(
            lines,
            "| idle for {:.0} s | {:.2} % of a core; writes but leases: {:?}; messages: {} | 1 %, none |",
            cost.time.as_secs_f64(),
            share(cost),
            cost.writes,
            cost.heard.values().map(|heard| heard.messages).sum::<u64>()
        )?;
    }
    writeln!(
        lines,
        "| passes of the compiler | {} of {:.2} ms in the mean | |",
        results.compile.1, results.compile.0
    )?;
    Ok(text)
}

fn storm(lines: &mut String, Storm { cost, last }: &Storm) -> std::fmt::Result {
    let seconds = cost.time.as_secs_f64();
    let endpoints = cost.heard.get("endpoints").copied().unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
    let rate = (cost.changes as f64 / seconds, endpoints.messages as f64 / seconds);
    writeln!(
        lines,
        "| {:.0} pod changes a second for {seconds:.0} s, and {} of an endpoint that every proxy uses meanwhile | those: p50 {:.0}, p99 {:.0}, max {:.0} ms; {:.1} % of a core; memory at most {:.0} MiB; {:.0} endpoint messages/s | p99 2000 ms, one core, 500 MB |",
        rate.0,
        last.len(),
        percentile(last, 50),
        percentile(last, 99),
        percentile(last, 100),
        share(cost),
        mebibytes(cost.memory.peak),
        rate.1,
    )
}

fn lags(lines: &mut String, lags: &[Lag]) -> std::fmt::Result {
    writeln!(
        lines,
        "| change | proxies concerned | p50 ms | p99 ms | max ms | API server's answer p50 ms | others told | bar |"
    )?;
    writeln!(lines, "|---|---|---|---|---|---|---|---|")?;
    for lag in lags {
        writeln!(
            lines,
            "| {} ({} times) | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} |",
            lag.what,
            lag.last.len(),
            lag.clients + lag.proxies,
            percentile(&lag.last, 50),
            percentile(&lag.last, 99),
            percentile(&lag.last, 100),
            percentile(&lag.answered, 50),
            lag.beside,
            bar(lag.what),
        )?;
        if !lag.acted.is_empty() {
            writeln!(
                lines,
                "| – of them whole proxies, until it is in force | {} | {:.0} | {:.0} | {:.0} | | | |",
                lag.proxies,
                percentile(&lag.acted, 50),
                percentile(&lag.acted, 99),
                percentile(&lag.acted, 100),
            )?;
        }
    }
    Ok(())
}

/// What a change costs everybody. Where the processors were busy all the time, no order of the same work is sooner.
fn floors(lines: &mut String, lags: &[Lag]) -> std::fmt::Result {
    writeln!(
        lines,
        "\n| CPU ms of one change, with all that follows from it (of that until the last client has it) | operator | API server and etcd | light clients | whole proxies | share of all cores until the last |"
    )?;
    writeln!(lines, "|---|---|---|---|---|---|")?;
    let cores = count(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    for lag in lags {
        let cell = |of: fn(&Party) -> f64| format!("{:.0} ({:.0})", of(&lag.cost), of(&lag.until_last));
        let mean = lag.last.iter().sum::<f64>() / count(lag.last.len());
        writeln!(
            lines,
            "| {} | {} | {} | {} | {} | {:.0} % |",
            lag.what,
            cell(|party| party.operator),
            cell(|party| party.servers),
            cell(|party| party.clients),
            cell(|party| party.proxies),
            100.0 * lag.until_last.all() / (cores * mean),
        )?;
    }
    Ok(())
}

/// Mean bytes of messages, by kind.
pub fn bytes(heard: &std::collections::BTreeMap<&'static str, Heard>) -> String {
    let kinds = heard
        .iter()
        .map(|(kind, heard)| format!("{kind} {} bytes", mean(*heard)));
    kinds.collect::<Vec<_>>().join(", ")
}

/// One line of the curve.
pub fn curve_line(shape: Shape, results: &Results) -> String {
    let of = |what: &str| {
        let lag = results.lags.iter().find(|lag| lag.what.starts_with(what));
        lag.map_or_else(
            || "–".to_owned(),
            |lag| {
                format!(
                    "{:.0} / {:.0}",
                    percentile(&lag.last, 50),
                    percentile(&lag.last, 100)
                )
            },
        )
    };
    let start = results.cold_start.unwrap_or_default();
    format!(
        "| {} | {:.0} | {:.0} | {:.2} | {} | {} | {} | {:.1} |",
        shape.services,
        mebibytes(results.alone),
        mebibytes(results.with_all),
        results.compile.0,
        of("split that every proxy holds"),
        of("split of one namespace"),
        of("endpoint removed, Service used by few"),
        millis(start.0) / 1000.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninety_ninth_percentile_of_few_values_is_the_largest() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let shown = [50, 99, 100].map(|percent| format!("{:.0}", percentile(&values, percent)));
        assert_eq!(shown, ["10", "20", "20"]);
    }
}
