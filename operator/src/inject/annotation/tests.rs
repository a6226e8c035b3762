use smilax_core::convention::key;

use super::super::fixture::{Pod, pod, settings, shop};
use super::*;

fn read(pod: &Pod, namespace: &NamespaceView) -> (Options, Vec<String>) {
    let (options, bad) = resolve(&pod.0, namespace, &settings());
    (options, bad.iter().map(ToString::to_string).collect())
}

fn cpu(options: &Options) -> (&str, &str) {
    (
        options.resources.cpu_request.as_str(),
        options.resources.cpu_limit.as_str(),
    )
}

#[test]
fn the_pod_comes_before_the_namespace_and_the_namespace_before_the_installation() {
    let namespace = shop()
        .annotation(key::LOG_LEVEL, "warn")
        .annotation(key::DRAIN_SECONDS, "7");
    let (options, bad) = read(&pod().annotation(key::LOG_LEVEL, "debug"), &namespace);
    assert_eq!((options.log_level.as_str(), options.drain_seconds), ("debug", 7));
    assert!(bad.is_empty());
    let (options, _) = read(&pod(), &shop());
    assert_eq!((options.log_level.as_str(), options.drain_seconds), ("info", 30));
}

#[test]
fn a_default_gives_way_to_the_request_or_limit_beside_it() {
    let (options, _) = read(&pod().annotation(key::CPU_LIMIT, "20m"), &shop());
    assert_eq!(cpu(&options), ("20m", "20m"));
    let (options, _) = read(&pod().annotation(key::CPU_REQUEST, "3"), &shop());
    assert_eq!(cpu(&options), ("3", "3"));
    let both = pod()
        .annotation(key::CPU_REQUEST, "100m")
        .annotation(key::CPU_LIMIT, "200m");
    assert_eq!(cpu(&read(&both, &shop()).0), ("100m", "200m"));
}

#[test]
fn a_request_above_its_limit_is_a_bad_value() {
    let pod = pod()
        .annotation(key::CPU_REQUEST, "2")
        .annotation(key::CPU_LIMIT, "1");
    let (options, bad) = read(&pod, &shop());
    assert_eq!(cpu(&options), ("1", "1"));
    assert_eq!(
        bad,
        ["smilax.dev/proxy-cpu-request: 2 is above the limit of 1, which is taken instead"]
    );
}

#[test]
fn a_bad_value_of_the_namespace_names_the_namespace() {
    let (options, bad) = read(&pod(), &shop().annotation(key::DRAIN_SECONDS, "4000"));
    assert_eq!(options.drain_seconds, 30);
    assert_eq!(
        bad,
        [r#"smilax.dev/drain-seconds of Namespace shop: "4000" is not a number of seconds from 0 to 3600"#]
    );
}
