//! Reading a split's root, which may be any form of a Service's DNS name.

/// A Service of some namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
}

/// A root that names no Service of the split's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoot {
    /// Nothing is written.
    #[error("must not be empty; name the Service that clients call")]
    Empty,
    /// A part is not a DNS label.
    #[error(
        "part {label:?} of {root:?} must be a DNS label: at most 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
    )]
    Label {
        /// The root as written.
        root: String,
        /// The offending part.
        label: String,
    },
    /// More parts than `name.namespace`, but not the cluster's domain after them.
    #[error(
        "{root:?} is not a valid name for a Service; write {name:?}, or its DNS name ending in .svc or .svc.{domain}"
    )]
    Form {
        /// The root as written.
        root: String,
        /// Its first part.
        name: String,
        /// Domain of the cluster.
        domain: String,
    },
    /// A Service of another namespace.
    #[error(
        "Service {name} is in namespace {namespace}; a TrafficSplit divides traffic only of its own namespace, create it in {namespace}"
    )]
    OtherNamespace {
        /// Name of that Service.
        name: String,
        /// Its namespace.
        namespace: String,
    },
}

/// The Service that `root` names for a split of `own_namespace`: `name`, `name.namespace`, `name.namespace.svc` or
/// `name.namespace.svc.<cluster domain>`, with or without a trailing dot.
pub fn parse_root(root: &str, own_namespace: &str, cluster_domain: &str) -> Result<ServiceName, InvalidRoot> {
    let parsed = parse(root)?;
    if parsed
        .domain
        .is_some_and(|domain| domain != cluster_domain.trim_end_matches('.'))
    {
        return Err(parsed.wrong_form(root, cluster_domain));
    }
    in_namespace(&parsed, own_namespace)
}

/// Like [`parse_root`] where the cluster's domain is not known: any domain passes.
pub(crate) fn check_root(root: &str, own_namespace: &str) -> Result<ServiceName, InvalidRoot> {
    in_namespace(&parse(root)?, own_namespace)
}

/// Whether this is a DNS label (RFC 1123), as names of Services and namespaces are.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && has_dns_label_characters(text)
}

/// Whether this is a DNS label but for its length.
pub(crate) fn has_dns_label_characters(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

struct Parsed<'a> {
    name: &'a str,
    namespace: Option<&'a str>,
    domain: Option<&'a str>,
}

impl Parsed<'_> {
    fn wrong_form(&self, root: &str, domain: &str) -> InvalidRoot {
        InvalidRoot::Form {
            root: root.to_owned(),
            name: self.name.to_owned(),
            domain: domain.to_owned(),
        }
    }
}

fn parse(root: &str) -> Result<Parsed<'_>, InvalidRoot> {
    if root.is_empty() {
        return Err(InvalidRoot::Empty);
    }
    let host = root.strip_suffix('.').unwrap_or(root);
    if let Some(label) = host.split('.').find(|label| !is_dns_label(label)) {
        return Err(InvalidRoot::Label {
            root: root.to_owned(),
            label: label.to_owned(),
        });
    }
    let mut parts = host.splitn(4, '.');
    let name = parts.next().unwrap_or_default();
    let (namespace, service, domain) = (parts.next(), parts.next(), parts.next());
    let parsed = Parsed {
        name,
        namespace,
        domain,
    };
    match service {
        None | Some("svc") => Ok(parsed),
        Some(_) => Err(parsed.wrong_form(root, "<cluster domain>")),
    }
}

fn in_namespace(parsed: &Parsed<'_>, own: &str) -> Result<ServiceName, InvalidRoot> {
    let name = parsed.name.to_owned();
    match parsed.namespace {
        Some(other) if other != own => Err(InvalidRoot::OtherNamespace {
            name,
            namespace: other.to_owned(),
        }),
        _ => Ok(ServiceName {
            namespace: own.to_owned(),
            name,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &str) -> Result<ServiceName, InvalidRoot> {
        parse_root(root, "shop", "cluster.local")
    }

    #[test]
    fn every_form_of_a_services_name_means_the_same_service() {
        let web = ServiceName {
            namespace: "shop".into(),
            name: "web".into(),
        };
        for root in [
            "web",
            "web.",
            "web.shop",
            "web.shop.svc",
            "web.shop.svc.cluster.local",
            "web.shop.svc.cluster.local.",
        ] {
            assert_eq!(read(root).as_ref(), Ok(&web), "{root}");
        }
        assert_eq!(
            parse_root("web.shop.svc.k8s.example", "shop", "k8s.example."),
            Ok(web)
        );
    }

    #[test]
    fn a_service_of_another_namespace_is_refused() {
        for root in ["web.bank", "web.bank.svc", "web.bank.svc.cluster.local"] {
            assert!(
                matches!(read(root), Err(InvalidRoot::OtherNamespace { .. })),
                "{root}"
            );
        }
    }

    #[test]
    fn what_is_no_service_name_is_refused() {
        assert_eq!(read(""), Err(InvalidRoot::Empty));
        for root in [".", "Web", "web..shop", "web:80", "shop/web", "web-", "*.shop"] {
            assert!(matches!(read(root), Err(InvalidRoot::Label { .. })), "{root}");
        }
        for root in [
            "web.shop.svc.cluster",
            "web.shop.pod",
            "www.example.com.org",
            "web.shop.svc.cluster.local.x",
        ] {
            assert!(matches!(read(root), Err(InvalidRoot::Form { .. })), "{root}");
        }
    }
}
