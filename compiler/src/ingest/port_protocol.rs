//! What a Service port speaks, from what its owner says.

use smilax_core::config::Protocol;

/// Ports whose servers speak first, or whose protocol is never HTTP, when nobody says otherwise: SMTP, submission,
/// MySQL, Galera, PostgreSQL, Redis, Elasticsearch transport, Memcached.
const TCP_BY_NUMBER: [u16; 10] = [25, 587, 3306, 4444, 4567, 4568, 5432, 6379, 9300, 11211];

/// The protocol of a port: the opaque-ports annotation, then `appProtocol`, then the port's name, then its number.
pub(super) fn of(
    number: u16,
    name: Option<&str>,
    app_protocol: Option<&str>,
    opaque: Option<&str>,
) -> Protocol {
    if opaque.is_some_and(|list| lists(list, number)) {
        return Protocol::Tcp;
    }
    app_protocol
        .and_then(by_word)
        .or_else(|| name.and_then(by_name))
        .unwrap_or(if TCP_BY_NUMBER.contains(&number) {
            Protocol::Tcp
        } else {
            Protocol::Detect
        })
}

fn by_word(word: &str) -> Option<Protocol> {
    let word = word.to_ascii_lowercase();
    let word = word.strip_prefix("kubernetes.io/").unwrap_or(&word);
    match word {
        "http" | "http2" | "h2c" | "grpc" | "grpc-web" | "ws" => Some(Protocol::Http),
        "tcp" | "tls" | "https" | "wss" | "mysql" | "postgres" | "postgresql" | "redis" | "mongo"
        | "mongodb" | "amqp" | "kafka" | "smtp" | "memcached" => Some(Protocol::Tcp),
        _ => None,
    }
}

/// Names are `protocol` or `protocol-suffix`.
fn by_name(name: &str) -> Option<Protocol> {
    by_word(name).or_else(|| name.split_once('-').and_then(|(protocol, _)| by_word(protocol)))
}

/// Whether a list such as `3306, 9000-9010` names a port.
fn lists(list: &str, number: u16) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|entry| match entry.split_once('-') {
            Some((from, to)) => match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
                (Ok(from), Ok(to)) => (from..=to).contains(&number),
                _ => false,
            },
            None => entry.parse() == Ok(number),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_owner_says_comes_before_what_we_guess() {
        assert_eq!(of(80, Some("tcp-x"), Some("http"), None), Protocol::Http);
        assert_eq!(of(80, Some("grpc-web"), None, None), Protocol::Http);
        assert_eq!(of(3306, Some("http"), None, None), Protocol::Http);
        assert_eq!(of(3306, None, None, None), Protocol::Tcp);
        assert_eq!(of(80, None, None, None), Protocol::Detect);
        assert_eq!(
            of(80, Some("web"), Some("kubernetes.io/h2c"), None),
            Protocol::Http
        );
        assert_eq!(of(443, Some("https"), None, None), Protocol::Tcp);
    }

    #[test]
    fn opaque_ports_may_be_listed_singly_and_as_ranges() {
        assert_eq!(
            of(9005, Some("http"), None, Some("3306, 9000-9010")),
            Protocol::Tcp
        );
        assert_eq!(
            of(9011, Some("http"), None, Some("3306, 9000-9010, x")),
            Protocol::Http
        );
    }
}
