use super::super::fixture::{Pod, namespace, pod, settings, shop};
use super::super::{InjectRequest, Outcome, PROXY, inject};
use super::*;
use crate::cluster_view::NamespaceView;

fn scraped(port: &str) -> Pod {
    pod().annotation(SCRAPE, "true").annotation(PORT, port)
}

fn application(port: u16, path: &str, scheme: Scheme) -> ApplicationMetrics {
    ApplicationMetrics {
        port,
        path: path.to_owned(),
        scheme,
    }
}

/// What its sidecar is told.
fn told(pod: &Value) -> Option<ApplicationMetrics> {
    list(pod, "/spec/initContainers")
        .find(|container| name(container) == PROXY)
        .and_then(of_earlier)
}

fn written(pod: &Value) -> [Option<&str>; 4] {
    [SCRAPE, PORT, PATH, SCHEME].map(|key| annotation(pod, key))
}

const OURS: [Option<&str>; 4] = [Some("true"), Some("15020"), Some("/metrics"), None];

#[track_caller]
fn injected_into(pod: &Pod, namespace: &NamespaceView) -> (Value, Vec<String>) {
    match pod.inject_into(namespace) {
        Outcome::Injected { pod, warnings } => (pod, warnings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sidecar_of_a_pod_that_says_nothing_is_scraped() {
    let pod = pod().injected();
    assert_eq!(written(&pod), OURS);
    assert_eq!(told(&pod), None);
}

#[test]
fn metrics_of_an_application_are_served_by_its_sidecar() {
    let pod = scraped("9090").injected();
    assert_eq!(written(&pod), OURS);
    assert_eq!(told(&pod), Some(application(9090, "/metrics", Scheme::Http)));
}

#[test]
fn path_and_scheme_of_the_application_are_kept() {
    let pod = scraped("9090")
        .annotation(PATH, "stats/$all")
        .annotation(SCHEME, "https")
        .injected();
    assert_eq!(written(&pod), OURS);
    assert_eq!(told(&pod), Some(application(9090, "/stats/$all", Scheme::Https)));
}

#[test]
fn a_port_without_the_word_scrape_counts_as_in_istio() {
    let pod = pod().annotation(PORT, "9090").injected();
    assert_eq!(told(&pod), Some(application(9090, "/metrics", Scheme::Http)));
}

#[test]
fn a_pod_that_is_not_to_be_scraped_is_not() {
    let pod = scraped("9090").annotation(SCRAPE, "false").injected();
    assert_eq!(written(&pod)[..2], [Some("false"), Some("9090")]);
    assert_eq!(told(&pod), None);
}

#[test]
fn without_a_port_every_declared_port_is_scraped_already() {
    let pod = pod().annotation(SCRAPE, "true").injected();
    assert_eq!(written(&pod), [Some("true"), None, None, None]);
}

#[test]
fn pod_and_namespace_can_opt_out_and_the_pod_wins() {
    let apart = scraped("9090").annotation(key::MERGE_METRICS, "false");
    let (pod, warnings) = injected_into(&apart, &shop());
    assert_eq!(written(&pod)[1], Some("9090"));
    assert_eq!((told(&pod), warnings), (None, vec![]));
    let namespace = shop().annotation(key::MERGE_METRICS, "false");
    assert_eq!(told(&injected_into(&scraped("9090"), &namespace).0), None);
    let together = scraped("9090").annotation(key::MERGE_METRICS, "true");
    assert!(told(&injected_into(&together, &namespace).0).is_some());
}

#[test]
fn what_cannot_be_scraped_stays_as_it_is_with_a_warning_that_names_it() {
    for (key, value) in [
        (PORT, "metrics"),
        (PORT, "0"),
        (PORT, "15000"),
        (PATH, "/metrics?x=1"),
        (PATH, "/me trics"),
        (SCHEME, "ftp"),
    ] {
        let (pod, warnings) = injected_into(&scraped("9090").annotation(key, value), &shop());
        assert_eq!(annotation(&pod, key), Some(value));
        assert_eq!(told(&pod), None);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(key),
            "{value}: {warnings:?}"
        );
    }
}

#[test]
fn in_a_closed_namespace_metrics_are_not_opened_unasked() {
    for closed in [("access-mode", "deny"), ("tls-mode", "strict")] {
        let closed = shop().annotation(&format!("smilax.dev/{}", closed.0), closed.1);
        let (pod, warnings) = injected_into(&scraped("9090"), &closed);
        assert_eq!(written(&pod)[1], Some("9090"));
        assert!(warnings[0].contains("proxy.metrics.sourceRanges"), "{warnings:?}");
        let asked = scraped("9090").annotation(key::MERGE_METRICS, "true");
        let (pod, warnings) = injected_into(&asked, &closed);
        assert_eq!(told(&pod), None, "a pod may not open what its Namespace closes");
        assert!(warnings[0].contains(key::ALLOW_RELAX), "{warnings:?}");
        let lenient = closed.clone().annotation(key::ALLOW_RELAX, "true");
        assert!(told(&injected_into(&asked, &lenient).0).is_some());
        let opened = closed.annotation(key::MERGE_METRICS, "true");
        assert!(told(&injected_into(&scraped("9090"), &opened).0).is_some());
    }
}

#[test]
fn in_a_closed_namespace_metrics_are_merged_where_the_installation_says_who_reads_them() {
    let mut settings = settings();
    settings.metrics_sources = "10.0.0.0/8".parse().unwrap();
    let outcome = inject(&InjectRequest {
        pod: &scraped("9090").0,
        namespace: &shop().annotation(key::ACCESS_MODE, "deny"),
        settings: &settings,
        path_key: &super::super::fixture::path_key(),
    });
    let Outcome::Injected { pod, warnings } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(told(&pod).is_some() && warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_pod_that_is_injected_again_keeps_the_metrics_of_its_application() {
    let first = scraped("9090").annotation(SCHEME, "https").injected();
    assert_eq!(Pod(first.clone()).injected(), first);
}

#[test]
fn a_copy_that_leaves_the_mesh_is_scraped_as_before() {
    let copy = Pod(scraped("9090").annotation(PATH, "/stats").injected()).label(key::INJECT, "disabled");
    let Outcome::LeftAlone { pod: Some(pod), .. } = copy.inject_into(&namespace("shop")) else {
        panic!("injected");
    };
    assert_eq!(written(&pod), [Some("true"), Some("9090"), Some("/stats"), None]);
}
