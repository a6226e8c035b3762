//! What a request to the API server asks for.

use std::fmt;

use http::{Method, Uri};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// All objects of a kind.
    List,
    /// Their changes.
    Watch,
    /// One object.
    Get,
    /// Makes one.
    Create,
    /// Replaces one.
    Update,
    /// Changes one.
    Patch,
    /// Removes one.
    Delete,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// Plural of the kind, with its subresource: `trafficsplits/status`.
    pub kind: String,
    /// Where; empty for objects of the cluster and for all namespaces.
    pub namespace: String,
    /// Which; empty for lists of more than one, and for what has no name yet.
    pub name: String,
}

impl Call {
    /// Reads a request's line.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().trim_matches('/').split('/');
        // /api/v1 or /apis/group/version.
        let skipped = if parts.next() == Some("apis") { 2 } else { 1 };
        let rest: Vec<&str> = parts.skip(skipped).collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (kind, name) = match rest {
            [kind, name, subresource, ..] => (format!("{kind}/{subresource}"), *name),
            [kind, name] => ((*kind).to_owned(), *name),
            [kind] => ((*kind).to_owned(), ""),
            [] => (uri.path().to_owned(), ""),
        };
        let query = uri.query().unwrap_or_default();
        let watches = query
            .split('&')
            .any(|one| matches!(one, "watch=true" | "watch=1"));
        let verb = match method.as_str() {
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            _ if watches => Verb::Watch,
            _ if name.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        let selected = query
            .split('&')
            .find_map(|one| one.strip_prefix("fieldSelector=metadata.name%3D"));
        // Events are named by the clock.
        let name = if kind == "events" {
            ""
        } else {
            selected.unwrap_or(name)
        };
        Self {
            verb,
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Whether it changes what is stored. A review of a token does not.
    pub fn is_write(&self) -> bool {
        let changes = matches!(
            self.verb,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
        );
        changes && self.kind != "tokenreviews"
    }

    /// Whether it is about who leads.
    pub fn is_election(&self) -> bool {
        self.kind == "leases"
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = format!("{:?}", self.verb).to_lowercase();
        write!(f, "{verb} {}", self.kind)?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> String {
        Call::of(&method.parse().unwrap(), &uri.parse().unwrap()).to_string()
    }

    #[test]
    fn a_request_is_told_by_what_it_does_to_which_object() {
        assert_eq!(call("GET", "/api/v1/pods?limit=500"), "list pods");
        assert_eq!(call("GET", "/api/v1/pods?watch=true&x=1"), "watch pods");
        assert_eq!(call("GET", "/api/v1/namespaces/shop"), "get namespaces shop");
        assert_eq!(
            call(
                "GET",
                "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Db&limit=500"
            ),
            "list secrets a/b"
        );
        assert_eq!(
            call(
                "PATCH",
                "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web/status?force=true"
            ),
            "patch trafficsplits/status shop/web"
        );
        assert_eq!(
            call("POST", "/api/v1/namespaces/shop/configmaps"),
            "create configmaps shop"
        );
    }

    #[test]
    fn events_are_one_whatever_their_name_and_reviews_are_no_writes() {
        assert_eq!(
            call("PATCH", "/apis/events.k8s.io/v1/namespaces/shop/events/web.17f"),
            "patch events shop"
        );
        let review = Call::of(
            &Method::POST,
            &"/apis/authentication.k8s.io/v1/tokenreviews".parse().unwrap(),
        );
        assert!(!review.is_write());
    }
}
