//! Every version of SMI is written and read, invalid objects are refused, and `kubectl get` tells what is going on.

use serde_json::{Value, json};
use smilax_e2e::{
    Inject, Load, Match, Mesh, Namespace, Object, Progress, RouteGroup, Shared, SplitVersion, TrafficSplit,
    Web, assert_share, wait_until,
};

static WEB: Shared = Shared::new("versions");

/// The same object as another version shows it.
#[track_caller]
fn read_as(web: &Web, object: &Object, version: SplitVersion) -> Value {
    let mut other = object.clone();
    let api_version = object.0["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split('/').next().unwrap_or_default();
    other.0["apiVersion"] = json!(format!("{group}/{}", version.as_str()));
    web.namespace.read(&other)
}

/// A backend list as a version writes it.
fn backends(version: SplitVersion, weights: [i64; 2]) -> Value {
    let weight = |weight: i64| match version {
        SplitVersion::V1alpha1 => json!(weight.to_string()),
        _ => json!(weight),
    };
    json!([
        {"service": "web-v2", "weight": weight(weights[0])},
        {"service": "web-v1", "weight": weight(weights[1])},
    ])
}

/// Weights of quantities may be read as numbers or as strings.
fn normal(mut spec: Value) -> Value {
    for backend in spec["backends"].as_array_mut().into_iter().flatten() {
        if let Some(number) = backend["weight"].as_i64() {
            backend["weight"] = json!(number.to_string());
        }
    }
    spec
}

#[test]
fn every_version_of_a_split_is_read_as_every_other() {
    let web = WEB.hold();
    for written in SplitVersion::ALL {
        let name = format!("as-{}", written.as_str());
        let split = web.namespace.apply(
            TrafficSplit::of("nothing")
                .named(&name)
                .version(written)
                .backend("web-v2", 30)
                .backend("web-v1", 70),
        );
        for read in SplitVersion::ALL {
            let seen = read_as(&web, &split, read);
            assert_eq!(seen["apiVersion"], format!("split.smi-spec.io/{}", read.as_str()));
            assert_eq!(seen["spec"]["service"], "nothing");
            let expected = json!({"service": "nothing", "backends": backends(read, [30, 70])});
            assert_eq!(
                normal(seen["spec"].clone()),
                normal(expected),
                "written as {}, read as {}",
                written.as_str(),
                read.as_str()
            );
        }
        web.namespace.delete(&split);
    }
}

#[test]
fn a_split_is_enforced_whatever_version_it_was_written_in() {
    let web = WEB.hold();
    for (index, version) in SplitVersion::ALL.into_iter().enumerate() {
        let root = format!("enforced-{}", version.as_str());
        web.root(&root);
        let share = [0.2, 0.4, 0.6, 0.8][index];
        let weights = [[20, 80], [40, 60], [60, 40], [80, 20]][index];
        web.enforce(
            TrafficSplit::of(&root)
                .version(version)
                .backend("web-v1", weights[0])
                .backend("web-v2", weights[1]),
        );
        let report = web.client.load(Load::http(&root).requests(1000).connections(4));
        assert_share(&report, "web-v1", share);
    }
}

#[test]
fn fractions_of_quantities_keep_their_ratio() {
    let web = WEB.hold();
    web.root("fractions");
    let split = web.enforce(
        TrafficSplit::of("fractions")
            .version(SplitVersion::V1alpha1)
            .backend("web-v1", "1")
            .backend("web-v2", "500m"),
    );
    let report = web
        .client
        .load(Load::http("fractions").requests(2000).connections(4));
    assert_share(&report, "web-v1", 2.0 / 3.0);
    // And what was written comes back as it was written.
    let seen = read_as(&web, &split, SplitVersion::V1alpha1);
    assert_eq!(seen["spec"], split.0["spec"]);
}

#[test]
fn matches_survive_a_change_through_a_version_that_knows_none() {
    let web = WEB.hold();
    web.namespace
        .apply(RouteGroup::named("kept").or(Match::named("beta").headers(json!({"x-beta": "yes"}))));
    let split = web.namespace.apply(
        TrafficSplit::of("nothing")
            .named("keeps-matches")
            .matching("kept")
            .backend("web-v1", 1),
    );
    let kubectl = web.namespace.kubectl();
    wait_until("nobody else writes it between read and write", || {
        let mut old = read_as(&web, &split, SplitVersion::V1alpha2);
        old["spec"]["backends"][0]["weight"] = json!(7);
        let written = kubectl.feed(&["replace", "--filename=-"], &old);
        Progress::when(written.is_ok(), (), || format!("{written:?}"))
    });
    let seen = read_as(&web, &split, SplitVersion::V1alpha4);
    assert_eq!(seen["spec"]["backends"][0]["weight"], 7);
    assert_eq!(
        seen["spec"]["matches"],
        json!([{"kind": "HTTPRouteGroup", "name": "kept"}])
    );
}

/// An object of each kind as two versions write it.
fn written_twice(namespace: &str) -> Vec<[Value; 2]> {
    let of = |kind: &str, group: &str, version: &str, fields: &Value| {
        let mut object = fields.clone();
        object["apiVersion"] = json!(format!("{group}/{version}"));
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "applied", "labels": {"team": "a"}});
        object
    };
    let split = json!({"spec": {"service": "nothing", "backends": [{"service": "web-v1", "weight": 1}]}});
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let rules = json!([{"kind": "TCPRoute", "name": "applied"}]);
    let target =
        |rules_are: &str| json!({"destination": account("a"), "sources": [account("b")], rules_are: rules});
    let matches = json!([{"name": "all", "pathRegex": "/", "methods": ["*"]}]);
    let (access, specs) = ("access.smi-spec.io", "specs.smi-spec.io");
    vec![
        ["v1alpha2", "v1alpha4"].map(|version| of("TrafficSplit", "split.smi-spec.io", version, &split)),
        [
            of("TrafficTarget", access, "v1alpha1", &target("specs")),
            of(
                "TrafficTarget",
                access,
                "v1alpha4",
                &json!({"spec": target("rules")}),
            ),
        ],
        [
            of("HTTPRouteGroup", specs, "v1alpha2", &json!({"matches": matches})),
            of(
                "HTTPRouteGroup",
                specs,
                "v1alpha4",
                &json!({"spec": {"matches": matches}}),
            ),
        ],
        [
            of("TCPRoute", specs, "v1alpha2", &json!({})),
            of(
                "TCPRoute",
                specs,
                "v1alpha4",
                &json!({"spec": {"matches": {"ports": [80]}}}),
            ),
        ],
    ]
}

