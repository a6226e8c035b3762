use std::sync::Arc;

use ::http::StatusCode;
use smilax_core::DestinationName;

use super::traffic::{Flags, RequestProtocol, Telemetry};
use super::*;
use crate::tcp::Meter as _;

fn metrics() -> Arc<Metrics> {
    let settings = Settings {
        pod: Pod {
            namespace: "shop".to_owned(),
            workload: "front".to_owned(),
            ..Pod::default()
        },
        ..Settings::default()
    };
    Arc::new(Metrics::new(&settings).unwrap())
}

fn lines(metrics: &Metrics, begins: &str) -> Vec<String> {
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(begins));
    lines.map(str::to_owned).collect()
}

#[test]
fn names_types_and_labels_are_as_documented() {
    let metrics = metrics();
    let telemetry = Telemetry::outbound(&metrics, Some(&DestinationName::new("shop", "web")));
    let mut recording = telemetry.request(RequestProtocol::Http);
    recording.status(StatusCode::OK);
    recording.finish();
    drop(recording);
    telemetry.connection().sent(3);
    metrics.split("shop/web", "shop/web", "shop/v1").inc();
    metrics.config_applied(Revision { term: 2, counter: 9 });
    metrics.config_rejected("stale");
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let shape: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE") || line.contains("smilax_") && !line.starts_with('#'))
        .map(|line| line.replace(env!("CARGO_PKG_VERSION"), "VERSION"))
        .collect();
    insta::assert_snapshot!(shape.join("\n"));
}

#[test]
fn a_request_that_nobody_waited_for_counts_as_broken_off_by_the_client() {
    let metrics = metrics();
    drop(Telemetry::inbound(&metrics, None).request(RequestProtocol::Http));
    let line = lines(&metrics, "istio_requests_total").remove(0);
    assert!(
        line.contains("response_flags=\"DC\"") && line.contains("response_code=\"0\""),
        "{line}"
    );
}

#[test]
fn a_status_that_grpc_does_not_have_counts_as_unknown() {
    let metrics = metrics();
    let telemetry = Telemetry::inbound(&metrics, None);
    for status in [&b"99999"[..], b"x", b"2"] {
        let mut recording = telemetry.request(RequestProtocol::Grpc);
        recording.grpc_status(status);
        recording.finish();
    }
    let all = lines(&metrics, "istio_requests_total");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(
        all[0].contains("grpc_response_status=\"2\"") && all[0].ends_with(" 3"),
        "{all:?}"
    );
}

#[test]
fn f10_series_are_bounded_and_the_rest_is_counted_together() {
    let metrics = metrics();
    for number in 0..MOST_SERIES + 50 {
        let name = DestinationName::new("shop", format!("web-{number}"));
        let mut recording = Telemetry::outbound(&metrics, Some(&name)).request(RequestProtocol::Http);
        recording.flag(Flags::UpstreamFailure);
        drop(recording);
        metrics.split("a/b", "c/d", &format!("e/{number}")).inc();
    }
    let all = lines(&metrics, "istio_requests_total");
    assert_eq!(all.len(), MOST_SERIES + 1);
    let rest = all.iter().find(|line| line.contains("overflow")).unwrap();
    assert!(
        rest.ends_with(" 50") && rest.contains("reporter=\"source\""),
        "{rest}"
    );
    let splits = lines(&metrics, "smilax_split_requests_total");
    assert_eq!(splits.len(), MOST_SERIES + 1);
}
