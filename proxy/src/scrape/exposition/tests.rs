use super::*;

fn checked(page: &str, format: Format) -> Result<(), Malformed> {
    check(page.as_bytes(), format)
}

fn appended(own: &str, application: &str, format: Format) -> String {
    let behind = behind(application.as_bytes(), format);
    own.to_owned() + std::str::from_utf8(&behind).unwrap()
}

#[test]
fn pages_of_common_client_libraries_are_read() {
    let page = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",} 3

msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
rpc_duration_seconds { quantile = "0.5" } NaN
job:up:sum 1e-3
"#;
    assert_eq!(checked(page, Format::Text), Ok(()));
}

#[test]
fn exemplars_are_read_in_openmetrics_alone() {
    let page = "foo_bucket{le=\"1\"} 5 # {trace_id=\"a # b\"} 0.67 1520879607.789\n# EOF\n";
    assert_eq!(checked(page, Format::OpenMetrics), Ok(()));
    assert_eq!(checked(page, Format::Text), Err(Malformed::Line(1)));
}

#[test]
fn one_line_that_prometheus_could_not_read_is_found() {
    for line in [
        "<html>",
        "{\"up\": 1}",
        "up",
        "up one",
        "up 1 2 3",
        "0up 1",
        "up{a=\"1} 1",
        "up{a=1} 1",
        "up{=\"1\"} 1",
        "up{a=\"1\"",
        "up{a=\"\\",
        "up 1 # {a=\"1\"}",
        "u\u{e9} 1",
        "up 1 1.5",
        "# TYPE up number",
        "# TYPE up",
        "# TYPE u-p gauge",
        "# HELP",
    ] {
        let page = format!("fine 1\n{line}\n");
        assert_eq!(checked(&page, Format::Text), Err(Malformed::Line(2)), "{line}");
    }
    assert_eq!(
        check(b"up{a=\"\xff\"} 1\n", Format::Text),
        Err(Malformed::Encoding)
    );
}

#[test]
fn comments_are_skipped_in_text_and_unknown_to_openmetrics() {
    assert_eq!(checked("# made by hand\n#\nup 1\n", Format::Text), Ok(()));
    for line in ["# made by hand", "", "# TYPE up untyped", "# UNIT up seconds"] {
        let page = format!("{line}\nup 1\n# EOF\n");
        assert_eq!(
            checked(&page, Format::OpenMetrics),
            Err(Malformed::Line(1)),
            "{line}"
        );
    }
    let page =
        "# TYPE a_seconds info\n# UNIT a_seconds seconds\n# HELP a_seconds Time.\na_seconds 1 1.5\n# EOF\n";
    assert_eq!(checked(page, Format::OpenMetrics), Ok(()));
}

#[test]
fn the_application_follows_the_sidecar() {
    assert_eq!(
        appended("ours 1\n", "theirs 2", Format::Text),
        "ours 1\ntheirs 2\n"
    );
    assert_eq!(appended("ours 1\n", "", Format::Text), "ours 1\n");
    assert_eq!(
        appended("ours 1\n", "a 1\r\nb 2\r\n", Format::Text),
        "ours 1\na 1\nb 2\n"
    );
}

#[test]
fn a_page_of_openmetrics_ends_once_and_at_its_end() {
    let forged = "a 1\n# EOF\nb 2\n# EOF\n";
    assert_eq!(
        appended("ours 1\n", forged, Format::OpenMetrics),
        "ours 1\na 1\nb 2\n# EOF\n"
    );
    assert_eq!(appended("ours 1\n", forged, Format::Text), "ours 1\na 1\nb 2\n");
}

#[test]
fn counters_are_declared_without_their_suffix_in_openmetrics() {
    let own =
        "# HELP x_total All\n# TYPE x_total counter\nx_total{a=\"1\"} 2\n# TYPE y_total gauge\ny_total 1\n";
    let expected = "# HELP x All\n# TYPE x counter\nx_total{a=\"1\"} 2\n# TYPE y_total gauge\ny_total 1\n";
    assert_eq!(as_open_metrics(own.as_bytes()), expected.as_bytes());
}

#[test]
fn only_text_is_merged() {
    for (content_type, expected) in [
        ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
        ("text/plain", Some(Format::Text)),
        (
            "Application/OpenMetrics-Text; version=1.0.0",
            Some(Format::OpenMetrics),
        ),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
            None,
        ),
        ("text/html", None),
        ("", None),
    ] {
        assert_eq!(Format::of(content_type), expected, "{content_type}");
    }
}

#[test]
fn openmetrics_is_asked_for_where_the_scraper_takes_it() {
    let accepted = |values: &[&'static str]| {
        let values: Vec<HeaderValue> = values
            .iter()
            .map(|value| HeaderValue::from_static(value))
            .collect();
        Format::accepted(values.iter())
    };
    let prometheus = "application/vnd.google.protobuf;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    assert_eq!(accepted(&[prometheus]), Format::OpenMetrics);
    assert_eq!(accepted(&["*/*"]), Format::Text);
    assert_eq!(accepted(&[]), Format::Text);
    for format in [Format::Text, Format::OpenMetrics] {
        assert!(!format.asked_for().to_str().unwrap().contains("protobuf"));
    }
}
