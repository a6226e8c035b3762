//! A certificate authority for tests: a root, an issuer, and leaves as right or as wrong as a test needs them.

#![allow(
    dead_code,
    reason = "unit tests and tests of the whole proxy share it, and need different parts"
)]

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use smilax_core::convention::wire::{POD_UID_OID, POLICY_SIGNING_OID};
use smilax_core::signature::{self, Content, Digest, Signature, Signatures, Voucher};
use smilax_core::workload_connection::{KeyId, TrustBundle};
use smilax_core::{TrustDomain, Workload};
use time::{Duration, OffsetDateTime};

/// Who signs.
pub(crate) struct Authority {
    domain: String,
    root: Node,
    issuer: Node,
}

struct Node {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// What a leaf is to say.
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) pod_uid: Option<String>,
    /// Seconds from now.
    pub(crate) not_before: i64,
    /// Seconds from now.
    pub(crate) not_after: i64,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) is_ca: IsCa,
}

/// A leaf with its key.
pub(crate) struct Signed {
    /// The leaf, then its issuer.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    /// With keys of its own.
    pub(crate) fn new(domain: &str) -> Self {
        let root = Node::root();
        Self {
            domain: domain.to_owned(),
            issuer: Node::issuer(&root, BasicConstraints::Constrained(0)),
            root,
        }
    }

    /// Another mesh with the same root and issuer.
    pub(crate) fn with_domain(self, domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            ..self
        }
    }

    /// The same root, another issuer.
    pub(crate) fn with_new_issuer(self) -> Self {
        Self {
            issuer: Node::issuer(&self.root, BasicConstraints::Constrained(0)),
            ..self
        }
    }

    /// A good leaf of an account, written `namespace/account`.
    pub(crate) fn leaf(&self, account: &str) -> Signed {
        let (namespace, name) = account.split_once('/').unwrap();
        let uri = format!("spiffe://{}/ns/{namespace}/sa/{name}", self.domain);
        self.leaf_with(|leaf| leaf.uris = vec![uri])
    }

    /// A leaf of `shop/web` but for what is changed.
    pub(crate) fn leaf_with(&self, change: impl FnOnce(&mut Leaf)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = self.sign(&key, change);
        Signed {
            chain: vec![certificate, self.issuer.certificate.clone()],
            key,
        }
    }

    /// A leaf for a key of somebody else.
    pub(crate) fn sign(
        &self,
        key: &impl rcgen::PublicKeyData,
        change: impl FnOnce(&mut Leaf),
    ) -> CertificateDer<'static> {
        let mut leaf = Leaf::plain(&self.domain);
        change(&mut leaf);
        let issuer = Issuer::from_params(&self.issuer.params, &self.issuer.key);
        leaf.params().signed_by(key, &issuer).unwrap().into()
    }

    /// A leaf that another leaf has signed, with the whole chain.
    pub(crate) fn leaf_of_a_leaf(&self) -> Signed {
        let above = self.leaf_with(|_| {});
        let params = Leaf::plain(&self.domain).params();
        let issuer = Issuer::new(params, &above.key);
        let key = KeyPair::generate().unwrap();
        let certificate = Leaf::plain(&self.domain)
            .params()
            .signed_by(&key, &issuer)
            .unwrap();
        let mut chain = vec![certificate.into()];
        chain.extend(above.chain);
        Signed { chain, key }
    }

    /// A leaf whose issuer is one step further below the root than is allowed.
    pub(crate) fn leaf_below_a_second_issuer(&self) -> Signed {
        let second = Node::issuer(&self.issuer, BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&second.params, &second.key);
        let certificate = Leaf::plain(&self.domain)
            .params()
            .signed_by(&key, &issuer)
            .unwrap();
        Signed {
            chain: vec![
                certificate.into(),
                second.certificate,
                self.issuer.certificate.clone(),
            ],
            key,
        }
    }

    /// The text of a signature of what is mounted for a workload, with these vouchers.
    pub(crate) fn sign_mount(
        &self,
        account: &str,
        policy: &[u8],
        bundle: &[u8],
        vouchers: Vec<Voucher>,
    ) -> Vec<u8> {
        let (namespace, name) = account.split_once('/').unwrap();
        let workload = Workload::new(namespace, name);
        let content = Content {
            workload: &workload,
            policy: Digest::of(policy),
            bundle: Digest::of(bundle),
        };
        let signatures = Signatures {
            content: self.sign_statement(|domain, at| content.statement(domain, at)),
            vouchers,
        };
        serde_json::to_vec(&signatures).unwrap()
    }

    /// A voucher for other roots.
    pub(crate) fn vouch(&self, roots: Vec<KeyId>) -> Voucher {
        Voucher {
            signature: self.sign_statement(|domain, at| Voucher::statement(domain, &roots, at)),
            roots,
        }
    }

    fn sign_statement(&self, statement: impl Fn(&TrustDomain, u64) -> Vec<u8>) -> Signature {
        let domain = self.trust_domain();
        let signer = self.leaf_with(|leaf| {
            leaf.uris = vec![signature::signer_id(&domain)];
            leaf.usages = vec![ExtendedKeyUsagePurpose::Other(POLICY_SIGNING_OID.to_vec())];
        });
        let signed_at = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap();
        let value = signer.key.sign(&statement(&domain, signed_at)).unwrap();
        Signature {
            chain: signer.chain_pem() + &self.root_pem(),
            signed_at,
            value: STANDARD.encode(value),
        }
    }

    /// Its root as PEM.
    pub(crate) fn root_pem(&self) -> String {
        pem(&self.root.certificate)
    }

    /// Its issuer's certificate as PEM.
    pub(crate) fn issuer_pem(&self) -> String {
        pem(&self.issuer.certificate)
    }

    /// The domain that its leaves are of.
    pub(crate) fn trust_domain(&self) -> TrustDomain {
        self.domain.parse().unwrap()
    }

    /// A bundle of its root.
    pub(crate) fn bundle(&self, generation: u64) -> TrustBundle {
        Self::bundle_of(&[self], generation)
    }

    /// A bundle of several roots; the last one signs.
    pub(crate) fn bundle_of(authorities: &[&Self], generation: u64) -> TrustBundle {
        TrustBundle {
            generation,
            roots: authorities.iter().map(|authority| authority.root_pem()).collect(),
            issuer: authorities.last().unwrap().issuer_id(),
        }
    }

    pub(crate) fn root_id(&self) -> KeyId {
        self.root.id()
    }

    pub(crate) fn issuer_id(&self) -> KeyId {
        self.issuer.id()
    }
}

