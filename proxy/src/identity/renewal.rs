//! Has a certificate at all times: the one that was kept, then new ones from the operator.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smilax_core::Workload;
use smilax_core::workload_connection::OperatorEndpoint;
use tokio::time::{Instant, sleep};

use super::{kept, schedule};
use crate::config_source::now;
use crate::control::Control;
use crate::operator_connection::certificate::{Issued, fetch};
use crate::operator_connection::connect::Connect;
use crate::settings::IdentitySource;
use crate::tls::Trust;

/// The wall clock is looked at as often at least: it may be set, and the machine may have slept.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// What a request needs.
struct Means {
    endpoint: OperatorEndpoint,
    trust: Arc<Trust>,
    workload: Workload,
}

/// Uses the certificate that a proxy of this pod kept before it ended, if it is still good.
pub fn begin(control: &Control) {
    let settings = &control.shared.settings;
    let (IdentitySource::Operator { .. }, Some(directory)) = (&settings.identity, &settings.state_directory)
    else {
        return;
    };
    match kept::load(directory) {
        Ok(credentials) if credentials.not_after <= now() => {
            control.keyring.lock().had_one();
            tracing::warn!(
                not_after = credentials.not_after,
                "the certificate that was kept ran out"
            );
        }
        Ok(credentials) => control.install(credentials),
        Err(error) => tracing::debug!(%error, "no certificate was kept"),
    }
}

/// Uses the key and the certificate that lie in files, whenever they are others than those in use.
pub fn read_files(control: &Control) {
    let IdentitySource::Files { key, chain } = &control.shared.settings.identity else {
        return;
    };
    match kept::read(key, chain) {
        Ok(credentials) => {
            let known = control.keyring.lock().own().cloned();
            if !known.is_some_and(|known| known.is_same_certificate(&credentials)) {
                control.install(credentials);
            }
        }
        Err(error) => control.complain("the certificate", chain, &error.to_string()),
    }
}

/// Asks for certificates for as long as this runs.
pub async fn renew_forever(control: Arc<Control>, network: impl Connect) {
    let IdentitySource::Operator { token } = &control.shared.settings.identity else {
        return;
    };
    let mut changes = control.shared.changes.watch();
    let mut dice = fastrand::f64();
    let mut failures = 0;
    let mut not_before = Instant::now();
    let mut outdated_since: Option<Instant> = None;
    loop {
        changes.borrow_and_update();
        let Some(means) = means(&control) else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let in_use = control.keyring.lock().in_use();
        outdated_since = is_outdated(&control).then(|| outdated_since.unwrap_or_else(Instant::now));
        let outdated_for = outdated_since.map(|since| since.elapsed());
        let wait = schedule::wait(in_use.as_ref(), outdated_for, now(), dice);
        let wait = wait.max(not_before.saturating_duration_since(Instant::now()));
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = sleep(wait.min(LOOK_AGAIN)) => {}
                more = changes.changed() => if more.is_err() { return },
            }
            continue;
        }
        match renew(&control, &means, token, &network).await {
            Ok(()) => {
                dice = fastrand::f64();
                // One that is outdated at once is no success: the operator still signs with the key before.
                failures = if is_outdated(&control) { failures + 1 } else { 0 };
            }
            Err(retry_after) => {
                failures += 1;
                not_before = Instant::now() + retry_after;
            }
        }
        if failures > 0 {
            not_before = not_before.max(Instant::now() + schedule::pause(failures, fastrand::f64()));
        }
    }
}

fn means(control: &Control) -> Option<Means> {
    let endpoint = control.source.lock().applied()?.operator.clone()?;
    let workload = control.shared.table.load().workload.clone()?;
    let trust = Arc::clone(control.keyring.lock().trust()?);
    Some(Means {
        endpoint,
        trust,
        workload,
    })
}

/// Whether the certificate in use is signed by another key than the bundle names, or is of another trust domain than
/// the configuration names.
fn is_outdated(control: &Control) -> bool {
    let keyring = control.keyring.lock();
    let (Some(own), Some(in_use), Some(trust)) = (keyring.own(), keyring.in_use(), keyring.trust()) else {
        return false;
    };
    schedule::is_outdated(&in_use, &trust.bundle.issuer) || own.identity.id.trust_domain() != trust.domain
}

/// One request; after a failure, how long the operator asks to be left alone.
async fn renew(
    control: &Control,
    means: &Means,
    token: &Path,
    network: &impl Connect,
) -> Result<(), Duration> {
    let metrics = &control.shared.metrics.identity;
    match fetch(&means.endpoint, &means.trust, &means.workload, token, network).await {
        Ok(issued) => {
            metrics.renewed("success");
            take(control, issued);
            Ok(())
        }
        Err(error) => {
            metrics.renewed(error.reason());
            tracing::warn!(%error, "no certificate was given; it is asked for again");
            Err(error.retry_after().unwrap_or_default())
        }
    }
}

fn take(control: &Control, issued: Issued) {
    let Issued {
        credentials,
        key,
        response,
    } = issued;
    if let Some(directory) = &control.shared.settings.state_directory
        && let Err(error) = kept::save(directory, &key.der(), &response.chain)
    {
        tracing::warn!(directory = %directory.display(), %error, "cannot keep the certificate for a restart");
    }
    control.offer_bundle(response.bundle, "the operator");
    control.install(credentials);
}
