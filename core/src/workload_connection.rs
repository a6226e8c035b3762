//! What a proxy and the operator say to each other.
//!
//! ```text
//! proxy                                             operator
//!   ── POST /v1/certificate {csr, token} (TLS) ───►  TokenReview, signs            plain HTTP/2 request and answer
//!   ◄─ {chain, issuer, bundle} ────────────────────
//!   ══ POST /v1/connect (mutual TLS), kept open ══►  one length-delimited stream of frames each way
//!   ── Hello ──────────────────────────────────────►
//!   ◄─ Bundle, Members, Policy, Locality ──────────  at once, and whenever they change; only the newest counts.
//!   ── Ack, Certificate, Learned ──────────────────►    A policy of the revision that Hello names is not sent
//!   ── Subscribe {add, remove} ────────────────────►  as destinations are used, and are no longer
//!   ◄─ Update ─────────────────────────────────────  for each resource at once, and whenever it changes
//! ```
//!
//! A frame is a length of four bytes, most significant first, and that many bytes of JSON: one
//! [`ProxyMessage`] or one [`OperatorMessage`]. Both ends ignore kinds of messages and fields that they do not know.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::endpoints::{Resource, Update};
use crate::members::Members;
use crate::name::ObjectRef;
use crate::revision::Revision;

/// Path that certificates are asked for at.
pub const CERTIFICATE_PATH: &str = "/v1/certificate";
/// Path of the stream.
pub const CONNECT_PATH: &str = "/v1/connect";
/// Bytes of a request for a certificate at most.
pub const MOST_REQUEST_BYTES: usize = 32 * 1024;
/// Resources that a proxy may be subscribed to at once; what it asks for beyond that is not told.
pub const MOST_RESOURCES: usize = 4096;
/// Objects that a proxy names as [`ProxyMessage::Learned`] at most. They fit into one frame, however long their names are.
pub const MOST_LEARNED: usize = 100;
/// Bytes of a frame of a proxy's at most, without its length; the operator ends a stream with a longer one. A long
/// [`Subscribe`] is said in several messages.
pub const MOST_PROXY_FRAME_BYTES: usize = 64 * 1024;
/// Bytes of a frame at most, without its length.
pub const MOST_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Silence after which the kernel of either end asks that of the other whether it is still there, in seconds.
pub const KEEPALIVE_AFTER: RangeInclusive<u64> = 6..=15;
/// How often it asks then.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// A peer whose kernel answers nothing, or takes nothing of what was sent, for so long is gone (`TCP_USER_TIMEOUT`,
/// tcp(7)).
pub const GONE_AFTER: Duration = Duration::from_secs(30);

/// How long a connection may be silent until its kernel asks: one of [`KEEPALIVE_AFTER`], by a `chance` of 0 to 1.
///
/// Thousands of connections fall silent at once, after a change that concerns all. If their kernel asked at once too, more
/// questions would be under way than the queues of a node hold, and peers that live would be given up.
pub fn keepalive_after(chance: f64) -> Duration {
    let (least, most) = (*KEEPALIVE_AFTER.start(), *KEEPALIVE_AFTER.end());
    let choices = Duration::from_secs(most - least + 1);
    // The kernel knows whole seconds only.
    let chosen = choices.mul_f64(chance.clamp(0.0, 1.0)).as_secs();
    Duration::from_secs((least + chosen).min(most))
}

/// A request for a certificate. The identity comes from the token alone: whatever the signing request says beside its
/// key is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRequest {
    /// PKCS #10 signing request, DER, in base64.
    pub csr: String,
    /// The pod's projected ServiceAccount token of our audience.
    pub token: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateResponse {
    /// The certificate, then the authorities between it and the root, PEM.
    pub chain: String,
    /// Which key signed it.
    pub issuer: KeyId,
    /// What to trust.
    pub bundle: TrustBundle,
}

/// Names a key by a hash of it: hexadecimal SHA-256 of its SubjectPublicKeyInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

/// Whom to trust. Lies beside the policy in the same ConfigMap, and comes over the stream sooner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustBundle {
    /// Place in the order of bundles; one with a lower number than that in force is ignored.
    pub generation: u64,
    /// Root certificates, PEM.
    pub roots: String,
    /// Which key signs certificates now. A proxy whose certificate another key signed asks for a new one.
    pub issuer: KeyId,
}

/// Where a proxy reaches the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEndpoint {
    /// Virtual addresses of its Service with the port.
    pub addresses: Vec<std::net::SocketAddr>,
    /// Whom the operator must prove to be.
    pub workload: crate::name::Workload,
}

/// What a proxy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyMessage {
    /// First of all: who this is and what it has.
    Hello(Hello),
    /// What became of something that it was given, over the stream or in its mount.
    Ack(Ack),
    /// It has a new certificate.
    Certificate(CertificateInfo),
    /// What it enforces now beyond its configuration: the objects whose routes it learned by looking up addresses, each
    /// with its generation. It replaces what was told before.
    Learned(Vec<ObjectRef>),
    /// What it wants to be told of, and what no longer. A new stream begins with nothing.
    Subscribe(Subscribe),
}

/// A change of what a proxy wants to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    /// From now on. One that is there already is told again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Resource>,
    /// No longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Resource>,
}