impl Node {
    fn root() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params("test root", BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().into();
        Self {
            params,
            key,
            certificate,
        }
    }

    fn issuer(above: &Self, constraints: BasicConstraints) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params("test issuer", constraints);
        let issuer = Issuer::from_params(&above.params, &above.key);
        let certificate = params.signed_by(&key, &issuer).unwrap().into();
        Self {
            params,
            key,
            certificate,
        }
    }

    fn id(&self) -> KeyId {
        let hash = digest(&SHA256, &self.key.subject_public_key_info());
        let mut text = String::new();
        for byte in hash.as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        KeyId(text)
    }
}

fn authority_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    let number = fastrand::u64(..);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("{name} {number}"));
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Leaf {
    /// As it should be.
    fn plain(domain: &str) -> Self {
        Self {
            uris: vec![format!("spiffe://{domain}/ns/shop/sa/web")],
            dns_names: vec![],
            pod_uid: None,
            not_before: -60,
            not_after: 24 * 3600,
            usages: vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
            is_ca: IsCa::ExplicitNoCa,
        }
    }

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::seconds(self.not_before);
        params.not_after = now + Duration::seconds(self.not_after);
        params.is_ca = self.is_ca;
        params.extended_key_usages = self.usages;
        params.subject_alt_names = self
            .uris
            .into_iter()
            .map(|uri| SanType::URI(uri.try_into().unwrap()))
            .chain(
                self.dns_names
                    .into_iter()
                    .map(|name| SanType::DnsName(name.try_into().unwrap())),
            )
            .collect();
        if let Some(uid) = self.pod_uid {
            let mut content = vec![0x0c, u8::try_from(uid.len()).unwrap()];
            content.extend_from_slice(uid.as_bytes());
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&POD_UID_OID, content));
        }
        params
    }
}

impl Signed {
    /// The key.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// The key as PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The chain as PEM.
    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(pem).collect()
    }
}

/// A certificate as PEM.
pub(crate) fn pem(certificate: &CertificateDer<'static>) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
