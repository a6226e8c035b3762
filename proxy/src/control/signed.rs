//! A mounted configuration that counts only with the signature of the mesh's authority.

use std::collections::BTreeSet;
use std::path::Path;

use smilax_core::Workload;
use smilax_core::signature::{Content, Digest, SignatureError, TrustDomains, Trusted, verify};
use smilax_core::workload_connection::TrustBundle;

use super::{Control, reload};
use crate::config_source::{self, Mount, Origin, Rejection};

/// Reads the mount, and takes all of it or nothing. Gives the bundle, to be used once the policy is in force.
pub(super) fn read(control: &Control, directory: &Path) -> Option<TrustBundle> {
    let from = directory.display().to_string();
    let mount = match config_source::read_mount(directory) {
        Ok(mount) => mount,
        Err(reason) => {
            reload::offer(control, Err(reason), Origin::Mount, &from);
            return None;
        }
    };
    let pod = &control.shared.settings.pod;
    let workload = Workload::new(pod.namespace.as_str(), pod.account.as_str());
    if let Err(error) = judge(&mount, &workload, &trusted(control)) {
        refuse(control, mount, Rejection::Tampered(error), &from);
        return None;
    }
    let bundle = bundle(control, &mount, directory);
    if let Some(bundle) = &bundle {
        let step = control.source.lock().consider_bundle(bundle.generation);
        if let Err(rejection) = step {
            refuse(control, mount, rejection, &from);
            return None;
        }
    }
    reload::offer(control, Ok(mount.policy), Origin::Mount, &from);
    bundle
}

fn bundle(control: &Control, mount: &Mount, directory: &Path) -> Option<TrustBundle> {
    if mount.bundle.is_empty() {
        return None;
    }
    match serde_json::from_slice(&mount.bundle) {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            control.complain("the trust bundle", directory, &error.to_string());
            None
        }
    }
}

/// Takes nothing of the mount.
fn refuse(control: &Control, mount: Mount, rejection: Rejection, from: &str) {
    let mut source = control.source.lock();
    let step = source.refuse(mount.policy, rejection, Origin::Mount, config_source::now());
    reload::carry_out(control, &source, step, from);
}

/// Whether somebody trusted signed what is mounted, for this workload.
fn judge(mount: &Mount, workload: &Workload, trusted: &Trusted) -> Result<(), SignatureError> {
    let content = Content {
        workload,
        policy: Digest::of(&mount.policy),
        bundle: Digest::of(&mount.bundle),
    };
    verify(&content, &mount.signature, trusted).map(|_| ())
}

/// What the pod's spec names, and what followed from it: the roots of the bundle in force, and the trust domain of the
/// configuration in force.
fn trusted(control: &Control) -> Trusted {
    let settings = &control.shared.settings;
    let mut roots = settings.anchors.clone();
    if let Some(trust) = control.keyring.lock().trust() {
        roots.extend(trust.roots().iter().cloned());
    }
    let source = control.source.lock();
    let in_force = source.applied().map(|applied| &applied.trust_domain);
    let known: BTreeSet<_> = settings.trust_domain.iter().chain(in_force).cloned().collect();
    let trust_domains = if known.is_empty() {
        TrustDomains::Any
    } else {
        TrustDomains::Only(known)
    };
    Trusted { roots, trust_domains }
}
