use smilax_core::config::{AccessMode, TlsMode};

use super::*;

#[expect(clippy::unwrap_in_result, reason = "a test")]
fn run(arguments: &[&str]) -> Result<Settings, SettingsError> {
    let all = ["smilax-proxy", "run"].iter().chain(arguments);
    let Command::Run(run) = Arguments::try_parse_from(all).unwrap().command else {
        panic!("not run")
    };
    run.settings()
}

#[test]
fn the_arguments_are_consistent() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
}

#[test]
fn without_arguments_the_convention_holds() {
    let settings = run(&["--workers", "1"]).unwrap();
    assert_eq!(settings.ports, Ports::default());
    assert_eq!(settings.config, Settings::default().config);
}

#[test]
fn a_bad_value_is_named_with_its_variable() {
    for (arguments, name) in [
        (["--pod-ips", "10.0.0.1,x"], "SMILAX_POD_IPS"),
        (["--trust-anchors", "ab"], "SMILAX_TRUST_ANCHORS"),
        (["--probes", "{"], "SMILAX_PROBES"),
        (["--inbound-ports", "{\"a\":\"http\"}"], "SMILAX_INBOUND_PORTS"),
        (["--access-mode", "maybe"], "SMILAX_ACCESS_MODE"),
        (["--tls-mode", "loose"], "SMILAX_TLS_MODE"),
        (["--tls-port-modes", "0=strict"], "SMILAX_TLS_PORT_MODES"),
        (["--tls-port-modes", "80=loose"], "SMILAX_TLS_PORT_MODES"),
        (["--port-names", "[]"], "SMILAX_PORT_NAMES"),
    ] {
        let error = run(&arguments).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn what_the_pod_asks_for_is_read_and_empty_variables_ask_for_nothing() {
    let settings = run(&[
        "--access-mode=deny",
        "--tls-mode=",
        "--tls-port-modes=8080=strict, 9090=permissive",
        "--port-names={\"web\":8080}",
    ])
    .unwrap();
    let view = settings.pod_view;
    assert_eq!((view.access, view.tls), (Some(AccessMode::Deny), None));
    assert_eq!(view.tls_ports[&8080], TlsMode::Strict);
    assert_eq!(view.tls_ports[&9090], TlsMode::Permissive);
    assert_eq!(view.port_names["web"], 8080);
}

#[test]
fn a_key_without_its_certificate_is_refused() {
    let arguments = ["smilax-proxy", "run", "--identity-key", "key.pem"];
    assert!(Arguments::try_parse_from(arguments).is_err());
}

#[test]
fn ports_of_the_application_are_read_from_json() {
    let settings = run(&["--inbound-ports", "{\"8080\":\"http\",\"9\":\"tcp\"}"]).unwrap();
    assert_eq!(settings.inbound_protocols[&8080], Protocol::Http);
    assert_eq!(settings.inbound_protocols[&9], Protocol::Tcp);
}
