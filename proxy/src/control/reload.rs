//! Reads what lies in files, takes what the operator sends, and puts it in force.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use smilax_core::workload_connection::{Policy, TrustBundle};
use smilax_core::{Resource, RouteTable};

use super::{Control, signed};
use crate::addresses::{Behind, Effect, kept};
use crate::config_source::{self, Origin, Source, Step};
use crate::identity::renewal;
use crate::operator_connection::interest;
use crate::pod;
use crate::settings::{ConfigLocation, Settings};

/// Begins with what a proxy of this pod kept before it ended: the last good configuration, if the mounted one is not
/// usable or is older, the trust bundle, and the certificate. The labels come first: what a configuration means depends on them.
pub fn begin(control: &Control) {
    if let Err(UnknownLabels) = read_labels(control) {
        return;
    }
    let state_directory = control.shared.settings.state_directory.as_deref();
    if let Some(saved) =
        state_directory.and_then(|directory| config_source::read(&config_source::last_good(directory)).ok())
    {
        match control
            .source
            .lock()
            .consider(Ok(saved), Origin::Kept, config_source::now())
        {
            Step::Apply(table) => {
                tracing::info!(revision = %table.revision, "the last good configuration is in force");
                put_in_force(control, *table);
            }
            Step::Reject(rejection) => tracing::warn!(%rejection, "the saved configuration is not usable"),
            Step::Unchanged | Step::RejectAgain | Step::Older => {}
        }
    }
    follow_domain(control);
    begin_bundle(control);
    begin_found(control);
    renewal::begin(control);
    again(control);
}

/// Begins with the trust bundle that was kept: the mounted one may be refused for what somebody wrote beside it.
fn begin_bundle(control: &Control) {
    let settings = &control.shared.settings;
    let (Some(directory), None) = (&settings.state_directory, &settings.trust_roots) else {
        return;
    };
    match config_source::kept_bundle(directory) {
        Ok(bundle) => control.offer_bundle(bundle, "a proxy of this pod before"),
        Err(error) => tracing::debug!(%error, "no trust bundle was kept"),
    }
}

/// Begins with the destinations that were found, and asks for them again as soon as somebody can answer.
fn begin_found(control: &Control) {
    let Some(directory) = &control.shared.settings.state_directory else {
        return;
    };
    let found = match kept::load(directory) {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "no destinations were kept");
            return;
        }
    };
    let used = found.iter().map(|(address, _)| Resource::Address(*address));
    let event = interest::Event::Used(used.collect());
    // Nobody is connected yet: there is nothing to say.
    control.interest.lock().step(event, control.started.elapsed());
    let answers = found.into_iter().map(|(address, behind)| (address, Some(behind)));
    take_answers(control, answers.collect());
}

/// Reads everything again that may have changed: labels, configuration, bundle, certificate.
pub fn again(control: &Control) {
    if let Err(UnknownLabels) = read_labels(control)
        && control.source.lock().applied().is_none()
    {
        return;
    }
    if let Some(directory) = signed_directory(&control.shared.settings) {
        let bundle = signed::read(control, directory);
        follow_domain(control);
        if let Some(bundle) = bundle {
            control.offer_bundle(bundle, "the mounted configuration");
        }
    } else {
        read_config(control);
        follow_domain(control);
        read_bundle(control);
    }
    renewal::read_files(control);
}

/// The directory of a configuration that counts only when it is signed.
fn signed_directory(settings: &Settings) -> Option<&Path> {
    match &settings.config {
        ConfigLocation::Directory(directory) if !settings.anchors.is_empty() => Some(directory),
        ConfigLocation::Directory(_) | ConfigLocation::File(_) => None,
    }
}

/// The pod's labels cannot be read. No configuration comes into force then: one that is meant for these pods alone would
/// be left out, and with it what it forbids.
struct UnknownLabels;

/// Reads the pod's labels, which people may change while it runs.
fn read_labels(control: &Control) -> Result<(), UnknownLabels> {
    let Some(file) = &control.shared.settings.labels else {
        return Ok(());
    };
    // Without Kubernetes there are no labels.
    if !file.exists() {
        return Ok(());
    }
    let read = config_source::read(file)
        .and_then(|content| String::from_utf8(content).map_err(|error| error.to_string()))
        .and_then(|text| pod::parse_labels(&text).map_err(|error| error.to_string()));
    match read {
        Ok(labels) => {
            if let Some(table) = control.source.lock().set_labels(labels) {
                tracing::info!("the pod's labels have changed");
                put_in_force(control, table);
            }
            Ok(())
        }
        Err(error) => {
            control.complain("the list of the pod's labels", file, &error);
            Err(UnknownLabels)
        }
    }
}

