//! What the mesh trusts is exchanged while traffic goes on. These tests change trust for every pod: alone, one by one.

use std::time::Duration;

use serde_json::Value;
use smilax_core::convention::TRUST_BUNDLE_KEY;
use smilax_core::workload_connection::TrustBundle;
use smilax_e2e::client::Background;
use smilax_e2e::disrupt::{Helm, OperatorAway};
use smilax_e2e::guarded::Callers;
use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::wait::wait_within;
use smilax_e2e::{Guarded, Load, Match, Progress, RouteGroup, Server, TrafficTarget, wait_until};

static GUARDED: Guarded = Guarded::new("rotation");
/// Every proxy fetches a certificate, and the next step waits for the last of them.
const ROTATION: Duration = Duration::from_mins(5);

/// A protected server under 500 requests a second from the one caller that it lets in.
struct UnderLoad {
    callers: &'static Callers,
    server: Server,
    load: Background,
}

impl UnderLoad {
    fn begin(name: &str) -> Self {
        let callers = GUARDED.callers();
        let server = callers.server(name);
        callers
            .namespace
            .apply(RouteGroup::named(name).or(Match::named("all")));
        callers.protect(&server, TrafficTarget::of(name).from("friend").http(name));
        let load = callers.friend.start(Load::http(name).rate(500).connections(8));
        load.goes_on(500);
        Self {
            callers,
            server,
            load,
        }
    }

    /// What the proxies of this account are told to trust.
    fn bundle(&self) -> TrustBundle {
        let map = must(
            self.callers
                .namespace
                .kubectl()
                .get(&["configmap", "smilax-friend"]),
        );
        let text = map["data"][TRUST_BUNDLE_KEY].as_str().unwrap_or_default();
        serde_json::from_str(text).expect("the ConfigMap holds a trust bundle")
    }

    /// Holds that nothing failed, and that nothing went in plaintext.
    fn end(self) {
        self.load.goes_on(500);
        assert_no_failures(&self.load.stop());
        let page = self.server.pod.proxy_metrics();
        let plain = page.lines().find(|line| {
            line.starts_with("smilax_proxy_plaintext_connections_total{") && !line.ends_with(" 0")
        });
        assert_eq!(plain, None, "some of it went in plaintext");
    }
}

fn roots(bundle: &TrustBundle) -> usize {
    bundle.roots.matches("BEGIN CERTIFICATE").count()
}

/// Waits until a change of trust has come to its end.
fn settled(load: &UnderLoad, before: &TrustBundle) -> TrustBundle {
    wait_within(ROTATION, "another key signs, and one root is trusted", || {
        let now = load.bundle();
        let status = || {
            load.callers
                .mesh
                .smilax(&["ca", "status"])
                .unwrap_or_else(|error| error)
        };
        Progress::when(now.issuer != before.issuer && roots(&now) == 1, now, status)
    })
}

/// Holds that the proxies on both sides have certificates of the key that signs now.
fn all_renewed(load: &UnderLoad, bundle: &TrustBundle) {
    for client in [&load.callers.friend, &load.callers.stranger, &load.server.pod] {
        wait_until(
            &format!("{} has a certificate of the new key", client.pod()),
            || {
                let page = client.get("http://127.0.0.1:15000/certificates").body;
                let issuer = serde_json::from_str::<Value>(&page)
                    .map(|page| page["certificate"]["issuer"].clone())
                    .unwrap_or_default();
                Progress::when(issuer == bundle.issuer.0.as_str(), (), || page.clone())
            },
        );
    }
}

#[test]
fn a_root_is_exchanged_under_load_without_a_failure_and_without_plaintext() {
    let load = UnderLoad::begin("root");
    let before = load.bundle();
    load.callers
        .mesh
        .smilax(&["ca", "rotate", "--root"])
        .expect("the command is taken");
    let after = settled(&load, &before);
    assert_ne!(after.roots, before.roots);
    all_renewed(&load, &after);
    load.end();
}

#[test]
fn certificates_that_run_out_close_the_mesh_and_it_opens_again_with_the_operator() {
    let callers = GUARDED.callers();
    let helm = Helm::of(&callers.mesh);
    helm.upgrade(&["certificates.lifetimeSeconds=60"]);
    callers.mesh.available();
    // Certificates of the shorter life come with the next pods.
    let server = callers.server("short");
    let caller = callers.namespace.client("shortlived");
    caller.secures("short");
    caller.reaches(&server.url("/"));
    let away = OperatorAway::begin(&callers.mesh);
    // A minute of life, and what clocks are forgiven.
    wait_within(ROTATION, "nobody is believed any more", || {
        let fetched = caller.get(&server.url("/"));
        assert!(
            matches!(fetched.status, Some(200 | 503)),
            "neither served nor closed: {fetched:?}"
        );
        Progress::when(fetched.status == Some(503), (), || format!("{fetched:?}"))
    });
    away.end();
    caller.reaches(&server.url("/"));
    helm.upgrade(&["certificates.lifetimeSeconds=86400"]);
    callers.mesh.available();
}

#[test]
fn an_issuer_is_exchanged_under_load_and_the_root_stays() {
    let load = UnderLoad::begin("issuer");
    let before = load.bundle();
    load.callers
        .mesh
        .smilax(&["ca", "rotate", "--issuer"])
        .expect("the command is taken");
    let after = settled(&load, &before);
    assert_eq!(after.roots, before.roots);
    all_renewed(&load, &after);
    load.end();
}

#[test]
fn a_root_that_is_exchanged_while_the_operator_comes_and_goes_is_exchanged_all_the_same() {
    let load = UnderLoad::begin("resumed");
    let before = load.bundle();
    load.callers
        .mesh
        .smilax(&["ca", "rotate", "--root"])
        .expect("the command is taken");
    wait_until("both roots are trusted", || {
        let now = load.bundle();
        Progress::when(roots(&now) == 2 || now.issuer != before.issuer, (), || {
            format!("{now:?}")
        })
    });
    let away = OperatorAway::begin(&load.callers.mesh);
    load.load.goes_on(1000);
    away.end();
    let after = settled(&load, &before);
    all_renewed(&load, &after);
    load.end();
}
