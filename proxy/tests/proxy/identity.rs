//! How a proxy comes by its certificate, and what it says to the operator.

use std::time::Duration;

use http::StatusCode;
use smilax_core::config::Protocol;
use smilax_core::workload_connection::{Ack, OperatorMessage, Outcome, ProxyMessage, Subject, TrustBundle};
use smilax_core::{Members, ProxyConfig, Workload};
use smilax_proxy::settings::IdentitySource;

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::operator::{Operator, TOKEN};
use crate::support::{Net, ProxyBuilder, TestProxy, eventually};

const ID: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn config(operator: &Operator, counter: u64) -> ProxyConfig {
    ProxyConfig {
        operator: Some(operator.endpoint()),
        workload: Workload::new("shop", "web"),
        ..Net::new().config(counter, Protocol::Http, vec![])
    }
}

/// A proxy of `shop/web` that is told of this operator.
fn builder(operator: &Operator) -> ProxyBuilder {
    let mut builder = TestProxy::builder().config(&config(operator, 1));
    builder.put("config/trust-bundle.json", &json(&operator.state.bundle.lock()));
    builder.put("token", format!("{TOKEN}\n").as_bytes());
    let token = builder.path("token");
    builder.set(|settings| settings.identity = IdentitySource::Operator { token })
}

fn json(bundle: &TrustBundle) -> Vec<u8> {
    serde_json::to_vec(bundle).unwrap()
}

async fn operator() -> Operator {
    Operator::start(Authority::new("cluster.local")).await
}

/// Who the proxy is, as others see it.
fn identity(proxy: &TestProxy) -> Option<String> {
    let context = proxy.proxy().shared().tls.load();
    Some(context.as_ref()?.own.identity.id.to_string())
}

fn not_after(proxy: &TestProxy) -> u64 {
    let context = proxy.proxy().shared().tls.load();
    context.as_ref().map_or(0, |context| context.own.not_after)
}

fn generation(proxy: &TestProxy) -> u64 {
    let context = proxy.proxy().shared().tls.load();
    context
        .as_ref()
        .map_or(0, |context| context.trust.bundle.generation)
}

async fn certified(proxy: &TestProxy) {
    eventually("there is a certificate", || {
        identity(proxy).as_deref() == Some(ID)
    })
    .await;
}

#[tokio::test]
async fn a_starting_proxy_gets_a_certificate_and_is_ready_only_then() {
    let operator = operator().await;
    operator
        .state
        .refusals
        .lock()
        .extend([StatusCode::TOO_MANY_REQUESTS; 3]);
    let proxy = builder(&operator).start();
    let answer = get(proxy.metrics_address(), "/ready").await;
    if identity(&proxy).is_none() {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    certified(&proxy).await;
    for path in ["/ready", "/startup"] {
        assert_eq!(get(proxy.metrics_address(), path).await.status, StatusCode::OK);
    }
    proxy
        .counts(
            "smilax_proxy_certificate_renewals_total{outcome=\"refused\"}",
            &[],
            3,
        )
        .await;
    assert_eq!(
        proxy.metric("smilax_proxy_certificate_not_after_seconds").await,
        not_after(&proxy)
    );
}

#[tokio::test]
async fn without_an_operator_in_the_configuration_nobody_waits_for_a_certificate() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let answer = get(proxy.metrics_address(), "/ready").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn the_application_is_held_back_for_want_of_a_certificate_and_not_for_ever() {
    let operator = operator().await;
    operator
        .state
        .refusals
        .lock()
        .extend([StatusCode::FORBIDDEN; 100]);
    for (patience, startup) in [
        (Duration::from_hours(1), StatusCode::SERVICE_UNAVAILABLE),
        (Duration::ZERO, StatusCode::OK),
    ] {
        let proxy = builder(&operator)
            .set(|settings| settings.limits.certificate = patience)
            .start();
        let answer = get(proxy.metrics_address(), "/startup").await;
        assert_eq!(answer.status, startup);
        let answer = get(proxy.metrics_address(), "/ready").await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "there is no certificate yet\n")
        );
    }
}