/// Accepts identities of the trust domain that the configuration names.
fn follow_domain(control: &Control) {
    let domain = control
        .source
        .lock()
        .applied()
        .map(|applied| applied.trust_domain.clone());
    if let Some(domain) = domain
        && control.keyring.lock().set_domain(&domain)
    {
        tracing::info!(%domain, "another trust domain is in force");
        control.publish();
    }
}

/// Reads whom to trust: from the directory of the configuration, or from a file of roots.
fn read_bundle(control: &Control) {
    let settings = &control.shared.settings;
    if let Some(roots) = &settings.trust_roots {
        let read = config_source::read(roots).map(|content| String::from_utf8_lossy(&content).into_owned());
        let known = control.keyring.lock().trust().map(|trust| trust.bundle.clone());
        let known = known.unwrap_or_default();
        match read {
            Ok(roots) if roots == known.roots => {}
            Ok(roots) => control.offer_bundle(
                TrustBundle {
                    generation: known.generation + 1,
                    roots,
                    ..known
                },
                "its file",
            ),
            Err(error) => control.complain("the roots", roots, &error),
        }
    } else if let ConfigLocation::Directory(directory) = &settings.config {
        match config_source::read_bundle(directory) {
            Ok(Some(bundle)) => control.offer_bundle(bundle, "the mounted configuration"),
            Ok(None) => {}
            Err(error) => control.complain("the trust bundle", directory, &error),
        }
    }
}

/// Decides about a configuration that the operator sent.
pub fn take_policy(control: &Control, policy: Policy) {
    let content = match policy {
        Policy::Text(text) => Ok(text.into_bytes()),
        Policy::Packed(packed) => base64::engine::general_purpose::STANDARD
            .decode(packed)
            .map_err(|error| format!("it is not base64: {error}")),
    };
    offer(control, content, Origin::Stream, "the operator");
    follow_domain(control);
}

/// Takes what the operator says of addresses; `None` forgets what it said.
pub fn take_answers(control: &Control, answers: Vec<(SocketAddr, Option<Behind>)>) {
    if answers.is_empty() {
        return;
    }
    let addresses = &control.shared.addresses;
    let (known, effect) = addresses.with(answers);
    if effect == Effect::Destinations {
        let found = known.values().filter_map(|behind| match behind {
            Behind::Destinations(destinations) => Some(Arc::clone(destinations)),
            Behind::Nothing | Behind::Pod(_) => None,
        });
        // Held until the table is swapped, so that no other one comes between.
        let mut source = control.source.lock();
        if let Some(table) = source.set_found(found.collect()) {
            control.shared.table.store(Arc::new(table));
        }
    }
    // As connections wait for it.
    addresses.publish(known);
    if effect == Effect::Destinations {
        // The operator wants to know.
        control.shared.changes.tell();
    }
    if effect == Effect::Destinations
        && let Some(directory) = &control.shared.settings.state_directory
        && let Err(error) = kept::save(directory, &addresses.shared().load())
    {
        tracing::warn!(directory = %directory.display(), %error, "cannot keep destinations for a restart");
    }
}

fn read_config(control: &Control) {
    let location = &control.shared.settings.config;
    let content = config_source::read_from(location);
    offer(
        control,
        content,
        Origin::Mount,
        &location.file().display().to_string(),
    );
}

/// Decides about a configuration, and puts it in force.
pub(super) fn offer(control: &Control, content: Result<Vec<u8>, String>, origin: Origin, from: &str) {
    // Held until the table is swapped, so that no other one comes between.
    let mut source = control.source.lock();
    let step = source.consider(content, origin, config_source::now());
    carry_out(control, &source, step, from);
}

/// Does what was decided, while the lock of the source is held.
pub(super) fn carry_out(control: &Control, source: &Source, step: Step, from: &str) {
    match step {
        Step::Unchanged | Step::RejectAgain => {}
        Step::Older => tracing::debug!(from, "a configuration is older than the one in force"),
        Step::Apply(table) => {
            tracing::info!(revision = %table.revision, from, "a configuration is in force");
            put_in_force(control, *table);
            if let (Some(directory), Some(applied)) =
                (&control.shared.settings.state_directory, source.applied())
                && let Err(error) = config_source::save(directory, &applied.content)
            {
                tracing::warn!(directory = %directory.display(), %error, "cannot keep the configuration for a restart");
            }
        }
        Step::Reject(rejection) => {
            control.shared.metrics.config_rejected(rejection.reason());
            let in_force = source.applied().map(|applied| applied.revision.to_string());
            tracing::warn!(
                from,
                %rejection,
                in_force = in_force.as_deref().unwrap_or("none"),
                "a configuration was refused"
            );
            // The operator wants to know.
            control.shared.changes.tell();
        }
    }
}

fn put_in_force(control: &Control, table: RouteTable) {
    control.shared.metrics.config_applied(table.revision);
    control.shared.table.store(Arc::new(table));
    control.shared.changes.tell();
}
