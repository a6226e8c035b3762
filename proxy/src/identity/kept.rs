//! Key and certificate in the state directory, which lies in the pod's memory: a proxy that starts again needs nobody.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::tls::{Credentials, CredentialsError};

/// File of the key.
const KEY: &str = "identity.key";
/// File of the certificate and those above it.
const CHAIN: &str = "identity.pem";
/// What is put behind the name of a file that is not in use yet.
const NEW: &str = ".new";
/// Bytes of a file at most.
const MOST_BYTES: u64 = 64 * 1024;

/// A key and a certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is not there, or not readable.
    #[error("{file} cannot be read: {error}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Not a key.
    #[error("{file} holds no private key in PEM: {reason}")]
    Key {
        /// Which.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// They do not belong together.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Keeps a key and its chain, readable for the proxy alone. Whenever this is cut short, [`load`] finds the old pair or
/// the new one.
///
/// # Errors
/// When the directory cannot be written.
pub fn save(directory: &Path, key: &PrivateKeyDer<'_>, chain: &str) -> io::Result<()> {
    let encoded = Zeroizing::new(STANDARD.encode(key.secret_der()));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + 128));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap_or_default());
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    write(directory, KEY, text.as_bytes())?;
    write(directory, CHAIN, chain.as_bytes())?;
    for name in [KEY, CHAIN] {
        fs::rename(directory.join(format!("{name}{NEW}")), directory.join(name))?;
    }
    Ok(())
}

/// What was kept.
///
/// # Errors
/// [`LoadError`].
pub fn load(directory: &Path) -> Result<Credentials, LoadError> {
    let key = directory.join(KEY);
    read(&key, &directory.join(CHAIN)).or_else(|error| {
        // It ended between the two renamings: the new chain still has its other name.
        read(&key, &directory.join(format!("{CHAIN}{NEW}"))).map_err(|_| error)
    })
}

/// A key and a chain out of two files.
///
/// # Errors
/// [`LoadError`].
pub fn read(key: &Path, chain: &Path) -> Result<Credentials, LoadError> {
    let content = Zeroizing::new(bytes(key)?);
    let parsed = PrivateKeyDer::from_pem_slice(&content).map_err(|error| LoadError::Key {
        file: key.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(Credentials::new(&Zeroizing::new(parsed), &bytes(chain)?)?)
}

fn bytes(path: &Path) -> Result<Vec<u8>, LoadError> {
    let read = || {
        let file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        if length > MOST_BYTES {
            return Err(io::Error::other(format!(
                "{length} bytes; at most {MOST_BYTES} are read"
            )));
        }
        let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut content)?;
        Ok(content)
    };
    read().map_err(|error| LoadError::Unreadable {
        file: path.display().to_string(),
        error,
    })
}

fn write(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = directory.join(format!("{name}{NEW}"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::tls::testing::{Authority, Signed};

    fn keep(directory: &Path, signed: &Signed) {
        save(directory, &signed.key(), &signed.chain_pem()).unwrap();
    }

    #[test]
    fn what_was_kept_last_is_found_and_readable_for_the_proxy_alone() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("cluster.local");
        keep(directory.path(), &authority.leaf("shop/old"));
        keep(directory.path(), &authority.leaf("shop/new"));
        let found = load(directory.path()).unwrap();
        assert_eq!(found.identity.workload.unwrap().to_string(), "shop/new");
        for file in fs::read_dir(directory.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_proxy_that_ended_between_the_two_files_finds_a_pair() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("cluster.local");
        keep(directory.path(), &authority.leaf("shop/new"));
        let path = |name: &str| directory.path().join(name);
        fs::rename(path(CHAIN), path("identity.pem.new")).unwrap();
        fs::write(path(CHAIN), authority.leaf("shop/old").chain_pem()).unwrap();
        let found = load(directory.path()).unwrap();
        assert_eq!(found.identity.workload.unwrap().to_string(), "shop/new");
    }

    #[test]
    fn nothing_kept_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("identity.key cannot be read"), "{error}");
    }
}