#[tokio::test]
async fn a_proxy_that_starts_again_needs_no_operator() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let before = not_after(&proxy);
    drop(operator);
    let proxy = proxy.restart();
    assert_eq!(
        (identity(&proxy).as_deref(), not_after(&proxy)),
        (Some(ID), before)
    );
    let answer = get(proxy.metrics_address(), "/ready").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_runs_out() {
    let operator = operator().await;
    operator.sign_with(|leaf| leaf.not_after = 6);
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let first = not_after(&proxy);
    operator.sign_with(|_| {});
    eventually("it is renewed", || not_after(&proxy) > first).await;
    assert!(smilax_proxy::config_source::now() <= first);
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_asked_for_until_it_is_given_and_the_pod_stays_ready() {
    let operator = operator().await;
    operator.sign_with(|leaf| leaf.not_after = 3);
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let first = not_after(&proxy);
    operator
        .state
        .refusals
        .lock()
        .extend([StatusCode::FORBIDDEN; 1000]);
    eventually("it has run out", || smilax_proxy::config_source::now() > first).await;
    assert_eq!(not_after(&proxy), first);
    let answer = get(proxy.metrics_address(), "/ready").await;
    assert_eq!(answer.status, StatusCode::OK, "its peers judge it, not kubelet");
    operator.sign_with(|_| {});
    operator.state.refusals.lock().clear();
    eventually("another one is given", || not_after(&proxy) > first).await;
}

#[tokio::test]
async fn another_issuer_in_the_bundle_is_reason_to_renew() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    eventually("it is connected", || operator.sessions() == 1).await;
    let authority = std::mem::replace(
        &mut *operator.state.authority.lock(),
        Authority::new("cluster.local").into(),
    );
    let authority = std::sync::Arc::into_inner(authority).unwrap().with_new_issuer();
    let (bundle, issuer) = (authority.bundle(2), authority.issuer_id());
    *operator.state.authority.lock() = authority.into();
    operator.state.bundle.lock().clone_from(&bundle);
    operator.say(&OperatorMessage::Bundle(bundle));
    eventually("the new issuer's certificate is in use", || {
        let context = proxy.proxy().shared().tls.load();
        let context = context.as_ref().unwrap();
        context.own.issuer(&context.trust) == issuer
    })
    .await;
    eventually("the operator is told", || {
        operator.heard(0).iter().any(
            |message| matches!(message, ProxyMessage::Certificate(certificate) if certificate.issuer == issuer),
        )
    })
    .await;
    eventually("and reached with the new certificate", || {
        operator.sessions() == 2
    })
    .await;
    assert_eq!(operator.requests(), 2);
}

#[tokio::test]
async fn what_the_operator_gives_is_used_only_when_it_is_for_this_account_and_others_would_believe_it() {
    let operator = operator().await;
    for wrong in [
        "spiffe://cluster.local/ns/shop/sa/admin",
        "spiffe://other/ns/shop/sa/web",
    ] {
        operator.sign_with(move |leaf| leaf.uris = vec![wrong.to_owned()]);
        let proxy = builder(&operator).start();
        let metric = "smilax_proxy_certificate_renewals_total{outcome=\"invalid\"}";
        while proxy.metric(metric).await == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(identity(&proxy), None);
    }
}

#[tokio::test]
async fn the_token_is_not_shown_to_who_does_not_prove_to_be_the_operator() {
    let authority = Authority::new("cluster.local");
    let roots = authority.bundle(1);
    for impostor in [Operator::start_as(authority, "shop/web").await, operator().await] {
        *impostor.state.bundle.lock() = roots.clone();
        let proxy = builder(&impostor).start();
        let metric = "smilax_proxy_certificate_renewals_total{outcome=\"not_the_operator\"}";
        while proxy.metric(metric).await == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(impostor.requests(), 0);
    }
}

#[tokio::test]
async fn the_operator_is_told_what_is_in_force() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    eventually("Hello arrives", || !operator.heard(0).is_empty()).await;
    let ProxyMessage::Hello(hello) = operator.heard(0).remove(0) else {
        panic!("the first message is not Hello");
    };
    assert_eq!((hello.pod.as_str(), hello.bundle), ("client-1", Some(1)));
    assert_eq!(hello.certificate.unwrap().not_after, not_after(&proxy));
    let next = config(&operator, 2);
    proxy.apply(&next).await;
    let applied = ProxyMessage::Ack(Ack {
        subject: Subject::Revision(next.revision),
        outcome: Outcome::Applied,
    });
    eventually("the new revision is told", || {
        operator.heard(0).contains(&applied)
    })
    .await;
    proxy.counts("smilax_proxy_operator_connected", &[], 1).await;
}

#[tokio::test]
async fn a_refused_configuration_is_told_with_its_place() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    eventually("it is connected", || operator.sessions() == 1).await;
    let mut broken = config(&operator, 2);
    broken.requires = vec!["teleport".to_owned()];
    proxy.write(&serde_json::to_vec(&broken).unwrap());
    eventually("the refusal is told", || {
        operator.heard(0).iter().any(|message| {
            matches!(message, ProxyMessage::Ack(Ack { subject: Subject::Revision(revision), outcome: Outcome::Rejected { path, .. } })
                if *revision == broken.revision && path == "requires")
        })
    })
    .await;
}

#[tokio::test]
async fn a_bundle_over_the_stream_is_in_force_and_acknowledged_and_never_goes_back() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    eventually("it is connected", || operator.sessions() == 1).await;
    let next = Authority::new("cluster.local");
    let both = {
        let now = operator.state.authority.lock();
        let mut both = Authority::bundle_of(&[&next, &now], 5);
        both.issuer = now.issuer_id();
        both
    };
    operator.say(&OperatorMessage::Bundle(both));
    let applied = ProxyMessage::Ack(Ack {
        subject: Subject::Bundle(5),
        outcome: Outcome::Applied,
    });
    eventually("it is acknowledged", || operator.heard(0).contains(&applied)).await;
    assert_eq!(generation(&proxy), 5);
    let older = operator.state.authority.lock().bundle(4);
    operator.say(&OperatorMessage::Bundle(older));
    eventually("it is answered with what is in force", || {
        operator
            .heard(0)
            .iter()
            .filter(|message| **message == applied)
            .count()
            == 2
    })
    .await;
    assert_eq!(generation(&proxy), 5);
}

