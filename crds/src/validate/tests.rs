use serde_json::{Value, json};

use super::*;

fn object(api_version: &str, kind: &str, fields: &Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version, "kind": kind, "metadata": { "name": "x", "namespace": "shop" },
    });
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
    object
}

fn errors(object: &Value) -> Vec<String> {
    validate(object).errors.iter().map(ToString::to_string).collect()
}

/// Asserts that there is one error, at this path, whose reason holds this text.
#[track_caller]
fn assert_error(object: &Value, path: &str, reason: &str) {
    let found = validate(object);
    match found.errors.as_slice() {
        [error] => {
            assert_eq!(error.path, path, "{error}");
            assert!(error.reason.contains(reason), "{error}");
        }
        other => panic!("expected one error at {path}, found {other:?}"),
    }
}

#[track_caller]
fn assert_accepted_with(object: &Value, warnings: &[&str]) {
    let found = validate(object);
    assert_eq!(
        (found.message().as_str(), found.warnings.as_slice()),
        ("", warnings.map_owned().as_slice())
    );
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|&text| text.to_owned()).collect()
    }
}

mod splits {
    use super::*;

    fn split(version: &str, spec: &Value) -> Value {
        object(
            &format!("split.smi-spec.io/{version}"),
            "TrafficSplit",
            &json!({ "spec": spec }),
        )
    }

    fn with_root(root: &str) -> Value {
        split(
            "v1alpha4",
            &json!({ "service": root, "backends": [{ "service": "a", "weight": 1 }] }),
        )
    }

    fn with_backends(version: &str, backends: &Value) -> Value {
        split(version, &json!({ "service": "web", "backends": backends }))
    }

    fn with_matches(matches: &Value) -> Value {
        let backends = json!([{ "service": "a", "weight": 1 }]);
        split(
            "v1alpha4",
            &json!({ "service": "web", "backends": backends, "matches": matches }),
        )
    }

