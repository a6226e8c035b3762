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
fn a_required_feature_that_is_unknown_refuses_the_whole() {
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

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let config = decode(SMALL.as_bytes()).unwrap();
    assert_eq!(decode(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
}
