use proptest::prelude::*;

use super::*;

const SMALL: &str = r#"{"revision":"1.2","workload":{"namespace":"shop","account":"web"},
 "destinations":[{"name":"shop/web","addresses":["10.0.0.1"],"ports":[{"port":80}]}]}"#;

#[test]
fn a_configuration_of_a_newer_operator_is_read_without_its_unknown_fields() {
    let newer = SMALL.replacen('{', r#"{"colour":"green","#, 1);
    assert_eq!(
        decode(newer.as_bytes()).unwrap(),
        decode(SMALL.as_bytes()).unwrap()
    );
}

#[test]
fn d12_a_required_feature_that_is_unknown_refuses_the_whole() {
    let newer = SMALL.replacen('{', r#"{"requires":["teleport"],"#, 1);
    let error = decode(newer.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("teleport"), "{error}");
}

#[test]
fn a_malformed_field_is_named_by_its_path() {
    let broken = SMALL.replace("80", "\"eighty\"");
    let DecodeError::Malformed { path, .. } = decode(broken.as_bytes()).unwrap_err() else {
        panic!("wrong error")
    };
    assert_eq!(path, "destinations[0].ports[0].port");
}

#[test]
fn a_half_written_file_is_refused() {
    for length in 0..SMALL.len() - 1 {
        assert!(decode(&SMALL.as_bytes()[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn bytes_behind_the_document_are_refused() {
    assert!(decode(format!("{SMALL} {{}}").as_bytes()).is_err());
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }
}

const CLOSED: &str = r#"{"revision":"1.2","requires":["inbound-policy"],"workload":{"namespace":"shop","account":"web"},
 "inbound":[{"podSelector":{"app":"web"},"access":"deny","tls":"strict","tlsPorts":{"9090":"permissive"},
  "ownSettings":"tighten","unauthenticatedSources":[{"cidrs":["10.0.0.0/8"],"ports":[9090]}],
  "targets":[{"source":{"kind":"TrafficTarget","namespace":"shop","name":"a","generation":1},
   "sources":[{"account":{"namespace":"shop","account":"client"}}],
   "ports":[[{"podSelector":{"app":"web"},"port":8080}]],
   "http":[{"name":"api","path":"^/api","methods":["GET"],"headers":[{"name":"x-a","value":"^(?:1)$"}]}]}]}],
 "destinations":[{"name":"shop/db","addresses":["10.0.0.1"],"ports":[{"port":80,"protocol":"http","security":"mutualTls"}]}]}"#;

fn path_of_the_mistake(config: &serde_json::Value) -> String {
    match decode(&serde_json::to_vec(config).unwrap()) {
        Err(DecodeError::Malformed { path, .. }) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d12_a_word_of_a_later_version_refuses_the_whole_where_access_depends_on_it() {
    let sound: serde_json::Value = serde_json::from_str(CLOSED).unwrap();
    decode(CLOSED.as_bytes()).unwrap();
    for place in [
        "/inbound/0/access",
        "/inbound/0/tls",
        "/inbound/0/tlsPorts/9090",
        "/inbound/0/ownSettings",
        "/inbound/0/unauthenticatedSources/0/cidrs/0",
        "/inbound/0/targets/0/sources/0",
        "/destinations/0/ports/0/security",
    ] {
        let mut later = sound.clone();
        *later.pointer_mut(place).unwrap() = "of-the-future".into();
        let path = path_of_the_mistake(&later)
            .replace(['[', '.'], "/")
            .replace(']', "");
        assert!(place.starts_with(&format!("/{path}")), "{place}: {path}");
    }
    let mut later = sound;
    later["inbound"][0]["targets"][0]["sources"][0] = serde_json::json!({"planet": "earth"});
    assert!(path_of_the_mistake(&later).starts_with("inbound[0].targets[0].sources[0]"));
}

#[test]
fn d12_a_condition_of_a_later_version_is_not_ignored() {
    let sound: serde_json::Value = serde_json::from_str(CLOSED).unwrap();
    for place in [
        "/inbound/0",
        "/inbound/0/unauthenticatedSources/0",
        "/inbound/0/targets/0",
        "/inbound/0/targets/0/ports/0/0",
        "/inbound/0/targets/0/http/0",
        "/inbound/0/targets/0/http/0/headers/0",
    ] {
        let mut later = sound.clone();
        later.pointer_mut(place).unwrap()["onlyOnSundays"] = true.into();
        let path = path_of_the_mistake(&later);
        assert!(path.ends_with("onlyOnSundays"), "{place}: {path}");
    }
}

#[test]
fn d12_what_an_earlier_operator_left_out_closes_rather_than_opens() {
    // Whom a target lets in has to be said; a list of nobody is nobody.
    let sound: serde_json::Value = serde_json::from_str(CLOSED).unwrap();
    let mut earlier = sound.clone();
    earlier["inbound"][0]["targets"][0]
        .as_object_mut()
        .unwrap()
        .remove("sources");
    assert_eq!(path_of_the_mistake(&earlier), "inbound[0].targets[0]");
    // A pod may not loosen what its operator never heard that it may.
    let mut earlier = sound;
    earlier["inbound"][0]
        .as_object_mut()
        .unwrap()
        .remove("ownSettings");
    let config = decode(&serde_json::to_vec(&earlier).unwrap()).unwrap();
    assert_eq!(config.inbound[0].own_settings, OwnSettings::Tighten);
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let config = decode(SMALL.as_bytes()).unwrap();
    assert_eq!(decode(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
}
