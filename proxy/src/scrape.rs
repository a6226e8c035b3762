//! What `/metrics` answers: the sidecar's metrics, and behind them those of the application, so that one scrape of the pod
//! finds both.
//!
//! ```text
//! Prometheus ─► port 15020 ─► [`fetch`]: the application, on loopback ─► [`exposition`]: judged, appended ─► one answer
//!                                    └─ failed, slow, too large, unreadable: counted; the sidecar's own alone ─┘
//! ```

mod exposition;
mod fetch;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap};
use smilax_core::application_metrics::ApplicationMetrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::Metrics;
use crate::settings::Settings;
pub use exposition::Format;
use exposition::Malformed;
use fetch::Fetched;

/// How long the application may take. Prometheus waits for 10 s unless told otherwise, and drops what comes later.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the application's metrics at most.
const MOST_BYTES: usize = 4 << 20;
/// Answers with the application's metrics at a time, until they are sent: two replicas of Prometheus may ask at once, and
/// others wait for their turn.
const AT_ONCE: usize = 2;

/// Asks the application for its metrics.
#[derive(Debug)]
pub struct Scraper {
    application: Option<ApplicationMetrics>,
    pod: Vec<IpAddr>,
    places: Arc<Semaphore>,
}

/// What `/metrics` answers.
#[derive(Debug)]
pub struct Page {
    /// Form that it is written in.
    pub format: Format,
    /// Its text.
    pub text: Bytes,
}

/// Why an answer holds no metrics of the application.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Too many others are answered.
    #[error("others are being answered")]
    Busy,
    /// It took too long.
    #[error("no whole answer in time")]
    TimedOut,
    /// Nothing listens there.
    #[error("cannot connect: {0}")]
    Unreachable(std::io::Error),
    /// It broke off, or answered nothing that can be understood.
    #[error("no answer that can be understood: {0}")]
    Broken(String),
    /// It answered with an error, or wants to be asked elsewhere.
    #[error("it answered {0}")]
    Status(http::StatusCode),
    /// It answered in a form that cannot be merged.
    #[error("its Content-Type {0:?} is neither text/plain nor application/openmetrics-text")]
    Format(String),
    /// It answered too much.
    #[error("it answered more than {MOST_BYTES} bytes")]
    TooLarge,
    /// What it answered would make Prometheus refuse the whole answer.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Failure {
    /// Its value of the label `outcome`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Status(_) => "status",
            Self::Format(_) => "format",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// What is sent, and the place that it takes until it is.
struct Held {
    text: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Scraper {
    /// For the application that the settings name, if they name one.
    pub fn new(settings: &Settings) -> Self {
        Self {
            application: settings.application_metrics.clone(),
            pod: settings.pod.ips.clone(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    async fn fetch(
        &self,
        application: &ApplicationMetrics,
        asked: &HeaderMap,
        query: Option<&str>,
    ) -> Result<(Fetched, OwnedSemaphorePermit), Failure> {
        let deadline = Instant::now() + patience(asked);
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(Failure::Busy);
        };
        let accepted = Format::accepted(asked.get_all(ACCEPT).iter());
        let fetched = fetch::fetch(application, &self.pod, accepted, query, MOST_BYTES);
        let fetched = timeout_at(deadline, fetched)
            .await
            .unwrap_or(Err(Failure::TimedOut))?;
        exposition::check(&fetched.text, fetched.format)?;
        Ok((fetched, place))
    }

    /// The metrics of the sidecar and of the application. Without the latter, the sidecar's alone: what the application does
    /// must not hide what the mesh sees of it.
    ///
    /// # Errors
    /// When the sidecar's own cannot be written, which is a mistake in this program.
    pub async fn page(
        &self,
        metrics: &Metrics,
        asked: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Page, prometheus::Error> {
        let Some(application) = &self.application else {
            return alone(metrics);
        };
        match self.fetch(application, asked, query).await {
            Ok((Fetched { format, text }, place)) => {
                metrics.application.scraped("merged");
                let text = exposition::append(own(metrics, format)?, &text, format);
                Ok(Page {
                    format,
                    text: Bytes::from_owner(Held { text, _place: place }),
                })
            }
            Err(failure) => {
                let port = application.port;
                tracing::debug!(
                    port,
                    path = application.path,
                    "no metrics of the application: {failure}"
                );
                metrics.application.scraped(failure.outcome());
                alone(metrics)
            }
        }
    }
}

/// How long the scraper waits for the application's part of an answer: it tells how long it waits for the whole.
fn patience(asked: &HeaderMap) -> Duration {
    let told = asked.get("x-prometheus-scrape-timeout-seconds");
    let seconds = told.and_then(|told| told.to_str().ok()?.parse::<f64>().ok());
    let part = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds * 0.7).ok());
    part.map_or(PATIENCE, |part| part.min(PATIENCE))
}

/// The sidecar's metrics without those of the application.
fn alone(metrics: &Metrics) -> Result<Page, prometheus::Error> {
    let format = Format::Text;
    let text = own(metrics, format)?.into();
    Ok(Page { format, text })
}

fn own(metrics: &Metrics, format: Format) -> Result<Vec<u8>, prometheus::Error> {
    let text = metrics.text()?;
    Ok(match format {
        Format::Text => text,
        Format::OpenMetrics => exposition::as_open_metrics(&text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_gets_a_part_of_the_time_that_the_scraper_waits() {
        let told = |text: &str| {
            let mut asked = HeaderMap::new();
            asked.insert("x-prometheus-scrape-timeout-seconds", text.parse().unwrap());
            patience(&asked)
        };
        assert_eq!(patience(&HeaderMap::new()), PATIENCE);
        assert_eq!(told("10"), PATIENCE);
        assert_eq!(told("2"), Duration::from_millis(1400));
        for unusable in ["-1", "NaN", "inf", "soon"] {
            assert_eq!(told(unusable), PATIENCE, "{unusable}");
        }
    }
}
