//! Headers that say who somebody is. What comes from outside is taken away, in every spelling that some application
//! reads as the same: to CGI (RFC 3875 section 4.1.18) and what descends from it, everything in a name that is neither
//! letter nor digit is `_`.

use http::HeaderMap;
use http::header::HeaderName;
use smilax_core::convention::wire;
use smilax_core::spelling;

use crate::access::IdentityHeaders;

const IDENTITY: HeaderName = HeaderName::from_static(wire::CLIENT_IDENTITY_HEADER);
const CERTIFICATE: HeaderName = HeaderName::from_static(wire::CLIENT_CERTIFICATE_HEADER);
const FORM: HeaderName = HeaderName::from_static(wire::FORM_HEADER);
const OURS: [HeaderName; 3] = [IDENTITY, CERTIFICATE, FORM];

/// Takes away what only proxies may say, and what some applications could take for it.
pub fn strip(headers: &mut HeaderMap) {
    // Such headers are rare, so nothing is kept of the names until one is found.
    while let Some(twin) = headers.keys().find(|name| is_twin(name)).cloned() {
        headers.remove(twin);
    }
}

/// Tells the application who calls.
pub fn add(headers: &mut HeaderMap, caller: &IdentityHeaders) {
    headers.insert(IDENTITY, caller.identity.clone());
    headers.insert(CERTIFICATE, caller.certificate.clone());
}

/// Whether a name is one of ours, or becomes the same variable of CGI.
fn is_twin(name: &HeaderName) -> bool {
    let name = name.as_str();
    OURS.iter()
        .any(|ours| name.len() == ours.as_str().len() && spelling::is_twin(name, ours.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let value = HeaderValue::from_static("x");
        let name = |name: &&str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        names.iter().map(|one| (name(one), value.clone())).collect()
    }

    #[test]
    fn names_that_only_resemble_ours_stay() {
        let others = [
            "x-forwarded-for",
            "smilax-client",
            "x_forwarded_for",
            "client-identity",
            "x-forwarded-client.cert-",
            "smilax0client0identity",
        ];
        let mut headers = headers(&others);
        strip(&mut headers);
        assert_eq!(headers.len(), others.len());
    }

    proptest! {
        #[test]
        fn s14_no_spelling_of_ours_stays(
            which in 0usize..3,
            separators in prop::collection::vec(prop::sample::select(b"!#$%&'*+-.^_`|~".to_vec()), 4),
            upper: u32,
            times in 1usize..4,
        ) {
            let mut separators = separators.into_iter().map(char::from);
            let spelled: String = OURS[which]
                .as_str()
                .chars()
                .map(|letter| if letter == '-' { separators.next().unwrap() } else { letter })
                .enumerate()
                .map(|(at, letter)| if upper.checked_shr(u32::try_from(at).unwrap()).unwrap_or(0) & 1 == 1 { letter.to_ascii_uppercase() } else { letter })
                .collect();
            let mut names = vec!["x-other"];
            names.extend(std::iter::repeat_n(spelled.as_str(), times));
            let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            for one in names {
                headers.append(name(one), HeaderValue::from_static("x"));
            }
            strip(&mut headers);
            prop_assert_eq!(headers.len(), 1);
        }
    }
}