#[test]
fn a_server_side_apply_goes_on_in_another_version() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "ssa", Inject::NotAsked);
    let apply = |object: &Value| {
        let kubectl = namespace.kubectl();
        kubectl.feed(&["apply", "--server-side", "--filename=-"], object)
    };
    for [old, new] in written_twice(namespace.name()) {
        for object in [&old, &new, &old, &new] {
            if let Err(error) = apply(object) {
                panic!("{} of {}: {error}", object["apiVersion"], object["kind"]);
            }
            let seen = namespace.read(&Object(object.clone()));
            for field in object.as_object().expect("an object").keys() {
                if field != "metadata" {
                    assert_eq!(seen[field], object[field], "{field} of {}", object["kind"]);
                }
            }
            assert_eq!(seen["metadata"]["labels"], json!({"team": "a"}));
        }
        let mut unlabelled = new;
        unlabelled["metadata"] = json!({"name": "applied"});
        apply(&unlabelled).expect("an apply without the label is taken");
        let seen = namespace.read(&Object(unlabelled));
        assert_eq!(seen["metadata"]["labels"], Value::Null, "{}", seen["kind"]);
    }
}

#[test]
fn a_spec_is_never_touched() {
    let web = WEB.hold();
    web.root("untouched");
    let split = web.enforce(
        TrafficSplit::of("untouched")
            .backend("web-v2", 1)
            .backend("web-v1", 0)
            .backend("untouched", 3),
    );
    web.namespace
        .await_condition(&split, "Accepted", "True", "Accepted");
    assert_eq!(web.namespace.read(&split)["spec"], split.0["spec"]);
}

#[test]
fn every_version_of_a_route_group_is_read_as_every_other() {
    let web = WEB.hold();
    for written in SplitVersion::ALL {
        let name = format!("as-{}", written.as_str());
        let group = web.namespace.apply(
            RouteGroup::named(&name)
                .version(written)
                .or(Match::named("first").path("/a.*").methods(&["GET", "POST"]))
                .or(Match::named("second").path("/b")),
        );
        let expected = json!([
            {"name": "first", "pathRegex": "/a.*", "methods": ["GET", "POST"]},
            {"name": "second", "pathRegex": "/b"},
        ]);
        for read in SplitVersion::ALL {
            let seen = read_as(&web, &group, read);
            let matches = match read {
                SplitVersion::V1alpha1 | SplitVersion::V1alpha2 => &seen["matches"],
                SplitVersion::V1alpha3 | SplitVersion::V1alpha4 => &seen["spec"]["matches"],
            };
            assert_eq!(
                *matches,
                expected,
                "written as {}, read as {}",
                written.as_str(),
                read.as_str()
            );
        }
    }
}

