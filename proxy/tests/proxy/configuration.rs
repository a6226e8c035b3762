//! Which configuration is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use smilax_core::config::Protocol;
use smilax_core::{ProxyConfig, Revision};

use crate::support::client::{Http1, Http2, get, request};
use crate::support::server::Server;
use crate::support::{Net, TestProxy, eventually, split};

fn json(config: &ProxyConfig) -> Vec<u8> {
    serde_json::to_vec(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_change_under_load_without_one_failed_request() {
    let net = Net::new();
    let v1 = Server::named(net.at(2), "v1").await;
    let v2 = Server::named(net.at(3), "v2").await;
    let config = |counter: u64| {
        let weight = u32::from(counter.is_multiple_of(2));
        let routes = vec![split(&[("shop/v1", 1 - weight), ("shop/v2", weight)])];
        net.config(counter, Protocol::Http, routes)
    };
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&config(1))
        .set(|settings| settings.workers = 2)
        .start();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let address = proxy.outbound_address();
        let stopped = Arc::clone(&stop);
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            let mut requests = 0usize;
            while !stopped.load(Ordering::SeqCst) {
                assert_eq!(client.get("/").await.status, StatusCode::OK);
                requests += 1;
            }
            requests
        });
    }
    let address = proxy.outbound_address();
    let stopped = Arc::clone(&stop);
    clients.spawn(async move {
        let mut client = Http2::connect(address).await;
        let mut requests = 0;
        while !stopped.load(Ordering::SeqCst) {
            let request = http::Request::get("http://web/")
                .body(crate::support::server::empty())
                .unwrap();
            assert_eq!(client.send(request).await.status, StatusCode::OK);
            requests += 1;
        }
        requests
    });
    for counter in 2..=30 {
        let served = v1.requests() + v2.requests();
        proxy.apply(&config(counter)).await;
        eventually("requests go on", || v1.requests() + v2.requests() > served + 5).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut total = 0;
    while let Some(requests) = clients.join_next().await {
        total += requests.unwrap();
    }
    assert_eq!(total, v1.requests() + v2.requests());
    proxy.counts("smilax_proxy_config_applied_total", &[], 30).await;
    proxy
        .counts("smilax_proxy_config_revision{part=\"counter\"}", &[], 30)
        .await;
}

