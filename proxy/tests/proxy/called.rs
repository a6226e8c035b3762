//! Who calls a Service that does not answer is told which one it is, where reasons may be told.

use http::StatusCode;
use smilax_core::config::Protocol;
use smilax_proxy::settings::Reasons;

use crate::support::client::get;
use crate::support::{Net, TestProxy, split};

/// The answer to a request for a split whose only backend is not there.
async fn answer(reasons: Reasons) -> String {
    let net = Net::new();
    let config = net.config(1, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&config)
        .set(|settings| settings.reasons = reasons)
        .start();
    let answer = get(proxy.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text.starts_with("smilax: cannot connect to "),
        "{}",
        answer.text
    );
    answer.text
}

#[tokio::test]
async fn a_503_names_the_service_the_split_and_the_backend_where_reasons_are_told() {
    let text = answer(Reasons::Told).await;
    let told = format!(
        "(Service shop/web port {}, TrafficSplit shop/web, backend shop/v1)\n",
        crate::support::PORT
    );
    assert!(text.ends_with(&told), "{text}");
}

#[tokio::test]
async fn s12_a_503_names_nothing_where_reasons_are_kept() {
    let text = answer(Reasons::Kept).await;
    assert!(!text.contains("shop/"), "{text}");
}
