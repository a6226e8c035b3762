//! What `/metrics` answers: the sidecar's metrics, and behind them those of the application, so that one scrape of the pod
//! finds both.
//!
//! ```text
//! Prometheus ─► port 15020 ─► [`fetch`]: the application, on loopback ─► [`exposition`]: judged ─► behind the sidecar's own
//!                                    └─ failed, slow, too large, unreadable: counted; the sidecar's own alone ─┘
//! ```
//!
//! Both parts are shared by whoever asks within a second, and few of each exist at a time ([`shelf`]): a part may have
//! megabytes, and anybody may ask for it and not read it.

mod exposition;
mod fetch;
mod sheet;
mod shelf;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HeaderMap};
use smilax_core::application_metrics::ApplicationMetrics;
use tokio::time::{Instant, timeout, timeout_at};

use self::shelf::Shelf;
use crate::metrics::Metrics;
use crate::settings::Settings;
pub use exposition::Format;
use exposition::Malformed;
pub use sheet::{Reader, Sheet};

/// How long the application may take. Prometheus waits for 10 s unless told otherwise, and drops what comes later.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the application's metrics at most.
const MOST_BYTES: usize = 4 << 20;
/// Bytes of the parameters of a scrape at most: they are held until the application has answered.
const MOST_QUERY: usize = 2 << 10;
/// The sidecar's parts that exist at a time: one that is current, and some that are still read.
const OWN_PLACES: usize = 3;
/// The application's that exist at a time, of those that were asked for without parameters. Prometheus sends none unless
/// it is told to, so whoever makes up parameters is not in its way.
const USUAL_PLACES: usize = 3;
/// The same with parameters, whatever they are.
const PARTICULAR_PLACES: usize = 2;

/// Makes what `/metrics` answers.
#[derive(Debug)]
pub struct Scraper {
    metrics: Arc<Metrics>,
    application: Option<Arc<Application>>,
    own: Arc<Shelf<Format>>,
    usual: Arc<Shelf<Format>>,
    particular: Arc<Shelf<(Format, String)>>,
}

#[derive(Debug)]
struct Application {
    metrics: ApplicationMetrics,
    pod: Vec<IpAddr>,
}

/// What `/metrics` answers.
#[derive(Debug)]
pub struct Page {
    /// Form that it is written in.
    pub format: Format,
    /// The sidecar's part, and that of the application.
    pub parts: Vec<Arc<Sheet>>,
}

/// Why an answer holds no metrics of the application.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Too many others are answered.
    #[error("others are being answered")]
    Busy,
    /// The scrape has more parameters than are passed on.
    #[error("its parameters have more than {MOST_QUERY} bytes")]
    QueryTooLong,
    /// It took too long.
    #[error("no complete answer in time")]
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
    /// The sidecar's own cannot be written, which is a mistake in this program.
    #[error(transparent)]
    Own(#[from] prometheus::Error),
}

impl Failure {
    /// Its value of the label `outcome`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Busy | Self::Own(_) => "busy",
            Self::QueryTooLong => "query_too_long",
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

impl Scraper {
    /// For the application that the settings name, if they name one.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        let keep = settings.limits.scrape_shared;
        Self {
            metrics,
            application: settings.application_metrics.clone().map(|metrics| {
                Arc::new(Application {
                    metrics,
                    pod: settings.pod.ips.clone(),
                })
            }),
            own: Shelf::new(OWN_PLACES, keep),
            usual: Shelf::new(USUAL_PLACES, keep),
            particular: Shelf::new(PARTICULAR_PLACES, keep),
        }
    }

    /// The metrics of the sidecar and of the application. Without the latter, the sidecar's alone: what the application does
    /// must not hide what the mesh sees of it.
    ///
    /// # Errors
    /// When the sidecar's own cannot be written, or no place for it becomes free.
    pub async fn page(&self, asked: &HeaderMap, query: Option<&str>) -> Result<Page, Arc<Failure>> {
        let Some(application) = &self.application else {
            return self.alone().await;
        };
        match self.of_application(application, asked, query).await {
            Ok(part) => {
                self.metrics.application.scraped("merged");
                let own = self.own(part.format).await?;
                Ok(Page {
                    format: part.format,
                    parts: vec![own, part],
                })
            }
            Err(failure) => {
                let ApplicationMetrics { port, path, .. } = &application.metrics;
                tracing::debug!(port, path, "no metrics of the application: {failure}");
                self.metrics.application.scraped(failure.outcome());
                self.alone().await
            }
        }
    }

    async fn of_application(
        &self,
        application: &Arc<Application>,
        asked: &HeaderMap,
        query: Option<&str>,
    ) -> shelf::Outcome {
        if query.is_some_and(|query| query.len() > MOST_QUERY) {
            return Err(Arc::new(Failure::QueryTooLong));
        }
        let accepted = Format::accepted(asked.get_all(ACCEPT).iter());
        let fetched = || {
            let (application, query) = (Arc::clone(application), query.map(str::to_owned));
            async move { application.fetch(accepted, query.as_deref()).await }
        };
        let part = async {
            match query {
                None => self.usual.get(&accepted, fetched).await,
                Some(query) => {
                    let key = (accepted, query.to_owned());
                    self.particular.get(&key, fetched).await
                }
            }
        };
        let deadline = Instant::now() + patience(asked);
        let part = timeout_at(deadline, part).await;
        part.unwrap_or_else(|_| Err(Arc::new(Failure::TimedOut)))
    }

    async fn alone(&self) -> Result<Page, Arc<Failure>> {
        let own = self.own(Format::Text).await?;
        Ok(Page {
            format: own.format,
            parts: vec![own],
        })
    }

    async fn own(&self, format: Format) -> shelf::Outcome {
        let metrics = || {
            let metrics = Arc::clone(&self.metrics);
            async move {
                let text = metrics.text()?;
                Ok(match format {
                    Format::Text => (format, text),
                    Format::OpenMetrics => (format, exposition::as_open_metrics(&text)),
                })
            }
        };
        self.own.get(&format, metrics).await
    }
}

impl Application {
    async fn fetch(&self, accepted: Format, query: Option<&str>) -> Result<(Format, Vec<u8>), Failure> {
        let fetched = fetch::fetch(&self.metrics, &self.pod, accepted, query, MOST_BYTES);
        let fetched = timeout(PATIENCE, fetched)
            .await
            .unwrap_or(Err(Failure::TimedOut))?;
        exposition::check(&fetched.text, fetched.format)?;
        Ok((fetched.format, exposition::behind(&fetched.text, fetched.format)))
    }
}

/// How long the scraper waits for the application's part of an answer: it tells how long it waits for the whole.
fn patience(asked: &HeaderMap) -> Duration {
    let told = asked.get("x-prometheus-scrape-timeout-seconds");
    let seconds = told.and_then(|told| told.to_str().ok()?.parse::<f64>().ok());
    let part = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds * 0.7).ok());
    part.map_or(PATIENCE, |part| part.min(PATIENCE))
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