#[tokio::test]
async fn connections_upstream_survive_a_new_configuration() {
    let net = Net::new();
    let v1 = Server::named(net.at(2), "v1").await;
    let config = |counter| net.config(counter, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    let proxy = TestProxy::outbound(net.at(1), &config(1));
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for counter in 2..10 {
        for _ in 0..5 {
            client.get("/").await;
        }
        proxy.apply(&config(counter)).await;
    }
    assert_eq!(v1.connections(), 4);
}

#[tokio::test]
async fn a_broken_configuration_is_refused_and_the_last_good_one_stays() {
    let net = Net::new();
    let _v1 = Server::named(net.at(2), "v1").await;
    let good = net.config(5, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    let proxy = TestProxy::outbound(net.at(1), &good);
    let mut required = good.clone();
    required.requires = vec!["teleport".to_owned()];
    required.revision.counter = 6;
    let mut unknown = net.config(7, Protocol::Http, vec![split(&[("shop/gone", 1)])]);
    unknown.revision.counter = 7;
    let stale = net.config(4, Protocol::Http, vec![]);
    for (content, reason, message) in [
        (b"{\"revision\":".to_vec(), "malformed", "EOF"),
        (json(&required), "missing_feature", "teleport"),
        (
            json(&unknown),
            "unusable",
            "destinations[0].ports[0].routes[0].backends[0].destination",
        ),
        (json(&stale), "stale", "revision 1.4 is older than 1.5"),
    ] {
        proxy.write(&content);
        let metric = format!("smilax_proxy_config_rejected_total{{reason=\"{reason}\"}}");
        for _ in 0..5000 {
            if proxy.metric(&metric).await >= 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert_eq!(proxy.metric(&metric).await, 1, "{reason}");
        let status = get(proxy.admin_address(), "/config/status").await.text;
        assert!(
            status.contains(message) && status.contains("\"revision\":\"1.5\""),
            "{status}"
        );
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    }
    let shown = get(proxy.admin_address(), "/config").await;
    assert_eq!(shown.text.as_bytes(), json(&good));
}

#[tokio::test]
async fn after_a_restart_the_last_good_configuration_is_in_force_while_the_mounted_one_is_broken() {
    let net = Net::new();
    let _v1 = Server::named(net.at(2), "v1").await;
    let good = net.config(5, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    let proxy = TestProxy::outbound(net.at(1), &good);
    proxy.write(b"broken");
    let proxy = proxy.restart();
    assert_eq!(
        get(proxy.metrics_address(), "/ready").await.status,
        StatusCode::OK
    );
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    proxy
        .counts("smilax_proxy_config_rejected_total{reason=\"malformed\"}", &[], 1)
        .await;
}

#[tokio::test]
async fn without_a_configuration_it_is_not_ready_and_passes_everything_through() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = TestProxy::builder().outbound(net.at(1)).start();
    for path in ["/ready", "/startup"] {
        let answer = get(proxy.metrics_address(), path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    proxy
        .apply(&net.config(1, Protocol::Http, vec![split(&[("shop/v1", 1)])]))
        .await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    assert_eq!(
        get(proxy.metrics_address(), "/ready").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_configuration_that_kubelet_swaps_in_is_noticed() {
    let net = Net::new();
    let directory = tempfile::tempdir().unwrap();
    let version = |counter: u64| {
        let made = directory.path().join(format!("..{counter}"));
        std::fs::create_dir(&made).unwrap();
        std::fs::write(
            made.join("policy.json"),
            json(&net.config(counter, Protocol::Http, vec![])),
        )
        .unwrap();
        let link = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{counter}"), &link).unwrap();
        std::fs::rename(link, directory.path().join("..data")).unwrap();
    };
    version(1);
    std::os::unix::fs::symlink("..data/policy.json", directory.path().join("policy.json")).unwrap();
    let mounted = directory.path().to_owned();
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .set(|settings| settings.config = smilax_proxy::settings::ConfigLocation::Directory(mounted))
        .start();
    let revision = || proxy.proxy().shared().table.load().revision;
    for counter in 1..5 {
        if counter > 1 {
            version(counter);
        }
        eventually("the swap is noticed", || {
            revision() == Revision { term: 1, counter }
        })
        .await;
    }
}

#[tokio::test]
async fn f15_a_long_configuration_is_read_packed_shown_as_text_and_kept_for_a_restart() {
    let net = Net::new();
    let directory = tempfile::tempdir().unwrap();
    let put = |counter: u64, (gone, key): (&str, &str), content: &[u8]| {
        let made = directory.path().join(format!("..{counter}"));
        std::fs::create_dir(&made).unwrap();
        std::fs::write(made.join(key), content).unwrap();
        let link = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{counter}"), &link).unwrap();
        std::fs::rename(link, directory.path().join("..data")).unwrap();
        // As kubelet does it: the links beside follow the swap.
        let beside = directory.path().join(key);
        if std::fs::symlink_metadata(&beside).is_err() {
            std::os::unix::fs::symlink(format!("..data/{key}"), beside).unwrap();
        }
        let _ = std::fs::remove_file(directory.path().join(gone));
        if counter > 1 {
            std::fs::remove_dir_all(directory.path().join(format!("..{}", counter - 1))).unwrap();
        }
    };
    let long = |counter: u64| {
        let mut config = net.config(counter, Protocol::Http, vec![]);
        let template = config.destinations[0].clone();
        config.destinations.extend((0..20_000).map(|index| {
            let mut one = template.clone();
            one.name = smilax_core::DestinationName::new("shop", format!("filler-{index}"));
            one.addresses.clear();
            one
        }));
        String::from_utf8(json(&config)).unwrap()
    };
    let plain = ("policy.json.gz", "policy.json");
    let packed = ("policy.json", "policy.json.gz");
    let pack = |text: &str| match smilax_core::packed::form(text) {
        Ok(smilax_core::packed::Form::Packed(bytes)) => bytes,
        other => panic!("{other:?}"),
    };
    put(1, plain, &json(&net.config(1, Protocol::Http, vec![])));
    let mounted = directory.path().to_owned();
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .set(|settings| settings.config = smilax_proxy::settings::ConfigLocation::Directory(mounted))
        .start();
    let shared = proxy.proxy().shared();
    let reaches = |counter: u64| {
        eventually("the swap is noticed", move || {
            shared.table.load().revision == Revision { term: 1, counter }
        })
    };
    reaches(1).await;
    put(2, packed, &pack(&long(2)));
    reaches(2).await;
    let shown = get(proxy.admin_address(), "/config").await;
    assert!(shown.text == long(2), "{} bytes are shown", shown.text.len());
    let kept = shared
        .settings
        .state_directory
        .clone()
        .unwrap()
        .join("last-good.json");
    assert!(std::fs::metadata(&kept).unwrap().len() < 900 * 1024);
    assert_eq!(
        smilax_core::decode(&std::fs::read(&kept).unwrap())
            .unwrap()
            .revision
            .counter,
        2
    );
    // Damaged on the way: the one in force stays.
    put(3, packed, &pack(&long(3))[..1000]);
    let refused = "smilax_proxy_config_rejected_total{reason=\"malformed\"} 1";
    eventually("the damaged one is refused", || {
        String::from_utf8_lossy(&shared.metrics.text().unwrap()).contains(refused)
    })
    .await;
    assert_eq!(shared.table.load().revision.counter, 2);
    put(4, packed, &pack(&long(4)));
    reaches(4).await;
    put(5, plain, &json(&net.config(5, Protocol::Http, vec![])));
    reaches(5).await;
}

#[tokio::test]
async fn the_kept_configuration_is_readable_for_the_proxy_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let state = proxy.proxy().shared().settings.state_directory.clone().unwrap();
    let kept = std::fs::metadata(state.join("last-good.json")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn requests_on_open_connections_follow_the_new_configuration() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut client = Http1::connect(proxy.outbound_address()).await;
    assert_eq!(client.send(request("GET", "/")).await.text, "web");
    proxy
        .apply(&net.config(2, Protocol::Http, vec![split(&[("shop/v1", 1)])]))
        .await;
    assert_eq!(client.get("/").await.text, "v1");
    let mut none = net.config(3, Protocol::Http, vec![]);
    none.destinations.clear();
    proxy.apply(&none).await;
    assert_eq!(client.get("/").await.text, "web");
}
