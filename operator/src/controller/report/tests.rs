use smilax_compiler::model::Sidecar;
use smilax_compiler::token::TokenHolder;
use smilax_core::config::AccessMode;

use super::*;

fn pod() -> Pod {
    Pod::default()
}

fn injected(inbound_udp: InboundUdp, access: Option<AccessMode>) -> Pod {
    Pod {
        sidecar: Some(Sidecar {
            image: String::new(),
            inbound_udp,
            access,
        }),
        ..pod()
    }
}

#[test]
fn a_pod_that_was_made_under_another_mode_is_to_be_restarted() {
    let is_told = |udp, own, access| {
        let modes = Modes {
            access,
            ..Modes::default()
        };
        let told = restart(&injected(udp, own), &modes).map(|one| one.reason);
        told == Some(PodReason::RestartNeeded)
    };
    assert!(is_told(InboundUdp::Open, None, AccessMode::Deny));
    assert!(is_told(InboundUdp::Drop, None, AccessMode::Allow));
    assert!(!is_told(InboundUdp::Drop, None, AccessMode::Deny));
    assert!(!is_told(InboundUdp::Open, None, AccessMode::Allow));
    assert!(is_told(
        InboundUdp::Open,
        Some(AccessMode::Deny),
        AccessMode::Allow
    ));
}

#[test]
fn s31_a_patch_makes_no_pod_one_that_is_in_keeping_with_its_access_mode() {
    let mut pod = injected(InboundUdp::Open, None);
    pod.annotations
        .insert(key::INBOUND_UDP.to_owned(), "drop".to_owned());
    let modes = Modes {
        access: AccessMode::Deny,
        ..Modes::default()
    };
    assert!(restart(&pod, &modes).is_some());
}

#[test]
fn what_injection_ignored_is_told_and_a_plain_note_is_not() {
    let noted = |status: &str| Pod {
        inject_status: Some(status.to_owned()),
        ..injected(InboundUdp::Open, None)
    };
    let finding = ignored(&noted("injected; ignored: smilax.dev/log-level: no filter")).unwrap();
    assert_eq!(finding.reason, PodReason::InvalidAnnotation);
    assert_eq!(finding.message, "ignored: smilax.dev/log-level: no filter");
    assert_eq!(ignored(&noted("injected")), None);
    assert_eq!(ignored(&noted("left alone: it uses the host network")), None);
    assert_eq!(ignored(&pod()), None);
}

#[test]
fn a_pod_without_a_proxy_behind_a_service_of_a_strict_namespace_is_told_that_it_cannot_be_called() {
    let mut index = Index::new(smilax_compiler::index::Settings::default());
    let namespace = |mode: &str| smilax_compiler::model::Namespace {
        name: "shop".into(),
        labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
        annotations: [(key::TLS_MODE.to_owned(), mode.to_owned())].into(),
        ..Default::default()
    };
    let service = serde_json::json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let service = smilax_compiler::ingest::service(&serde_json::from_value(service).unwrap());
    index.set_service("shop", "web".into(), Some(service));
    let host = Pod {
        host_network: true,
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..pod()
    };
    index.set_pod("shop", "web-1".into(), Some(host));
    index.set_namespace("shop", Some(namespace("strict")));
    let told = findings(&index, "shop");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, PodReason::UnreachableFromMesh);
    assert!(told[0].message.contains("it uses the host network"), "{told:?}");
    index.set_namespace("shop", Some(namespace("permissive")));
    assert_eq!(findings(&index, "shop"), []);
}

#[test]
fn pods_are_counted_as_they_come_end_and_go_with_their_namespace() {
    let mut index = Index::new(smilax_compiler::index::Settings::default());
    let shop: Arc<str> = "shop".into();
    let enabled = smilax_compiler::model::Namespace {
        name: shop.clone(),
        labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
        ..Default::default()
    };
    index.set_namespace("shop", Some(enabled));
    let injected = injected(InboundUdp::Open, None);
    let ended = Pod {
        finished: true,
        ..injected.clone()
    };
    index.set_pod("shop", "with".into(), Some(injected));
    index.set_pod("shop", "without".into(), Some(pod()));
    let mut counts = PodCounts::default();
    let mut count = |index: &Index| {
        counts.look_at(index, &shop);
        (counts.all().injected, counts.all().uninjected)
    };
    assert_eq!(count(&index), (1, 1));
    index.set_pod("shop", "with".into(), Some(ended));
    assert_eq!(count(&index), (0, 1));
    index.set_namespace("shop", None);
    assert_eq!(count(&index), (0, 0));
}

#[test]
fn a_pod_of_an_enabled_namespace_wants_a_proxy() {
    assert!(wants_proxy(&pod(), Membership::Joined));
    assert!(!wants_proxy(&pod(), Membership::Outside));
}

#[test]
fn what_the_pod_says_comes_before_what_its_namespace_says() {
    let labelled = |value: &str| {
        let mut pod = pod();
        pod.labels.insert(key::INJECT.to_owned(), value.to_owned());
        pod
    };
    assert!(wants_proxy(&labelled("enabled"), Membership::Outside));
    assert!(!wants_proxy(&labelled("disabled"), Membership::Joined));
}

fn left_alone() -> Pod {
    Pod {
        inject_status: Some("left alone".to_owned()),
        ..pod()
    }
}

#[test]
fn pods_that_ended_or_were_left_alone_on_purpose_want_none() {
    let ended = Pod {
        finished: true,
        ..pod()
    };
    let on_host = Pod {
        host_network: true,
        ..pod()
    };
    for pod in [ended, on_host, left_alone()] {
        assert!(!wants_proxy(&pod, Membership::Joined), "{pod:?}");
    }
}

#[test]
fn s31_a_patch_makes_no_pod_one_that_stays_out_on_purpose_where_none_may() {
    let mut opted_out = left_alone();
    opted_out
        .labels
        .insert(key::INJECT.to_owned(), "disabled".to_owned());
    assert!(wants_proxy(&opted_out, Membership::Bound));
}

#[test]
fn s12_a_pod_whose_token_is_not_its_sidecars_alone_is_told_that_it_gets_no_certificate() {
    let holder = |container: &str| TokenHolder {
        container: container.to_owned(),
        arguments: vec!["run".to_owned()],
        ..TokenHolder::default()
    };
    let told = |holders: &[TokenHolder]| {
        let mut index = Index::default();
        let pod = Pod {
            token_holders: holders.to_vec(),
            ..pod()
        };
        index.set_pod("shop", "web-1".into(), Some(pod));
        let reasons = findings(&index, "shop").into_iter().map(|one| one.reason);
        reasons
            .filter(|reason| *reason == PodReason::NoCertificate)
            .count()
    };
    assert_eq!(told(&[holder("application")]), 1);
    assert_eq!(told(&[holder("smilax-proxy")]), 0);
    assert_eq!(told(&[]), 0, "it asks for none");
}
