//! Reviews of very many tiny values, which take a hundred times their bytes when they are read.

use super::*;

/// 1.4 MB of maps with one member, the dearest that there are.
fn tiny_values() -> String {
    format!("[{}]", vec![r#"{"":0}"#; 200_000].join(","))
}

/// A review in which each value that is a placeholder is exchanged for the tiny ones.
fn bomb(review: &Value, placeholder: &str) -> String {
    review
        .to_string()
        .replace(&format!(r#""{placeholder}""#), &tiny_values())
}

const HERE: &str = "here";

fn denial(body: &str) -> (Value, String) {
    let answer: Value = serde_json::from_str(body).unwrap();
    let response = answer["response"].clone();
    let message = response["status"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (response, message)
}

#[tokio::test]
async fn s25_a_pod_of_very_many_tiny_values_is_denied_by_name_and_number() {
    for place in ["spec", "metadata", "unknown"] {
        let mut pod = pod();
        pod.0["metadata"]["name"] = json!("web");
        pod.0[place]["env"] = json!(HERE);
        let (status, body) = ask(post("/inject", bomb(&creation(&pod), HERE))).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let (response, message) = denial(&body);
        assert_eq!(response["uid"], "42");
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 413);
        assert!(message.starts_with("Pod shop/web: has 400"), "{message}");
        assert!(message.contains("the limit is 2"), "{message}");
    }
}

#[tokio::test]
async fn s25_a_policy_of_very_many_tiny_values_is_denied_unless_it_is_being_deleted() {
    let mut split = split(1);
    split["spec"]["unknown"] = json!(HERE);
    let (_, body) = ask(post("/validate", bomb(&review(SPLIT, "CREATE", &split), HERE))).await;
    let (response, message) = denial(&body);
    assert_eq!(response["allowed"], false);
    assert!(message.starts_with("TrafficSplit shop/web: "), "{message}");

    split["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut update = review(SPLIT, "UPDATE", &split);
    update["request"]["oldObject"] = split.clone();
    // A finalizer goes, and nothing else.
    update["request"]["oldObject"]["metadata"]["finalizers"] = json!(["a"]);
    let (_, body) = ask(post("/validate", bomb(&update, HERE))).await;
    assert_eq!(denial(&body).0["allowed"], true);
}

#[tokio::test]
async fn s46_a_policy_of_very_many_tiny_values_is_denied_to_what_is_being_deleted() {
    let mut going = split(1);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut changed = going.clone();
    changed["spec"]["unknown"] = json!(HERE);
    let mut update = review(SPLIT, "UPDATE", &changed);
    update["request"]["oldObject"] = going;
    let (_, body) = ask(post("/validate", bomb(&update, HERE))).await;
    assert_eq!(denial(&body).0["allowed"], false);
}

#[tokio::test]
async fn s25_a_stored_policy_of_very_many_tiny_values_can_be_made_smaller() {
    let mut update = review(SPLIT, "UPDATE", &split(1));
    update["request"]["oldObject"] = json!(HERE);
    let (_, body) = ask(post("/validate", bomb(&update, HERE))).await;
    assert_eq!(denial(&body).0["allowed"], true, "{body}");
}

#[tokio::test]
async fn s25_what_is_not_judged_is_not_read_however_much_it_is() {
    let mut deletion = review(SPLIT, "DELETE", &Value::Null);
    deletion["request"]["oldObject"] = json!(HERE);
    let mut unknown = review(SPLIT, "CREATE", &split(1));
    unknown["request"]["options"] = json!(HERE);
    for request in [deletion, unknown] {
        let (_, body) = ask(post("/validate", bomb(&request, HERE))).await;
        assert_eq!(denial(&body).0["allowed"], true, "{body}");
    }
}

#[tokio::test]
async fn s25_a_warning_about_keys_refuses_no_object_of_tiny_values() {
    let object = json!({"metadata": {"name": "a", "annotations": HERE}});
    let request = bomb(&review(("", "Service"), "CREATE", &object), HERE);
    let (_, body) = ask(post("/keys", request)).await;
    let (response, _) = denial(&body);
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("smilax: Service shop/a: has 400"),
        "{warning}"
    );
}

#[tokio::test]
async fn s25_a_debug_container_in_a_pod_of_tiny_values_is_denied() {
    let mut update = review(("", "Pod"), "UPDATE", &pod().0);
    update["request"]["subResource"] = json!("ephemeralcontainers");
    update["request"]["oldObject"] = json!(HERE);
    let (_, body) = ask(post("/validate", bomb(&update, HERE))).await;
    assert_eq!(denial(&body).0["allowed"], false, "{body}");
}

#[tokio::test]
async fn s25_a_pod_as_large_as_the_api_server_takes_is_injected() {
    let env: Vec<Value> = (0..16_000)
        .map(|number| json!({"name": format!("VARIABLE_NUMBER_{number}"), "value": format!("https://service-{number}.shop.svc.cluster.local/some/path")}))
        .collect();
    let pod = pod().container(container("app").with("env", json!(env)));
    let request = creation(&pod).to_string();
    assert!(request.len() > 1_400_000, "{}", request.len());
    let (status, body) = ask(post("/inject", request)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(denial(&body).0.get("patch").is_some(), "{body}");
}

#[tokio::test]
async fn s25_a_list_of_ten_thousand_objects_is_converted() {
    let mut object = split(1);
    object["spec"]["matches"] = json!([{"kind": "HTTPRouteGroup", "name": "group"}]);
    let objects = vec![object; 10_000];
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "7", "desiredAPIVersion": "split.smi-spec.io/v1alpha2", "objects": objects},
    });
    let (status, body) = ask(post("/convert", review.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        answer["response"]["convertedObjects"].as_array().unwrap().len(),
        10_000
    );
}

#[tokio::test(start_paused = true)]
async fn s25_who_finds_no_room_is_told_when_to_ask_again() {
    let routes = Routes::new(state().0);
    let _all = routes.exhausted(API_SERVER).await;
    let response = routes
        .answer(API_SERVER, post("/inject", creation(&pod()).to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    let response = routes
        .answer(other, post("/inject", creation(&pod()).to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::OK, "another source has room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_many_large_reviews_at_once_keep_no_small_one_waiting() {
    let routes = Arc::new(Routes::new(state().0));
    // Each takes four times what a small one may.
    let pod = pod().spec("unknown", json!(HERE));
    let large = creation(&pod).to_string().replacen(
        &format!(r#""{HERE}""#),
        &format!("[{}]", vec![r#"{"":0}"#; 6_000].join(",")),
        1,
    );
    let attack: Vec<_> = (0..16)
        .map(|_| {
            let (routes, large) = (Arc::clone(&routes), large.clone());
            tokio::spawn(async move { routes.answer(API_SERVER, post("/inject", large)).await.status() })
        })
        .collect();
    for _ in 0..5 {
        let request = post("/inject", creation(&crate::inject::fixture::pod()).to_string());
        let asked = tokio::time::timeout(
            std::time::Duration::from_secs(2),
            routes.answer(API_SERVER, request),
        );
        assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
    }
    for one in attack {
        let status = one.await.unwrap();
        assert!(
            matches!(status, StatusCode::OK | StatusCode::TOO_MANY_REQUESTS),
            "{status}"
        );
    }
}