    #[test]
    fn a_usual_split_is_accepted_in_every_version() {
        for version in ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"] {
            let backends = json!([{ "service": "web", "weight": 90 }, { "service": "web-v2", "weight": 0 }]);
            assert_accepted_with(&with_backends(version, &backends), &[]);
        }
    }

    #[test]
    fn every_form_of_a_root_of_the_own_namespace_is_accepted() {
        for root in [
            "web",
            "web.shop",
            "web.shop.svc",
            "web.shop.svc.cluster.local",
            "web.shop.svc.k8s.example.",
        ] {
            assert_accepted_with(&with_root(root), &[]);
        }
    }

    #[test]
    fn a_root_elsewhere_or_of_no_form_is_refused() {
        assert_error(&with_root("web.bank.svc"), "spec.service", "is in namespace bank");
        assert_error(&with_root(""), "spec.service", "must not be empty");
        assert_error(
            &with_root("web.shop.svc_x"),
            "spec.service",
            "must be a DNS label",
        );
        assert_error(
            &with_root("www.example.org"),
            "spec.service",
            "is not a valid name for a Service",
        );
    }

    #[test]
    fn a_root_is_not_judged_by_its_namespace_before_the_split_has_one() {
        let mut split = with_root("web.bank");
        split["metadata"] = json!({ "name": "x" });
        assert_accepted_with(&split, &[]);
    }

    #[test]
    fn a_split_needs_a_spec_and_backends() {
        let bare = object("split.smi-spec.io/v1alpha4", "TrafficSplit", &json!({}));
        assert_error(&bare, "spec", "is missing");
        assert_error(
            &with_backends("v1alpha4", &json!([])),
            "spec.backends",
            "at least one",
        );
        assert_error(
            &with_backends("v1alpha4", &json!("a")),
            "spec.backends",
            "write a list",
        );
    }

    #[test]
    fn a_backend_is_the_name_of_a_service_and_comes_once() {
        let backend = |service: &str| json!([{ "service": service, "weight": 1 }]);
        assert_error(
            &with_backends("v1alpha4", &backend("bank/web")),
            "spec.backends[0].service",
            "must be a DNS label",
        );
        assert_error(
            &with_backends("v1alpha4", &backend("")),
            "spec.backends[0].service",
            "must not be empty",
        );
        let twice = json!([{ "service": "a", "weight": 1 }, { "service": "a", "weight": 2 }]);
        assert_error(
            &with_backends("v1alpha4", &twice),
            "spec.backends[1].service",
            "is already spec.backends[0]",
        );
    }

    #[test]
    fn weights_are_whole_numbers_that_are_not_negative() {
        let weight =
            |weight: Value| with_backends("v1alpha4", &json!([{ "service": "a", "weight": weight }]));
        assert_error(&weight(json!(-1)), "spec.backends[0].weight", "is negative");
        assert_error(
            &weight(json!(0.5)),
            "spec.backends[0].weight",
            "multiply all weights",
        );
        assert_error(
            &weight(json!("5")),
            "spec.backends[0].weight",
            "is not a whole number",
        );
        assert_error(
            &weight(json!(5_000_000_000_i64)),
            "spec.backends[0].weight",
            "weights are relative",
        );
        assert_error(&weight(Value::Null), "spec.backends[0].weight", "is missing");
    }

    #[test]
    fn weights_of_v1alpha1_are_quantities() {
        let weight =
            |weight: Value| with_backends("v1alpha1", &json!([{ "service": "a", "weight": weight }]));
        assert_accepted_with(&weight(json!("500m")), &[]);
        assert_error(
            &weight(json!("many")),
            "spec.backends[0].weight",
            "is not a quantity",
        );
        assert_error(&weight(json!("-500m")), "spec.backends[0].weight", "is negative");
        assert_error(&weight(json!("5G")), "spec.backends[0].weight", "is above");
        let missing = json!([{ "service": "a" }, { "service": "b", "weight": 1 }]);
        assert_accepted_with(
            &with_backends("v1alpha1", &missing),
            &["spec.backends[0].weight: is missing and counts as 0"],
        );
    }

    #[test]
    fn all_weights_zero_is_accepted_with_a_warning() {
        assert_accepted_with(
            &with_backends("v1alpha4", &json!([{ "service": "a", "weight": 0 }])),
            &["spec.backends: all weights are 0, so traffic goes to the root Service as without a split"],
        );
    }

    #[test]
    fn a_match_refers_to_an_http_route_group() {
        assert_accepted_with(
            &with_matches(&json!([{ "kind": "HTTPRouteGroup", "name": "ab", "apiGroup": "" }])),
            &[],
        );
        let wrong_kind = json!([{ "kind": "TCPRoute", "name": "ab" }]);
        assert_error(
            &with_matches(&wrong_kind),
            "spec.matches[0].kind",
            "write HTTPRouteGroup",
        );
        let wrong_group = json!([{ "kind": "HTTPRouteGroup", "name": "ab", "apiGroup": "x.io" }]);
        assert_error(
            &with_matches(&wrong_group),
            "spec.matches[0].apiGroup",
            "write specs.smi-spec.io",
        );
        assert_error(
            &with_matches(&json!([{ "kind": "HTTPRouteGroup" }])),
            "spec.matches[0].name",
            "is missing",
        );
    }
}

mod routes {
    use super::*;

    fn group(http_match: &Value) -> Value {
        let spec = json!({ "matches": [http_match] });
        object(
            "specs.smi-spec.io/v1alpha4",
            "HTTPRouteGroup",
            &json!({ "spec": spec }),
        )
    }

    #[test]
    fn a_match_with_only_a_name_is_accepted() {
        assert_accepted_with(&group(&json!({ "name": "all" })), &[]);
        assert_error(&group(&json!({})), "spec.matches[0].name", "is missing");
    }

    #[test]
    fn names_of_matches_are_unique() {
        let spec = json!({ "matches": [{ "name": "a" }, { "name": "a" }] });
        let twice = object(
            "specs.smi-spec.io/v1alpha4",
            "HTTPRouteGroup",
            &json!({ "spec": spec }),
        );
        assert_error(&twice, "spec.matches[1].name", "is already the name of match 0");
    }

