//! Where configurations lie: the mount that kubelet keeps, and the directory that the proxy keeps.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY};
use smilax_core::workload_connection::TrustBundle;

use crate::settings::ConfigLocation;

/// File of the last good configuration in the state directory.
const LAST_GOOD: &str = "last-good.json";
/// File of the trust bundle in force in the state directory.
const KEPT_BUNDLE: &str = "trust-bundle.json";
/// Bytes of a configuration at most: several times what a ConfigMap holds.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the configuration from where it lies.
///
/// # Errors
/// A reason for people.
pub fn read_from(location: &ConfigLocation) -> Result<Vec<u8>, String> {
    match location {
        ConfigLocation::File(file) => read(file),
        // kubelet removes what it has replaced, so a version may go while it is looked at; the next one is there then.
        ConfigLocation::Directory(directory) => {
            read_policy(&version_of(directory)).or_else(|_| read_policy(&version_of(directory)))
        }
    }
}

/// What one version of a mounted ConfigMap holds, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The policy, packed or not.
    pub policy: Vec<u8>,
    /// The trust bundle; empty when there is none.
    pub bundle: Vec<u8>,
    /// The signature of both; empty when there is none.
    pub signature: Vec<u8>,
}

/// Reads one version of a mounted ConfigMap.
///
/// # Errors
/// A reason for people.
pub fn read_mount(directory: &Path) -> Result<Mount, String> {
    let read = || {
        let version = version_of(directory);
        let optional = |key: &str| {
            let file = version.join(key);
            if file.exists() {
                read(&file)
            } else {
                Ok(Vec::new())
            }
        };
        Ok(Mount {
            bundle: optional(TRUST_BUNDLE_KEY)?,
            signature: optional(SIGNATURE_KEY)?,
            policy: read_policy(&version)?,
        })
    };
    // kubelet removes what it has replaced, so a version may go while it is looked at; the next one is there then.
    read().or_else(|_: String| read())
}

/// The trust bundle that lies beside the policy; nothing when there is none.
///
/// # Errors
/// The reason why it cannot be used.
pub fn read_bundle(directory: &Path) -> Result<Option<TrustBundle>, String> {
    let version = version_of(directory);
    let file = version.join(TRUST_BUNDLE_KEY);
    if !file.exists() {
        return Ok(None);
    }
    let content = read(&file)?;
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// Where one version of a mounted ConfigMap lies: kubelet swaps the `..data` link, and only then the links beside it.
fn version_of(directory: &Path) -> PathBuf {
    fs::canonicalize(directory.join("..data")).unwrap_or_else(|_| directory.to_owned())
}

fn read_policy(version: &Path) -> Result<Vec<u8>, String> {
    let packed = version.join(PACKED_POLICY_KEY);
    let plain = version.join(POLICY_KEY);
    if !plain.exists() && packed.exists() {
        return read(&packed);
    }
    read(&plain)
}

/// Reads a file; a reason for people when that is not possible.
///
/// # Errors
/// The reason.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let file = fs::File::open(path).map_err(told)?;
    let length = file.metadata().map_err(told)?.len();
    if length > MOST_BYTES {
        return Err(format!(
            "{} has {length} bytes; at most {MOST_BYTES} are read",
            path.display()
        ));
    }
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut content).map_err(told)?;
    Ok(content)
}

/// Where the last good configuration is kept.
pub fn last_good(state_directory: &Path) -> PathBuf {
    state_directory.join(LAST_GOOD)
}

/// Keeps the last good configuration, readable for the proxy alone. A crash leaves the old one or the new one.
///
/// # Errors
/// When the directory cannot be written.
pub fn save(state_directory: &Path, content: &[u8]) -> io::Result<()> {
    replace(&last_good(state_directory), content)
}

/// Keeps the trust bundle in force, for a restart while the mounted one is refused.
///
/// # Errors
/// When the directory cannot be written.
pub fn save_bundle(state_directory: &Path, bundle: &TrustBundle) -> io::Result<()> {
    replace(&state_directory.join(KEPT_BUNDLE), &serde_json::to_vec(bundle)?)
}

/// The trust bundle that a proxy of this pod kept before it ended.
///
/// # Errors
/// The reason why it cannot be used.
pub fn kept_bundle(state_directory: &Path) -> Result<TrustBundle, String> {
    let content = read(&state_directory.join(KEPT_BUNDLE))?;
    serde_json::from_slice(&content).map_err(|error| format!("{KEPT_BUNDLE}: {error}"))
}

/// Writes a file readable for the proxy alone. A crash leaves the old one or the new one.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(beside, path)
}
