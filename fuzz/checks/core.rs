//! What must hold for any bytes that reach the core.

use smilax_core::signature::{self, Content, Digest, SignatureError, TrustDomains, Trusted};
use smilax_core::workload_connection::{self, OperatorMessage, ProxyMessage};
use smilax_core::{PodView, RouteTable, SpiffeId, TrustDomain, decode, host, packed, path};

/// What is read as a configuration is written and read as the same; lowering it takes or refuses it.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(config) = decode(bytes) else { return };
    let written = serde_json::to_vec(&config).expect("a configuration is written");
    assert_eq!(decode(&written).expect("and read again"), config);
    let _ = RouteTable::lower(&config, &PodView::default());
}

/// Frames are read alike however they are cut.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = read_frames::<ProxyMessage>([bytes].into_iter());
    let in_pieces = read_frames::<ProxyMessage>(bytes.chunks(usize::from(cut).max(1)));
    assert_eq!(whole, in_pieces);
    read_frames::<OperatorMessage>([bytes].into_iter());
}

fn read_frames<'a, T>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<T>
where
    T: for<'de> serde::Deserialize<'de>,
{
    let mut received = bytes::BytesMut::new();
    let mut messages = Vec::new();
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            match workload_connection::decode(&mut received) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

/// A path that is clear has no segment that another reader could resolve, however often it decodes and whether or not
/// it takes parameters out, and normalising it twice changes nothing.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else {
        return;
    };
    let normal = path::normalize(given);
    if path::check(given).is_err() {
        return;
    }
    assert_eq!(path::check(&normal), Ok(()));
    assert_eq!(path::normalize(&normal), normal);
    let mut decoded = percent_decoded(bytes);
    loop {
        resolves_to_itself(given, &decoded);
        let again = percent_decoded(&decoded);
        if again == decoded {
            return;
        }
        decoded = again;
    }
}

fn resolves_to_itself(given: &str, decoded: &[u8]) {
    assert!(!decoded.contains(&0) && !decoded.contains(&b'\\'));
    let segments: Vec<&[u8]> = decoded.split(|&byte| byte == b'/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        assert!(name != b"." && name != b"..", "{given:?}");
        let outer = index == 0 || index + 1 == segments.len();
        assert!(outer || !name.is_empty(), "{given:?}");
    }
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        // Numbers may have a sign, an encoding has none.
        let digits = after
            .get(..2)
            .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let pair = digits.and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) if byte == b'%' => {
                out.push(value);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

/// A Host names the destination that its full name names.
pub(crate) fn host(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(name) = host::destination(given, "shop", "cluster.local") else {
        return;
    };
    let full = format!("{}.{}.svc.cluster.local", name.name, name.namespace);
    assert_eq!(host::destination(&full, "elsewhere", "cluster.local"), Some(name));
}

/// An id prints as it was written, and one of ours is the id of its workload and of no other.
pub(crate) fn identity(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = given.parse::<TrustDomain>();
    let Ok(id) = given.parse::<SpiffeId>() else { return };
    assert_eq!(id.as_str(), given);
    if let Some(workload) = id.workload() {
        assert_eq!(SpiffeId::of(&id.trust_domain(), &workload), id);
    }
}

/// What unpacks is within the bound, and was announced as packed.
pub(crate) fn packed(bytes: &[u8]) {
    if packed::unpack(bytes).is_ok() {
        assert!(packed::is_packed(bytes));
    }
}

/// Nothing is proven for a workload that is not named in what was signed, whoever is trusted.
pub(crate) fn signature(bytes: &[u8]) {
    let web = smilax_core::Workload::new("shop", "web");
    let other = smilax_core::Workload::new("shop", "other");
    let content = |workload| Content {
        workload,
        policy: Digest::of(br#"{"revision":"3.7","workload":{"namespace":"shop","account":"web"}}"#),
        bundle: Digest::of(br#"{"generation":7,"roots":"","issuer":""}"#),
    };
    let trusting = |roots| Trusted {
        roots,
        trust_domains: TrustDomains::Any,
    };
    let trusted = trusting(signature::authorities(bytes));
    let nobody = trusting(std::collections::BTreeSet::new());
    assert!(signature::verify(&content(&web), bytes, &nobody).is_err());
    if let Ok(proof) = signature::verify(&content(&web), bytes, &trusted) {
        assert!(trusted.roots.is_subset(&proof.roots));
        assert_eq!(
            signature::verify(&content(&other), bytes, &trusted),
            Err(SignatureError::Content)
        );
    }
}
