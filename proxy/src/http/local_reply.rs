//! What a called proxy tells the calling one about a response that it made itself.
//!
//! A request that never reached the application can go to another endpoint whatever its method is. That is only true
//! when the called proxy says so: a status of 503 alone may come from the application, after it acted.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use smilax_core::convention::wire;

const LOCAL_REPLY: HeaderName = HeaderName::from_static(wire::LOCAL_REPLY_HEADER);

/// Meaning of a response that no application made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReply {
    /// Nothing of the request reached the application.
    NotProcessed,
    /// The request was refused for what it is, which says nothing about the endpoint.
    Policy,
}

impl LocalReply {
    const ALL: [Self; 2] = [Self::NotProcessed, Self::Policy];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotProcessed => "not-processed",
            Self::Policy => "policy",
        }
    }

    /// Says it in a response to another proxy.
    pub fn insert(self, headers: &mut HeaderMap) {
        headers.insert(LOCAL_REPLY, HeaderValue::from_static(self.as_str()));
    }

    /// Removes it from a response. Callers decide whether to believe it.
    pub fn take(headers: &mut HeaderMap) -> Option<Self> {
        let value = headers.remove(LOCAL_REPLY)?;
        Self::ALL
            .into_iter()
            .find(|reply| reply.as_str().as_bytes() == value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_reply_is_taken_as_it_was_inserted() {
        for reply in LocalReply::ALL {
            let mut headers = HeaderMap::new();
            reply.insert(&mut headers);
            assert_eq!(LocalReply::take(&mut headers), Some(reply));
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn every_value_is_removed_and_an_unknown_one_means_nothing() {
        let mut headers = HeaderMap::new();
        for value in ["later", "not-processed"] {
            headers.append(LOCAL_REPLY, HeaderValue::from_static(value));
        }
        assert_eq!(LocalReply::take(&mut headers), None);
        assert!(headers.is_empty());
    }
}
