//! A mounted configuration that counts only with the signature of the mesh's authority.

use std::collections::BTreeSet;
use std::path::Path;

use smilax_core::Workload;
use smilax_core::signature::{Content, Digest, SignatureError, verify};
use smilax_core::workload_connection::{KeyId, TrustBundle};

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
        let mut source = control.source.lock();
        let (rejection, now) = (Rejection::Tampered(error), config_source::now());
        let step = source.refuse(mount.policy, rejection, Origin::Mount, now);
        reload::carry_out(control, &source, step, &from);
        return None;
    }
    reload::offer(control, Ok(mount.policy), Origin::Mount, &from);
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

/// Whether somebody trusted signed what is mounted, for this workload.
fn judge(mount: &Mount, workload: &Workload, trusted: &BTreeSet<KeyId>) -> Result<(), SignatureError> {
    let content = Content {
        workload,
        policy: Digest::of(&mount.policy),
        bundle: Digest::of(&mount.bundle),
    };
    verify(&content, &mount.signature, trusted).map(|_| ())
}

/// The roots in the pod's spec, and those of the bundle in force, which followed from them.
fn trusted(control: &Control) -> BTreeSet<KeyId> {
    let mut trusted = control.shared.settings.anchors.clone();
    if let Some(trust) = control.keyring.lock().trust() {
        trusted.extend(trust.roots().iter().cloned());
    }
    trusted
}