/// The beginning of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Version of the proxy.
    pub version: String,
    /// Name of its pod. Its namespace, account and UID stand in its certificate.
    pub pod: String,
    /// Name of its pod's node, if it knows; nothing but its [`Locality`] follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Generation of the bundle in force, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u64>,
    /// Revision of the configuration in force, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The certificate that it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateInfo>,
    /// As [`ProxyMessage::Learned`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learned: Vec<ObjectRef>,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateInfo {
    /// Which key signed it.
    pub issuer: KeyId,
    /// When it runs out, in seconds since the epoch.
    pub not_after: u64,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// Of what.
    pub subject: Subject,
    /// What.
    pub outcome: Outcome,
}

/// What is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A configuration.
    Revision(Revision),
    /// A bundle, by its generation.
    Bundle(u64),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is in force.
    Applied,
    /// The one before stays in force.
    Rejected {
        /// Path of the field; `.` for the whole.
        path: String,
        /// What is wrong there.
        reason: String,
    },
}

/// What the operator says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperatorMessage {
    /// Whom to trust from now on.
    Bundle(TrustBundle),
    /// The pods of every binding that the proxy's configuration names.
    Members(Members),
    /// The configuration, as it lies in the ConfigMap.
    Policy(Policy),
    /// What is known now of something that was subscribed to.
    Update(Update),
    /// Where the proxy's node is, once that is known.
    Locality(Locality),
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locality {
    /// Its zone. Endpoints that are meant for it are preferred ([`crate::Endpoint::for_zones`]).
    pub zone: Box<str>,
}

/// A configuration on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Its text.
    Text(String),
    /// The same, packed (see [`crate::packed`]), in base64.
    Packed(String),
}

/// A stream that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame above [`MOST_FRAME_BYTES`].
    #[error("a frame of {0} bytes; at most {MOST_FRAME_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON.
    #[error("a frame is not JSON: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A message as a frame.
///
/// # Errors
/// [`FrameError`] when it is too large.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, FrameError> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MOST_FRAME_BYTES)
        .ok_or(FrameError::TooLarge(body.len()))?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

/// Takes the next message out of what was received; `None` until it is complete. A message of a kind that is not known
/// here is skipped.
///
/// # Errors
/// [`FrameError`]; the stream cannot be read on then.
pub fn decode<T: for<'de> Deserialize<'de>>(received: &mut BytesMut) -> Result<Option<T>, FrameError> {
    loop {
        let Some(length) = received.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MOST_FRAME_BYTES {
            return Err(FrameError::TooLarge(length));
        }
        if received.len() < 4 + length {
            return Ok(None);
        }
        received.advance(4);
        let frame = received.split_to(length);
        if let Ok(message) = serde_json::from_slice(&frame) {
            return Ok(Some(message));
        }
        let value: serde_json::Value = serde_json::from_slice(&frame)?;
        // An older end skips what a newer one says: the same frame, well formed, of another kind.
        if let Ok(message) = serde_json::from_value(value) {
            return Ok(Some(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn connections_that_fall_silent_at_once_do_not_all_ask_at_once() {
        let thousand: Vec<u64> = (0..=1000)
            .map(|part| keepalive_after(f64::from(part) / 1000.0).as_secs())
            .collect();
        for second in KEEPALIVE_AFTER {
            let together = thousand.iter().filter(|one| **one == second).count();
            assert!(
                (99..=102).contains(&together),
                "{together} of 1001 after {second} s"
            );
        }
        assert!(thousand.iter().all(|one| KEEPALIVE_AFTER.contains(one)));
    }

    fn hello() -> ProxyMessage {
        ProxyMessage::Hello(Hello {
            version: "0.1.0".to_owned(),
            pod: "web-1".to_owned(),
            ..Hello::default()
        })
    }

    #[test]
    fn as_many_learned_objects_as_are_told_fit_into_a_frame() {
        let object = ObjectRef {
            kind: "HTTPRouteGroup".into(),
            namespace: "n".repeat(63).into(),
            name: "n".repeat(253).into(),
            generation: i64::MAX,
        };
        let message = ProxyMessage::Learned(vec![object; MOST_LEARNED]);
        assert!(encode(&message).unwrap().len() < MOST_PROXY_FRAME_BYTES);
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let ack = ProxyMessage::Ack(Ack {
            subject: Subject::Bundle(7),
            outcome: Outcome::Applied,
        });
        let mut bytes = encode(&hello()).unwrap().to_vec();
        bytes.extend(encode(&ack).unwrap());
        for size in 1..bytes.len() {
            let mut received = BytesMut::new();
            let mut messages: Vec<ProxyMessage> = Vec::new();
            for chunk in bytes.chunks(size) {
                received.extend_from_slice(chunk);
                while let Some(message) = decode(&mut received).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [hello(), ack.clone()]);
        }
    }

    #[test]
    fn a_message_of_a_later_version_is_skipped() {
        let mut received = BytesMut::from(&encode(&serde_json::json!({"teleport": {}})).unwrap()[..]);
        received.extend_from_slice(&encode(&hello()).unwrap());
        assert_eq!(decode::<ProxyMessage>(&mut received).unwrap(), Some(hello()));
    }

    #[test]
    fn a_frame_that_announces_too_much_ends_the_stream_before_anything_is_kept() {
        let mut received = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        assert!(matches!(
            decode::<ProxyMessage>(&mut received),
            Err(FrameError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode::<OperatorMessage>(&mut received) {}
        }
    }
}
