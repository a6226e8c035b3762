//! A root, an issuer, and identities of workloads, as the operator's authority makes them.

use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// A root and an issuer.
#[derive(Debug)]
pub struct Authority {
    root_pem: String,
    issuer_pem: String,
    issuer: CertificateParams,
    key: KeyPair,
}

impl Authority {
    /// With new keys.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new() -> anyhow::Result<Self> {
        let root_key = KeyPair::generate()?;
        let root = params("root", BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let issuer = params("issuer", BasicConstraints::Constrained(0));
        let by_root = Issuer::from_params(&root, &root_key);
        Ok(Self {
            root_pem: root.self_signed(&root_key)?.pem(),
            issuer_pem: issuer.signed_by(&key, &by_root)?.pem(),
            issuer,
            key,
        })
    }

    /// Writes `roots.pem`, and the identity of this account in the namespace `shop` as `ACCOUNT.pem` and `ACCOUNT.key`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path, account: &str) -> anyhow::Result<()> {
        let uri = format!("spiffe://cluster.local/ns/shop/sa/{account}");
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name = DistinguishedName::new();
        let now = OffsetDateTime::now_utc();
        leaf.not_before = now - Duration::minutes(1);
        leaf.not_after = now + Duration::hours(24);
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let chain = leaf
            .signed_by(&key, &Issuer::from_params(&self.issuer, &self.key))?
            .pem()
            + &self.issuer_pem;
        let files = [
            ("roots.pem".to_owned(), self.root_pem.clone()),
            (format!("{account}.pem"), chain),
            (format!("{account}.key"), key.serialize_pem()),
        ];
        for (name, content) in files {
            std::fs::write(folder.join(&name), content).context(name)?;
        }
        Ok(())
    }
}

fn params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}
