//! What a certificate says, as far as a mesh needs it.
//!
//! Chains are verified by webpki. This reads what webpki does not tell: URIs as they stand there, the pod, and times.

use aws_lc_rs::digest::{SHA256, digest};
use smilax_core::convention::wire::POD_UID_OID;
use smilax_core::hex::hex;
use smilax_core::workload_connection::KeyId;

use super::der::{self, Element, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, UTF8_STRING};

/// subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// extKeyUsage, 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// uniformResourceIdentifier among the GeneralNames (RFC 5280 section 4.2.1.6).
const URI: u8 = 0x86;
/// Extensions that are looked at; no certificate has as many.
const MOST_EXTENSIONS: usize = 64;
/// Longest UID of a pod in bytes.
const LONGEST_UID: usize = 64;

/// Fields of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    /// Name of who issued it, DER.
    pub(crate) issuer: &'a [u8],
    /// Name of whom it is about, DER.
    pub(crate) subject: &'a [u8],
    /// From when it is valid, in seconds since the epoch.
    pub(crate) not_before: u64,
    /// Until when.
    pub(crate) not_after: u64,
    /// Its key: SubjectPublicKeyInfo, DER.
    pub(crate) key: &'a [u8],
    /// Every URI among its names, byte for byte.
    pub(crate) uris: Vec<&'a [u8]>,
    /// Whether it says what it may be used for.
    pub(crate) limits_its_use: bool,
    /// UID of its pod.
    pub(crate) pod_uid: Option<&'a str>,
}

/// Not a certificate of the form that a mesh has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a well-formed certificate: {0}")]
pub struct Malformed(&'static str);

impl<'a> Fields<'a> {
    /// Reads a certificate (RFC 5280 section 4.1).
    ///
    /// # Errors
    /// [`Malformed`] with the part that is not of its form.
    pub(crate) fn read(certificate: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(certificate);
        let whole = outer.expect(SEQUENCE).ok_or(Malformed("certificate"))?;
        let body = whole
            .inner()
            .expect(SEQUENCE)
            .filter(|_| outer.is_at_end())
            .ok_or(Malformed("tbsCertificate"))?;
        let mut body = body.inner();
        body.expect(0xa0).ok_or(Malformed("version"))?;
        body.expect(der::INTEGER).ok_or(Malformed("serialNumber"))?;
        body.expect(SEQUENCE).ok_or(Malformed("signature"))?;
        let issuer = body.expect(SEQUENCE).ok_or(Malformed("issuer"))?;
        let validity = body.expect(SEQUENCE).ok_or(Malformed("validity"))?;
        let subject = body.expect(SEQUENCE).ok_or(Malformed("subject"))?;
        let key = body.expect(SEQUENCE).ok_or(Malformed("subjectPublicKeyInfo"))?;
        let mut times = validity.inner();
        let mut time = || {
            times
                .any()
                .as_ref()
                .and_then(der::time)
                .ok_or(Malformed("validity"))
        };
        let mut fields = Self {
            issuer: issuer.whole,
            subject: subject.whole,
            not_before: time()?,
            not_after: time()?,
            key: key.whole,
            uris: Vec::new(),
            limits_its_use: false,
            pod_uid: None,
        };
        while let Some(element) = body.any() {
            if element.tag == 0xa3 {
                fields.read_extensions(&element)?;
            }
        }
        Ok(fields)
    }

    fn read_extensions(&mut self, element: &Element<'a>) -> Result<(), Malformed> {
        let broken = Malformed("extensions");
        let mut extensions = element.inner().expect(SEQUENCE).ok_or(broken)?.inner();
        let pod_uid = der::object_identifier(&POD_UID_OID);
        for _ in 0..MOST_EXTENSIONS {
            if extensions.is_at_end() {
                return Ok(());
            }
            let mut extension = extensions.expect(SEQUENCE).ok_or(broken)?.inner();
            let id = extension.expect(OBJECT_IDENTIFIER).ok_or(broken)?;
            extension.optional(0x01);
            let value = extension.expect(OCTET_STRING).ok_or(broken)?;
            match id.content {
                SUBJECT_ALT_NAME => self.read_names(&value)?,
                EXTENDED_KEY_USAGE => self.limits_its_use = true,
                id if id == pod_uid => self.read_pod(&value)?,
                _ => {}
            }
        }
        Err(broken)
    }

    fn read_names(&mut self, value: &Element<'a>) -> Result<(), Malformed> {
        let broken = Malformed("subjectAltName");
        let mut names = value.inner().expect(SEQUENCE).ok_or(broken)?.inner();
        while !names.is_at_end() {
            let name = names.any().ok_or(broken)?;
            if name.tag == URI {
                self.uris.push(name.content);
            }
        }
        Ok(())
    }

    fn read_pod(&mut self, value: &Element<'a>) -> Result<(), Malformed> {
        let broken = Malformed("the pod's UID");
        let mut content = value.inner();
        let text = content.expect(UTF8_STRING).ok_or(broken)?.content;
        let plain = text.iter().all(u8::is_ascii_graphic);
        if self.pod_uid.is_some()
            || !content.is_at_end()
            || !plain
            || !(1..=LONGEST_UID).contains(&text.len())
        {
            return Err(broken);
        }
        self.pod_uid = Some(std::str::from_utf8(text).map_err(|_| broken)?);
        Ok(())
    }
}

/// Names the key of a SubjectPublicKeyInfo.
pub(crate) fn key_id(subject_public_key_info: &[u8]) -> KeyId {
    KeyId(hex(digest(&SHA256, subject_public_key_info).as_ref()))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::{Authority, Leaf};

    fn leaf(change: impl FnOnce(&mut Leaf)) -> Vec<u8> {
        Authority::new("cluster.local").leaf_with(change).chain[0].to_vec()
    }

    #[test]
    fn the_identity_the_pod_and_the_times_are_read() {
        let certificate = leaf(|leaf| leaf.pod_uid = Some("7b3c".to_owned()));
        let fields = Fields::read(&certificate).unwrap();
        assert_eq!(fields.uris, [b"spiffe://cluster.local/ns/shop/sa/web"]);
        assert_eq!(fields.pod_uid, Some("7b3c"));
        assert!(fields.limits_its_use);
        assert_eq!(fields.not_after - fields.not_before, 24 * 3600 + 60);
    }

    #[test]
    fn every_uri_is_seen() {
        let certificate = leaf(|leaf| {
            leaf.uris = vec![
                "spiffe://cluster.local/ns/a/sa/b".to_owned(),
                "https://x/".to_owned(),
            ];
        });
        assert_eq!(Fields::read(&certificate).unwrap().uris.len(), 2);
    }

    #[test]
    fn a_key_is_named_by_its_hash() {
        assert_eq!(
            key_id(b"").0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Fields::read(&bytes);
        }

        #[test]
        fn a_damaged_certificate_never_yields_more_than_it_holds(position in 0usize..600, byte: u8, cut in 0usize..700) {
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| leaf(|leaf| leaf.pod_uid = Some("7b3c".to_owned())));
            let mut certificate = WHOLE.clone();
            if let Some(place) = certificate.get_mut(position) {
                *place = byte;
            }
            certificate.truncate(cut);
            if let Ok(fields) = Fields::read(&certificate) {
                let held: usize = fields.uris.iter().map(|uri| uri.len()).sum();
                prop_assert!(held <= certificate.len());
            }
        }
    }
}
