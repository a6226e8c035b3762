//! Annotations by which Prometheus finds a pod. It reads one port of a pod, so they are made to name the sidecar's, which
//! serves the application's metrics too.

use http::uri::PathAndQuery;
use serde_json::{Map, Value, json};
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::convention::{METRICS_PORT, PROXY_PORTS, key, variable};
use smilax_core::probe::Scheme;

use super::pod::{annotation, list, name, text};
use super::sidecar;

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
const SCHEME: &str = "prometheus.io/scheme";

/// Whether the application's metrics are served with the sidecar's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// They are.
    Wanted,
    /// They are not, as the pod or its Namespace says.
    NotWanted,
    /// Nobody said, and it would let everybody read what a closed Namespace refuses.
    WouldOpen,
}

/// What becomes of a pod's annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scraping {
    /// They name the sidecar, which serves its own metrics.
    Sidecar,
    /// They name the sidecar, which serves those of the application too.
    Merged(ApplicationMetrics),
    /// They stay as they are.
    AsWritten,
}

/// Decides it, with a warning where the sidecar is not scraped and should be.
pub(super) fn scraping(pod: &Value, merge: Merge) -> (Scraping, Option<String>) {
    if [SCRAPE, PORT, PATH, SCHEME]
        .iter()
        .all(|key| annotation(pod, key).is_none())
    {
        return (Scraping::Sidecar, None);
    }
    let is_scraped = annotation(pod, SCRAPE).is_none_or(|scrape| scrape == "true");
    // Without a port, Prometheus reads every port that a container declares, and so the sidecar's.
    let Some(port) = annotation(pod, PORT).filter(|_| is_scraped) else {
        return (Scraping::AsWritten, None);
    };
    if port == METRICS_PORT.to_string() {
        return (Scraping::Sidecar, None);
    }
    match merge {
        Merge::NotWanted => (Scraping::AsWritten, None),
        Merge::WouldOpen => (Scraping::AsWritten, Some(would_open())),
        Merge::Wanted => match named(pod, port) {
            Ok(application) => (Scraping::Merged(application), None),
            Err(reason) => {
                let warning = format!("{reason}; the sidecar's metrics are not scraped");
                (Scraping::AsWritten, Some(warning))
            }
        },
    }
}

fn would_open() -> String {
    format!(
        "the sidecar's metrics are not scraped, as {PORT} names another port: served together, the application's metrics \
         could be read by everybody, whatever the Namespace refuses; set {}: \"true\" on the Namespace, or name the \
         addresses that may read metrics in the chart's value proxy.metrics.sourceRanges",
        key::MERGE_METRICS
    )
}

fn named(pod: &Value, port: &str) -> Result<ApplicationMetrics, String> {
    let number = port.parse().ok().filter(|&number: &u16| number > 0);
    let number = number.ok_or_else(|| format!("{PORT}: {port:?} is not a port from 1 to 65535"))?;
    if PROXY_PORTS.contains(&number) {
        return Err(format!(
            "{PORT}: {number} is a port of the sidecar that serves no metrics; those are on {METRICS_PORT}"
        ));
    }
    let path = annotation(pod, PATH).filter(|path| !path.is_empty());
    let path = path.unwrap_or(ApplicationMetrics::DEFAULT_PATH);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    if path.contains(['?', '#']) || path.parse::<PathAndQuery>().is_err() {
        return Err(format!("{PATH}: {path:?} is not the path of a URL"));
    }
    let scheme = match annotation(pod, SCHEME) {
        None | Some("" | "http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => return Err(format!("{SCHEME}: {other:?} is neither http nor https")),
    };
    Ok(ApplicationMetrics {
        port: number,
        path,
        scheme,
    })
}

/// Lets the annotations name the sidecar.
pub(super) fn write(annotations: &mut Map<String, Value>, scraping: &Scraping) {
    if *scraping == Scraping::AsWritten {
        return;
    }
    annotations.remove(SCHEME);
    annotations.extend(ours().map(|(key, value)| (key.to_owned(), value)));
}

/// Takes back what [`write`] wrote. What the application's annotations were, the environment of the sidecar tells.
pub(super) fn restore(annotations: &mut Map<String, Value>, application: Option<&ApplicationMetrics>) {
    if ours()
        .iter()
        .any(|(key, value)| annotations.get(*key) != Some(value))
    {
        return;
    }
    for (key, _) in ours() {
        annotations.remove(key);
    }
    let Some(application) = application else {
        return;
    };
    annotations.insert(SCRAPE.to_owned(), json!("true"));
    annotations.insert(PORT.to_owned(), json!(application.port.to_string()));
    annotations.insert(PATH.to_owned(), json!(application.path));
    if application.scheme == Scheme::Https {
        annotations.insert(SCHEME.to_owned(), json!("https"));
    }
}

/// What an earlier sidecar was told of the application's metrics.
pub(super) fn of_earlier(proxy: &Value) -> Option<ApplicationMetrics> {
    let entry = list(proxy, "/env").find(|entry| name(entry) == variable::APPLICATION_METRICS)?;
    serde_json::from_str(&sidecar::unescaped(text(entry, "/value")?)).ok()
}

fn ours() -> [(&'static str, Value); 3] {
    [
        (SCRAPE, json!("true")),
        (PORT, json!(METRICS_PORT.to_string())),
        (PATH, json!("/metrics")),
    ]
}

#[cfg(test)]
mod tests;