    #[test]
    fn a_path_that_no_request_has_is_accepted_with_a_warning() {
        for (pattern, why) in [
            ("api/.*", "paths begin with /"),
            (r"/search\?q=x", "the query is not part of the path"),
        ] {
            let found = validate(&group(&json!({ "name": "a", "pathRegex": pattern })));
            assert!(found.is_accepted(), "{pattern}");
            let warning = found.warnings.first().cloned().unwrap_or_default();
            assert!(
                warning.starts_with("spec.matches[0].pathRegex: ") && warning.contains(why),
                "{warning}"
            );
        }
    }

    #[test]
    fn a_path_must_be_a_regular_expression_of_bounded_size() {
        let path = |pattern: &str| group(&json!({ "name": "a", "pathRegex": pattern }));
        assert_accepted_with(&path("/api/.*"), &[]);
        assert_error(&path("/api("), "spec.matches[0].pathRegex", "unclosed group");
        assert_error(&path("/a)|(/b"), "spec.matches[0].pathRegex", "unopened group");
        assert_error(
            &path(&"a".repeat(1025)),
            "spec.matches[0].pathRegex",
            "1025 bytes",
        );
        assert_error(
            &path("(?:a{100}){100}{100}"),
            "spec.matches[0].pathRegex",
            "too large when compiled",
        );
        assert_error(&path(r"/(?=x)"), "spec.matches[0].pathRegex", "look-around");
    }

    #[test]
    fn methods_are_in_capitals() {
        let methods = |methods: Value| group(&json!({ "name": "a", "methods": methods }));
        assert_accepted_with(&methods(json!(["GET", "*"])), &[]);
        assert_error(
            &methods(json!(["get"])),
            "spec.matches[0].methods[0]",
            "write GET",
        );
        assert_error(
            &methods(json!(["BREW"])),
            "spec.matches[0].methods[0]",
            "write one of",
        );
        assert_error(&methods(json!("GET")), "spec.matches[0].methods", "write a list");
    }

    #[test]
    fn headers_of_both_wire_forms_are_accepted() {
        for headers in [
            json!([{ "a": "x" }, { "a": "y" }]),
            json!({ "a": "x", "B-c": ".*" }),
        ] {
            assert_accepted_with(&group(&json!({ "name": "a", "headers": headers })), &[]);
        }
    }

    #[test]
    fn headers_of_neither_form_are_refused() {
        let headers = |headers: Value| group(&json!({ "name": "a", "headers": headers }));
        let at = "spec.matches[0].headers";
        assert_error(
            &headers(json!([{ "a": "x", "b": "y" }])),
            &format!("{at}[0]"),
            "has 2 headers",
        );
        assert_error(&headers(json!([{}])), &format!("{at}[0]"), "has 0 headers");
        assert_error(&headers(json!("a: x")), at, "write a map");
        assert_error(
            &headers(json!({ "a": 1 })),
            &format!("{at}.a"),
            "put it in quotes",
        );
        assert_error(
            &headers(json!({ "a": "(" })),
            &format!("{at}.a"),
            "unclosed group",
        );
        assert_error(
            &headers(json!({ "a b": "x" })),
            &format!("{at}.a b"),
            "is not a valid name for a header",
        );
        assert_error(
            &headers(json!({ ":path": "x" })),
            &format!("{at}.:path"),
            "use pathRegex",
        );
    }

    #[test]
    fn matches_beside_spec_are_accepted_with_a_warning() {
        let fields = json!({ "matches": [{ "name": "a" }] });
        let of = |version: &str| object(&format!("specs.smi-spec.io/{version}"), "HTTPRouteGroup", &fields);
        assert_accepted_with(&of("v1alpha2"), &[]);
        assert_accepted_with(
            &of("v1alpha4"),
            &["matches: is deprecated here; write it under spec"],
        );
        let mut both = of("v1alpha4");
        both["spec"] = json!({ "matches": [{ "name": "b" }] });
        assert_accepted_with(&both, &["matches: has no effect beside spec.matches"]);
    }

