use super::*;

fn shown(url: &Url) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !url.is_hierarchical() || url.host().is_empty() {
        return format!("nohost {}", text(url.hostname()));
    }
    format!(
        "{} {} {} {} {}",
        url.scheme,
        text(url.host()),
        text(url.hostname()),
        text(&url.request_target()),
        text(url.user().unwrap_or_default())
    )
}

fn of_probe(path: &str) -> Url {
    Url::of_probe("http", "10.0.0.1:8080".parse().unwrap(), path)
}

/// What `formatURL` of k8s.io/kubernetes/pkg/probe/http (1.34.4) and `http.NewRequest` of Go 1.26 return for these paths:
/// scheme, host, hostname, request target and user. 30,000 more of random characters were compared when this was written.
#[test]
fn a_probes_path_is_read_as_kubelet_reads_it() {
    for (path, expected) in [
        ("/healthz", "http 10.0.0.1:8080 10.0.0.1 /healthz "),
        ("healthz", "http 10.0.0.1:8080 10.0.0.1 /healthz "),
        ("", "http 10.0.0.1:8080 10.0.0.1 / "),
        ("?full=1", "http 10.0.0.1:8080 10.0.0.1 /?full=1 "),
        ("/a b?c d", "http 10.0.0.1:8080 10.0.0.1 /a%20b?c d "),
        ("/%zz", "http 10.0.0.1:8080 10.0.0.1 /%25zz "),
        ("/%41%2f", "http 10.0.0.1:8080 10.0.0.1 /%41%2f "),
        ("/é", "http 10.0.0.1:8080 10.0.0.1 /%C3%A9 "),
        (
            "/{a}?q={\"a\":\"b\"}",
            "http 10.0.0.1:8080 10.0.0.1 /%7Ba%7D?q={\"a\":\"b\"} ",
        ),
        ("/a|b\"<>", "http 10.0.0.1:8080 10.0.0.1 /a%7Cb%22%3C%3E "),
        ("//other/path", "http 10.0.0.1:8080 10.0.0.1 /path "),
        ("//u:p@other/x", "http 10.0.0.1:8080 10.0.0.1 /x u:p"),
        ("http://other/path?x", "http 10.0.0.1:8080 10.0.0.1 /path?x "),
        ("a:b", "nohost "),
        ("1:2", "http 10.0.0.1:8080 10.0.0.1 /1:2 "),
        (":x", "http 10.0.0.1:8080 10.0.0.1 /:x "),
        ("/a?", "http 10.0.0.1:8080 10.0.0.1 /a? "),
        ("/a??", "http 10.0.0.1:8080 10.0.0.1 /a?? "),
        ("/a#b", "http 10.0.0.1:8080 10.0.0.1 /a "),
        ("/a#%zz?c", "http 10.0.0.1:8080 10.0.0.1 /a%23%25zz%3Fc "),
        ("*", "http 10.0.0.1:8080 10.0.0.1 /* "),
        ("/\t", "http 10.0.0.1:8080 10.0.0.1 /%09 "),
        ("//bad host/x", "http 10.0.0.1:8080 10.0.0.1 //bad%20host/x "),
        ("/!'()*[]", "http 10.0.0.1:8080 10.0.0.1 /!'()*[] "),
        ("/;,:@&=+$", "http 10.0.0.1:8080 10.0.0.1 /;,:@&=+$ "),
        ("///x", "http 10.0.0.1:8080 10.0.0.1 ///x "),
    ] {
        assert_eq!(shown(&of_probe(path)), expected, "{path:?}");
    }
}

/// What `URL.Parse` of Go 1.26 returns; with 30,000 random ones as above.
#[test]
fn a_location_is_resolved_as_kubelet_resolves_it() {
    for (path, location, expected) in [
        ("/a/b?c", "/x", "http 10.0.0.1:8080 10.0.0.1 /x "),
        ("/a/b?c", "x", "http 10.0.0.1:8080 10.0.0.1 /a/x "),
        ("/a/b?c", "../x", "http 10.0.0.1:8080 10.0.0.1 /x "),
        ("/a/b?c", "./../../x/.", "http 10.0.0.1:8080 10.0.0.1 /x/ "),
        ("/a/b?c", "?d", "http 10.0.0.1:8080 10.0.0.1 /a/b?d "),
        ("/a/b?c", "#f", "http 10.0.0.1:8080 10.0.0.1 /a/b?c "),
        ("/a", "//10.0.0.1/x", "http 10.0.0.1 10.0.0.1 /x "),
        ("/a", "http://10.0.0.1/x", "http 10.0.0.1 10.0.0.1 /x "),
        ("/a", "https://10.0.0.1:8443", "https 10.0.0.1:8443 10.0.0.1 / "),
        ("/a", "HTTPS://10.0.0.1/", "https 10.0.0.1 10.0.0.1 / "),
        ("/a", "http://app.example/", "http app.example app.example / "),
        (
            "/a",
            "http://10.0.0.1:8080@evil/",
            "http evil evil / 10.0.0.1:8080",
        ),
        ("/a", "mailto:x", "nohost "),
        ("/a", "http://[fd00::1]:80/", "http [fd00::1]:80 fd00::1 / "),
        ("/a", ":x", "error"),
        ("/a", "/%zz", "error"),
        ("/a", "/ü x", "http 10.0.0.1:8080 10.0.0.1 /%C3%BC%20x "),
    ] {
        let url = of_probe(path).join(location.as_bytes());
        let url = url.map_or_else(|_| "error".to_owned(), |url| shown(&url));
        assert_eq!(url, expected, "{path:?} {location:?}");
    }
}

#[test]
fn a_url_without_a_port_leads_to_that_of_its_scheme() {
    let port = |url: &str| Url::parse(url.as_bytes()).unwrap().port();
    assert_eq!(port("http://a/"), Some(80));
    assert_eq!(port("https://[fd00::1]"), Some(443));
    assert_eq!(port("https://a:/"), Some(443));
    assert_eq!(port("http://[fd00::1]:81"), Some(81));
    assert_eq!(port("http://a:65536"), None);
    assert_eq!(port("ftp://a"), None);
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let url = Url::of_probe("https", "[fd00::1]:8443".parse().unwrap(), "/x");
    assert_eq!(
        (url.host(), url.hostname()),
        (&b"[fd00::1]:8443"[..], &b"fd00::1"[..])
    );
    assert_eq!(url.referer(), b"https://[fd00::1]:8443/x");
}
