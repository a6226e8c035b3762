//! Access to the API server: what falls silent is given up, and who asks to be left alone for a while is.

use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use self::retry_after::RetryAfterLayer;
use crate::watch_backoff::WATCH_TIMEOUT;

mod retry_after;

/// How long an answer may take to begin. An API server that has too much to do says so within 15 s.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long an answer that has begun may fall silent: longer than a watch may.
const GOES_ON_WITHIN: Duration = Duration::from_secs(WATCH_TIMEOUT as u64 + 15);

/// Access as a pod has it, or by KUBECONFIG.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await.context(
        "no access to a cluster: run in a pod with a ServiceAccount, or set KUBECONFIG to a kubeconfig file",
    )?;
    by(config)
}

fn by(mut config: Config) -> anyhow::Result<Client> {
    // Every write has its own timeout and its own way of coming back; retries below it would only hide an outage.
    config.default_retry = false;
    // A connection that died without a word would hold a list for a quarter of an hour, and all that follows from it.
    config.connect_timeout = Some(ANSWERS_WITHIN);
    config.read_timeout = Some(GOES_ON_WITHIN);
    let builder = ClientBuilder::try_from(config).context("the kubeconfig cannot be used")?;
    let builder = builder.with_layer(&TimeoutLayer::new(ANSWERS_WITHIN));
    Ok(builder.with_layer(&RetryAfterLayer).build())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use kube::api::ListParams;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_answer_does_not_come_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", silent.local_addr().unwrap());
        let api = Api::<Namespace>::all(by(Config::new(address.parse().unwrap())).unwrap());
        let start = Instant::now();
        assert!(api.list(&ListParams::default()).await.is_err());
        assert!(
            start.elapsed() <= ANSWERS_WITHIN + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}