#[tokio::test]
async fn members_of_bindings_come_over_the_stream_and_stay_when_it_is_gone() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    eventually("it is connected", || operator.sessions() == 1).await;
    let members = Members([("shop/admins".to_owned(), ["7b3c".into()].into())].into());
    operator.say(&OperatorMessage::Members(members.clone()));
    let known = || (**proxy.proxy().shared().members.load()).clone();
    eventually("they are known", || known() == members).await;
    operator.hang_up();
    eventually("it comes back", || operator.sessions() == 2).await;
    assert_eq!(known(), members);
    assert!(matches!(
        operator.heard(1).first(),
        Some(ProxyMessage::Hello(_)) | None
    ));
}

#[tokio::test]
async fn a_mounted_bundle_is_followed() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let next = operator.state.authority.lock().bundle(7);
    proxy.put("config/trust-bundle.json", &json(&next));
    eventually("it is in force", || generation(&proxy) == 7).await;
}

#[tokio::test]
async fn c13_neither_key_nor_token_is_shown_by_administration_metrics_or_kept_openly() {
    use std::fmt::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let shared = proxy.proxy().shared();
    let state = shared.settings.state_directory.clone().unwrap();
    let key = std::fs::read_to_string(state.join("identity.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for file in ["identity.key", "identity.pem"] {
        let mode = std::fs::metadata(state.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let shown = get(proxy.admin_address(), "/certificates").await.text;
    assert!(shown.contains(ID), "{shown}");
    let mut pages = shown;
    pages += &get(proxy.admin_address(), "/config").await.text;
    pages += &get(proxy.admin_address(), "/config/status").await.text;
    pages += &get(proxy.metrics_address(), "/metrics").await.text;
    write!(pages, "{shared:?}").unwrap();
    for marked in [TOKEN, secret, "PRIVATE KEY"] {
        assert!(!pages.contains(marked), "{marked} is shown");
    }
}

#[tokio::test]
async fn a_proxy_without_an_operator_takes_its_identity_from_files() {
    let authority = Authority::new("cluster.local");
    let leaf = authority.leaf("shop/web");
    let net = Net::new();
    let mut builder = TestProxy::builder().config(&net.config(1, Protocol::Http, vec![]));
    builder.put("key.pem", leaf.key_pem().as_bytes());
    builder.put("chain.pem", leaf.chain_pem().as_bytes());
    builder.put("roots.pem", authority.root_pem().as_bytes());
    let (key, chain) = (builder.path("key.pem"), builder.path("chain.pem"));
    let roots = builder.path("roots.pem");
    let proxy = builder
        .set(|settings| {
            settings.identity = IdentitySource::Files { key, chain };
            settings.trust_roots = Some(roots);
        })
        .start();
    assert_eq!(identity(&proxy).as_deref(), Some(ID));
    let answer = get(proxy.metrics_address(), "/ready").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn labels_that_change_are_followed() {
    let net = Net::new();
    let mut builder = TestProxy::builder().config(&net.config(1, Protocol::Http, vec![]));
    builder.put("labels", b"app=\"web\"\n");
    let labels = builder.path("labels");
    let proxy = builder.set(|settings| settings.labels = Some(labels)).start();
    let before = proxy.proxy().shared().table.load_full();
    proxy.put("labels", b"app=\"web\"\ntier=\"gold\"\n");
    eventually("the configuration is read anew", || {
        !std::sync::Arc::ptr_eq(&before, &proxy.proxy().shared().table.load_full())
    })
    .await;
}

#[tokio::test]
async fn without_knowing_its_labels_a_proxy_begins_with_no_configuration() {
    let net = Net::new();
    let mut builder = TestProxy::builder().config(&net.config(1, Protocol::Http, vec![]));
    builder.put("labels", b"app=web\n");
    let labels = builder.path("labels");
    let proxy = builder.set(|settings| settings.labels = Some(labels)).start();
    let answer = get(proxy.metrics_address(), "/startup").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    proxy.put("labels", b"app=\"web\"\n");
    eventually("the configuration is in force", || {
        proxy.proxy().shared().table.load().revision.counter == 1
    })
    .await;
}

#[tokio::test]
async fn another_trust_domain_is_reason_to_renew() {
    let operator = operator().await;
    let proxy = builder(&operator).start();
    certified(&proxy).await;
    let mut moved = config(&operator, 2);
    moved.trust_domain = "elsewhere".parse().unwrap();
    proxy.write(&serde_json::to_vec(&moved).unwrap());
    // The operator of this test proves an identity of the domain before, so nothing is given; what was there stays.
    let metric = "smilax_proxy_certificate_renewals_total{outcome=\"not_the_operator\"}";
    while proxy.metric(metric).await == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(identity(&proxy).as_deref(), Some(ID));
}
