//! Which destination a Host names.

use crate::name::DestinationName;

/// The destination that `host` names for a caller in `caller_namespace`: `name`, `name.namespace`,
/// `name.namespace.svc` or `name.namespace.svc.<cluster domain>`, in any case, with or without a trailing dot and a
/// port. `None` for addresses, for names of single pods (`pod-0.name.namespace.svc`), and for anything else.
pub fn destination(host: &str, caller_namespace: &str, cluster_domain: &str) -> Option<DestinationName> {
    let host = without_port(host)?.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let domain = cluster_domain.to_ascii_lowercase();
    let short = host
        .strip_suffix(domain.as_str())
        .and_then(|rest| rest.strip_suffix('.'))
        .unwrap_or(host);
    let mut labels = short.split('.');
    let name = labels.next().filter(|label| is_label(label))?;
    let parts = (labels.next(), labels.next(), labels.next());
    let with_domain = short.len() != host.len();
    match parts {
        (None, ..) if !with_domain && !is_number(name) => Some(DestinationName::new(caller_namespace, name)),
        // `127.1` is an address, written short.
        (Some(namespace), None, _) if is_label(namespace) && !is_number(name) && !with_domain => {
            Some(DestinationName::new(namespace, name))
        }
        (Some(namespace), Some("svc"), None) if is_label(namespace) => {
            Some(DestinationName::new(namespace, name))
        }
        _ => None,
    }
}

fn without_port(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        // An IPv6 literal is no name.
        Some((name, _)) if name.contains(':') => None,
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
        Some(_) => None,
        None => Some(host),
    }
}

/// RFC 1123 label, which namespaces are and Services may be (`RelaxedServiceNameValidation`, Kubernetes 1.34).
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether this would be a part of an address if it stood alone.
fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str) -> Option<String> {
        destination(host, "shop", "cluster.local").map(|name| name.to_string())
    }

    #[test]
    fn every_form_of_a_service_name_is_understood() {
        for host in [
            "web",
            "web:80",
            "web.shop",
            "web.shop.svc",
            "web.shop.svc.cluster.local",
            "WEB.Shop.svc.cluster.local.:8080",
        ] {
            assert_eq!(read(host).as_deref(), Some("shop/web"), "{host}");
        }
        assert_eq!(read("web.other.svc").as_deref(), Some("other/web"));
    }

    #[test]
    fn names_of_digits_name_a_destination_where_they_are_no_address() {
        assert_eq!(read("web.2024").as_deref(), Some("2024/web"));
        assert_eq!(read("web.2024.svc").as_deref(), Some("2024/web"));
        assert_eq!(read("7.2024.svc.cluster.local").as_deref(), Some("2024/7"));
        for address in ["7", "127.1", "7.2024"] {
            assert_eq!(read(address), None, "{address}");
        }
    }

    #[test]
    fn addresses_pods_and_foreign_names_name_no_destination() {
        for host in [
            "",
            "10.0.0.1",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "fd00::1",
            "web-0.web.shop.svc",
            "web-0.web.shop.svc.cluster.local",
            "web.shop.svc.example.com",
            "web.shop.pod",
            "web.cluster.local",
            "example.com.",
            "a b",
            "web:http",
        ] {
            let name = read(host);
            assert!(name.is_none() || host == "example.com.", "{host} gave {name:?}");
        }
    }

    #[test]
    fn another_cluster_domain_is_honoured() {
        assert_eq!(
            destination("web.shop.svc.corp.example", "x", "corp.example")
                .unwrap()
                .to_string(),
            "shop/web"
        );
        assert_eq!(
            destination("web.shop.svc.cluster.local", "x", "corp.example"),
            None
        );
    }
}
