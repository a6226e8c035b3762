//! A Prometheus, in the mesh or outside it, finds the metrics of sidecars and of applications.

use serde_json::Value;
use smilax_e2e::objects::port;
use smilax_e2e::{Client, Inject, Mesh, Namespace, Workload, wait_until};
use smilax_e2e::{Fetched, Progress};

/// Where Prometheus' usual configuration scrapes a pod.
fn scraped_at(pod: &Value) -> String {
    let annotation = |key: &str| pod["metadata"]["annotations"][key].as_str().unwrap_or_default();
    assert_eq!(annotation("prometheus.io/scrape"), "true");
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let port = annotation("prometheus.io/port");
    format!("http://{address}:{port}{}", annotation("prometheus.io/path"))
}

fn scrape(prometheus: &Client, url: &str) -> Fetched {
    wait_until(&format!("{url} is scraped"), || {
        let page = prometheus.get(url);
        match page.status {
            Some(200) => Progress::Done(page),
            _ => Progress::Pending(format!("{page:?}")),
        }
    })
}

#[test]
fn a_prometheus_in_the_mesh_scrapes_sidecars_of_strict_and_closed_namespaces() {
    let mesh = Mesh::connect();
    let monitoring = Namespace::fresh(&mesh, "monitoring", Inject::Enabled);
    let prometheus = monitoring.client("prometheus");
    let closed = Namespace::fresh(&mesh, "scraped", Inject::Enabled);
    closed.annotate("smilax.dev/tls-mode", Some("strict"));
    closed.annotate("smilax.dev/access-mode", Some("deny"));
    closed.account("web");
    closed.apply(Workload::deployment("web").account("web"));
    closed.ready(&["deployment/web"]);
    let page = scrape(&prometheus, &scraped_at(&closed.pod("web")));
    assert!(page.body.contains("smilax_proxy_build_info"), "{page:?}");
    let address = closed.pod("web")["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let application = prometheus.get(&format!("http://{address}:{}/metrics", port::HTTP));
    assert_ne!(
        application.status,
        Some(200),
        "the application stays closed: {application:?}"
    );
}

#[test]
fn one_scrape_finds_the_metrics_of_an_application_and_of_its_sidecar() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "merged", Inject::Enabled);
    let prometheus = namespace.client("prometheus");
    let web = Workload::deployment("web")
        .annotation("prometheus.io/scrape", "true")
        .annotation("prometheus.io/port", &port::HTTP.to_string());
    namespace.apply(web);
    namespace.ready(&["deployment/web"]);
    let page = scrape(&prometheus, &scraped_at(&namespace.pod("web")));
    for name in ["smilax_proxy_build_info", "testapp_up 1"] {
        assert!(page.body.contains(name), "{page:?}");
    }
}

#[test]
fn a_pod_that_opts_out_is_scraped_where_it_says() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "apart", Inject::Enabled);
    let prometheus = namespace.client("prometheus");
    let web = Workload::deployment("web")
        .annotation("prometheus.io/scrape", "true")
        .annotation("prometheus.io/port", &port::HTTP.to_string())
        .annotation("prometheus.io/path", "/metrics")
        .annotation("smilax.dev/merge-metrics", "false");
    namespace.apply(web);
    namespace.ready(&["deployment/web"]);
    let page = scrape(&prometheus, &scraped_at(&namespace.pod("web")));
    assert!(
        page.body.contains("testapp_up 1") && !page.body.contains("smilax_proxy"),
        "{page:?}"
    );
}