    #[test]
    fn ports_are_from_1_to_65535() {
        for kind in ["TCPRoute", "UDPRoute"] {
            let route = |ports: Value| {
                let spec = json!({ "matches": { "ports": ports } });
                object("specs.smi-spec.io/v1alpha4", kind, &json!({ "spec": spec }))
            };
            assert_accepted_with(&route(json!([1, 65535])), &[]);
            assert_accepted_with(&route(json!([])), &[]);
            assert_error(&route(json!([80, 0])), "spec.matches.ports[1]", "from 1 to 65535");
            assert_error(
                &route(json!(["http"])),
                "spec.matches.ports[0]",
                "from 1 to 65535",
            );
        }
    }
}

mod targets {
    use super::*;

    fn fields() -> Value {
        json!({
            "destination": { "kind": "ServiceAccount", "name": "api" },
            "sources": [{ "kind": "ServiceAccount", "name": "web", "namespace": "front" }],
            "rules": [{ "kind": "HTTPRouteGroup", "name": "g", "matches": ["m"] }, { "kind": "TCPRoute", "name": "t" }],
        })
    }

    fn target(version: &str, spec: &Value) -> Value {
        object(
            &format!("access.smi-spec.io/{version}"),
            "TrafficTarget",
            &json!({ "spec": spec }),
        )
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut spec = fields();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        spec.pointer_mut(parent).expect("exists")[name] = value;
        target("v1alpha4", &spec)
    }

    #[test]
    fn a_usual_target_is_accepted_in_every_version() {
        for version in ["v1alpha2", "v1alpha3", "v1alpha4"] {
            assert_accepted_with(&target(version, &fields()), &[]);
        }
        let mut old = fields();
        old["specs"] = old["rules"].take();
        assert_accepted_with(&object("access.smi-spec.io/v1alpha1", "TrafficTarget", &old), &[]);
    }

    #[test]
    fn d13_a_destination_of_another_namespace_is_refused() {
        assert_accepted_with(&with("/destination/namespace", json!("shop")), &[]);
        assert_error(
            &with("/destination/namespace", json!("bank")),
            "spec.destination.namespace",
            "create it in",
        );
    }

    #[test]
    fn rules_and_sources_are_required_since_v1alpha3() {
        assert_error(&with("/rules", json!([])), "spec.rules", "at least one");
        assert_error(&with("/sources", json!([])), "spec.sources", "at least one");
    }

    #[test]
    fn older_versions_may_leave_rules_out_and_are_told_what_it_means() {
        let mut spec = fields();
        spec["rules"].take();
        let target = target("v1alpha2", &spec);
        let warning =
            "spec.rules: is empty, so the sources may call everything; name routes to say what they may";
        assert_accepted_with(&target, &[warning]);
        // The same object, read and written in a newer version, stays what it is.
        let newer = crate::convert(target, "access.smi-spec.io/v1alpha4")
            .expect("converts")
            .object;
        assert_accepted_with(&newer, &[warning]);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_error(
            &with("/destination/kind", json!("Group")),
            "spec.destination.kind",
            "write ServiceAccount or",
        );
        assert_error(
            &with("/sources/0/kind", json!("User")),
            "spec.sources[0].kind",
            "write ServiceAccount or",
        );
        assert_error(
            &with("/rules/1/kind", json!("GRPCRoute")),
            "spec.rules[1].kind",
            "write HTTPRouteGroup or",
        );
        assert_error(
            &with("/destination/group", json!("x.io")),
            "spec.destination.group",
            "access.smi-spec.io",
        );
    }

    #[test]
    fn a_deprecated_port_is_a_warning_and_no_port_an_error() {
        assert_accepted_with(
            &with("/destination/port", json!("9091")),
            &[
                "spec.destination.port: is deprecated; it still restricts the rules to this port, better name a TCPRoute",
            ],
        );
        assert_error(
            &with("/destination/port", json!("http")),
            "spec.destination.port",
            "from 1 to 65535",
        );
        assert_error(
            &with("/destination/port", json!(0)),
            "spec.destination.port",
            "from 1 to 65535",
        );
    }