#[test]
fn headers_come_back_in_the_form_in_which_they_were_written() {
    let web = WEB.hold();
    for (name, headers) in [
        ("as-list", json!([{"x-a": "1"}, {"x-b": "2"}])),
        ("as-map", json!({"x-a": "1", "x-b": "2"})),
    ] {
        let group = web
            .namespace
            .apply(RouteGroup::named(name).or(Match::named("one").headers(headers.clone())));
        assert_eq!(
            web.namespace.read(&group)["spec"]["matches"][0]["headers"],
            headers
        );
    }
}

#[test]
fn what_is_known_to_be_wrong_is_refused_with_its_field() {
    let web = WEB.hold();
    let split = |patch: Value| {
        let mut object = Object::from(TrafficSplit::of("web-root").named("wrong").backend("web-v1", 1));
        for (field, value) in patch.as_object().unwrap() {
            object.0["spec"][field] = value.clone();
        }
        object
    };
    let group = |one: Value| {
        Object(json!({
            "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
            "metadata": {"name": "wrong"}, "spec": {"matches": [one]},
        }))
    };
    for (object, field) in [
        (
            split(json!({"backends": [{"service": "web-v1", "weight": -1}]})),
            "backends[0].weight",
        ),
        (
            split(json!({"backends": [{"service": "web-v1", "weight": 0.5}]})),
            "backends[0].weight",
        ),
        (split(json!({"backends": [{"weight": 1}]})), "backends[0].service"),
        (split(json!({"service": "Not A Name"})), "spec.service"),
        (
            split(json!({"matches": [{"kind": "HTTPRouteGroup"}]})),
            "matches[0].name",
        ),
        (
            group(json!({"name": "m", "pathRegex": "/a("})),
            "matches[0].pathRegex",
        ),
        (
            group(json!({"name": "m", "methods": ["FETCH"]})),
            "matches[0].methods",
        ),
        (
            group(json!({"name": "m", "headers": {"x": "["}})),
            "matches[0].headers",
        ),
    ] {
        let refusal = web.namespace.refused(object.clone());
        assert!(
            refusal.contains(field),
            "{} was refused, but not for {field}: {refusal}",
            object.0["spec"]
        );
    }
}

#[test]
fn columns_tell_what_a_split_does_and_whether_it_is_accepted() {
    let web = WEB.hold();
    let split = web.namespace.apply(
        TrafficSplit::of("web-root")
            .named("listed")
            .backend("web-v1", 90)
            .backend("web-v2", 10),
    );
    web.namespace
        .await_condition(&split, "Accepted", "True", "Accepted");
    for version in SplitVersion::ALL {
        let resource = format!("trafficsplits.{}.split.smi-spec.io", version.as_str());
        let table = web
            .namespace
            .kubectl()
            .run(&["get", &resource, "listed"])
            .unwrap();
        let mut lines = table.lines();
        let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(
            header,
            [
                "NAME",
                "SERVICE",
                "BACKENDS",
                "ACCEPTED",
                "RESOLVED",
                "PROGRAMMED",
                "AGE"
            ]
        );
        let row = lines.next().unwrap();
        for part in ["listed", "web-root", "web-v1=90", "web-v2=10", "True"] {
            assert!(row.contains(part), "{part} is not in {row:?} of {resource}");
        }
    }
    web.namespace.delete(&split);
}

#[test]
fn conditions_speak_of_the_newest_generation() {
    let web = WEB.hold();
    web.root("generations");
    let split = web.enforce(TrafficSplit::of("generations").backend("web-v1", 1));
    web.namespace
        .await_condition(&split, "Accepted", "True", "Accepted");
    let changed = web.enforce(
        TrafficSplit::of("generations")
            .backend("web-v1", 2)
            .backend("web-v2", 1),
    );
    let accepted = web
        .namespace
        .await_condition(&changed, "Accepted", "True", "Accepted");
    assert_eq!(accepted.observed_generation, 2);
    let programmed = web
        .namespace
        .await_condition(&changed, "Programmed", "True", "Programmed");
    assert_eq!(programmed.observed_generation, 2);
}
