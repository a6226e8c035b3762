//! What must hold for any bytes that reach the operator's webhooks.

use serde_json::Value;
use smilax_core::probe::PathKey;
use smilax_operator::cluster_view::NamespaceView;
use smilax_operator::inject::{self, InjectRequest, InjectSettings, Outcome};

/// An object of any form is judged, converted and injected or refused. Injecting what was injected
/// changes nothing, and the patch makes of the one pod the other.
pub(crate) fn admission(bytes: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let _ = smilax_crds::validate(&object);
    let _ = smilax_crds::conversion_review(bytes);
    let _ = smilax_crds::room(&object);
    let settings = settings();
    let namespace = NamespaceView {
        name: "shop".to_owned(),
        labels: [("smilax.dev/inject".to_owned(), "enabled".to_owned())].into(),
        ..NamespaceView::default()
    };
    let _ = inject::validate_workload(&object, None, &namespace, &settings);
    let _ = inject::validate_running(&object, &object, &settings);
    let inject = |pod, random| {
        inject::inject(&InjectRequest {
            pod,
            namespace: &namespace,
            settings: &settings,
            path_key: &PathKey::new(random),
        })
    };
    if let Outcome::Injected { pod: injected, .. } = inject(&object, [1; 16]) {
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &inject::patch(&object, &injected)).expect("the patch applies");
        assert_eq!(patched, injected);
        let Outcome::Injected { pod: again, .. } = inject(&injected, [2; 16]) else {
            panic!("an injected pod is not injected again");
        };
        assert_eq!(again, injected, "injected twice");
    }
}

fn settings() -> InjectSettings {
    use inject::{ProxyLogFormat, PullPolicy, Resources};
    InjectSettings {
        proxy_image: "registry.example/smilax-proxy:0.1.0".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        resources: Resources::parse("50m", "1", "32Mi", "128Mi").expect("quantities"),
        log_level: smilax_core::LogFilter::default(),
        log_format: ProxyLogFormat::Json,
        metrics_sources: smilax_core::SourceRanges::default(),
        drain_seconds: 30,
        cluster_domain: "cluster.local".to_owned(),
        version: "0.1.0".to_owned(),
        installation_namespace: "smilax-system".to_owned(),
    }
}