    #[test]
    fn a_source_without_namespace_is_told_which_one_is_meant() {
        assert_accepted_with(
            &with("/sources/0/namespace", Value::Null),
            &["spec.sources[0].namespace: is missing and means the namespace of the TrafficTarget"],
        );
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let spec = json!({ "destination": {}, "sources": [1], "rules": [{ "kind": "TCPRoute" }] });
        assert_eq!(
            errors(&target("v1alpha4", &spec)),
            [
                "spec.destination.kind: is missing",
                "spec.destination.name: is missing",
                "spec.sources[0]: is 1; write a map",
                "spec.rules[0].name: is missing",
            ]
        );
    }
}

mod bindings {
    use super::*;

    fn binding(schemes: &Value) -> Value {
        object(
            "access.smi-spec.io/v1alpha4",
            "IdentityBinding",
            &json!({ "spec": { "schemes": schemes } }),
        )
    }

    #[test]
    fn one_scheme_is_needed() {
        assert_accepted_with(&binding(&json!({ "serviceAccount": "web" })), &[]);
        assert_accepted_with(
            &binding(&json!({ "podLabelSelector": { "matchLabels": { "app": "web" } } })),
            &[],
        );
        assert_error(&binding(&json!({})), "spec.schemes", "must hold");
        assert_error(
            &binding(&json!({ "serviceAccount": null })),
            "spec.schemes",
            "must hold",
        );
    }

    #[test]
    fn labels_and_account_exclude_each_other() {
        let both =
            json!({ "serviceAccount": "web", "podLabelSelector": { "matchLabels": { "app": "web" } } });
        assert_error(&binding(&both), "spec.schemes", "exclude each other");
    }

    #[test]
    fn a_selector_of_every_pod_is_refused() {
        let all = json!({ "podLabelSelector": { "matchLabels": {} } });
        assert_error(
            &binding(&all),
            "spec.schemes.podLabelSelector.matchLabels",
            "at least one label",
        );
    }

    #[test]
    fn spiffe_ids_are_accepted_with_and_without_their_scheme() {
        let ids = json!([
            "spiffe://cluster.local/ns/shop/sa/web",
            "cluster.local/ns/default/sa/service-a"
        ]);
        assert_accepted_with(&binding(&json!({ "spiffeIdentities": ids })), &[]);
        for id in [
            "",
            "spiffe://",
            "https://x/y",
            "spiffe://Cluster.Local/x",
            "a//b",
            "a/../b",
            "a/b?c",
            "a/b/",
        ] {
            assert_error(
                &binding(&json!({ "spiffeIdentities": [id] })),
                "spec.schemes.spiffeIdentities[0]",
                "is not a SPIFFE id",
            );
        }
    }
}

#[test]
fn there_is_one_mesh_config_with_known_modes() {
    let mut config = object(
        "mesh.smilax.dev/v1alpha1",
        "MeshConfig",
        &json!({ "spec": { "accessMode": "deny" } }),
    );
    assert_error(&config, "metadata.name", "named default");
    config["metadata"]["name"] = json!("default");
    assert_accepted_with(&config, &[]);
    config["spec"] = json!({ "tlsMode": "loose" });
    assert_error(&config, "spec.tlsMode", "write strict or permissive");
    config["spec"] =
        json!({ "unauthenticatedSources": [{ "cidrs": ["10.0.0.0/8", "fd00::/8"], "ports": [8080] }] });
    assert_accepted_with(&config, &[]);
    config["spec"] = json!({ "unauthenticatedSources": [{ "cidrs": ["10.0.0.0/33"] }] });
    assert_error(
        &config,
        "spec.unauthenticatedSources[0].cidrs[0]",
        "is not an address range",
    );
    config["spec"] = json!({ "unauthenticatedSources": [{ "ports": [8080] }] });
    assert_error(&config, "spec.unauthenticatedSources[0].cidrs", "is empty");
    config["spec"] = json!({ "trustDomain": "spiffe://x" });
    assert_error(&config, "spec.trustDomain", "is not a domain");
}

#[test]
fn unknown_kinds_and_versions_are_refused() {
    assert_error(
        &object("v1", "Pod", &json!({})),
        "kind",
        "is not a kind of this mesh",
    );
    assert_error(
        &object("split.smi-spec.io/v1", "TrafficSplit", &json!({})),
        "apiVersion",
        "v1alpha4",
    );
    assert_error(&json!([]), "object", "must be a JSON object");
}

mod names;

mod budget;
