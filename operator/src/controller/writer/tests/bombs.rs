//! ConfigMaps that cost much to keep or to unpack, from somebody who may edit them.

use futures::FutureExt as _;
use k8s_openapi::ByteString;
use smilax_core::convention::PACKED_POLICY_KEY;
use smilax_core::packed;

use super::*;
use crate::controller::stored::StoredPolicy;

const MIB: usize = 1024 * 1024;

/// A policy of 16 MiB in some kibibytes.
fn bomb() -> ByteString {
    let text = format!(
        r#"{{"revision":"1.1","x":"{}"}}"#,
        " ".repeat(packed::MOST_TEXT - 64)
    );
    let StoredPolicy::Packed(bytes) = StoredPolicy::in_form(&text) else {
        panic!("it is text")
    };
    assert!(bytes.len() < 64 * 1024);
    ByteString(bytes.to_vec())
}

/// What the watch makes of a ConfigMap.
fn read(state: &State, namespace: &str, name: &str, map: &ConfigMap) -> StoredMap {
    let mut read = stored_map(map);
    state.prepare_map(namespace, name, &mut read);
    read
}

fn named(name: &str, mut map: ConfigMap) -> ConfigMap {
    map.metadata.name = Some(name.to_owned());
    map
}

#[test]
fn s27_a_bomb_in_the_place_of_a_policy_is_let_go_and_repaired() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let mut map = cluster.get(WEB);
    map.data.as_mut().unwrap().remove(POLICY);
    map.binary_data = Some(BTreeMap::from([(PACKED_POLICY_KEY.to_owned(), bomb())]));
    let stored = read(&cluster.state, "shop", WEB, &map);
    assert!(matches!(stored.standing, Standing::Tampered(_)));
    assert_eq!(stored.size(), 0);

    cluster.put(WEB, map);
    assert_eq!(cluster.streamed(WEB), None);
    assert_eq!(cluster.pass().tampered, 1);
    assert_eq!(cluster.standing(WEB), Standing::Current);
}

#[test]
fn s27_of_thousands_of_configmaps_under_our_label_nothing_is_kept_but_that_they_exist() {
    let mut cluster = Cluster::new(5).signing(&material());
    cluster.pass();
    let honest = cluster.get(WEB);
    let bomb = ConfigMap {
        binary_data: Some(BTreeMap::from([(PACKED_POLICY_KEY.to_owned(), bomb())])),
        ..ConfigMap::default()
    };
    for number in 0..1_000 {
        let name = format!("smilax-bomb{number}");
        let stored = read(&cluster.state, "shop", &name, &named(&name, bomb.clone()));
        cluster
            .state
            .update(|inner| inner.set_map("shop", &name, Some(stored)));
    }
    // Nor is what was signed for another one.
    let copy = read(&cluster.state, "shop", "smilax-db", &named("smilax-db", honest));
    assert_eq!(copy.size(), 0);
    let held = |inner: &mut crate::controller::state::Inner| -> usize {
        inner.maps["shop"].values().map(StoredMap::size).sum()
    };
    assert!(cluster.state.read(held) < 64 * 1024);
}

#[test]
fn s27_while_nobody_can_judge_a_namespace_keeps_so_much_and_others_keep_theirs() {
    let state = State::new(Settings::default());
    let large = ConfigMap {
        data: Some(BTreeMap::from([(POLICY.to_owned(), "x".repeat(MIB - 1024))])),
        ..ConfigMap::default()
    };
    let list = || {
        let evil = (0..100).map(|number| {
            let name = format!("smilax-evil{number}");
            (
                "evil".to_owned(),
                name.clone(),
                read(&state, "evil", &name, &large),
            )
        });
        let evil: Vec<_> = evil.collect();
        let honest = read(&state, "shop", WEB, &large);
        assert!(honest.content.is_some());
        evil.into_iter()
            .chain([("shop".to_owned(), WEB.to_owned(), honest)])
    };
    for _ in 0..3 {
        let all: Vec<_> = list().collect();
        state.update(|inner| inner.reset_maps(all));
        let held: usize = state.read(|inner| inner.maps["evil"].values().map(StoredMap::size).sum());
        assert!(held <= 4 * MIB, "{held}");
    }
}

#[test]
fn s27_what_was_let_go_is_read_again_when_it_can_be_judged_and_nothing_is_written_before() {
    let material = material();
    let mut cluster = Cluster::new(5).signing(&material);
    cluster.pass();
    let maps = cluster.stored.clone();
    // The next leader had no room for one of them before it knew who signs.
    let mut next = Cluster::new(6);
    for (name, map) in &maps {
        next.put(name, map.clone());
    }
    next.state.update(|inner| {
        let mut map = inner.maps["shop"][WEB].clone();
        map.content = None;
        inner.set_map("shop", WEB, Some(map));
    });
    assert!(next.state.maps_asked_for().now_or_never().is_none());
    next.state.take_integrity(integrity(&material));
    assert!(next.state.maps_asked_for().now_or_never().is_some());
    assert_eq!(next.streamed(WEB), None, "nobody has judged it");
    assert_eq!(next.pass().maps, [], "it is not known what is to be put right");

    next.put(WEB, maps[WEB].clone());
    assert_eq!(next.standing(WEB), Standing::Current);
    assert!(next.streamed(WEB).is_some());
    assert_eq!(next.pass().maps, []);
}

#[test]
fn s27_what_another_authority_refused_is_judged_anew_by_the_next() {
    let (theirs, ours) = (material(), material());
    let mut cluster = Cluster::new(5).signing(&ours);
    cluster.pass();
    let map = cluster.get(WEB);
    // A replica that has not heard of the authority yet.
    let mut late = Cluster::new(6).signing(&theirs);
    late.put(WEB, map.clone());
    assert!(matches!(late.standing(WEB), Standing::Tampered(_)));
    late.state.take_integrity(integrity(&ours));
    assert!(late.state.maps_asked_for().now_or_never().is_some());
    late.put(WEB, map);
    assert_eq!(late.standing(WEB), Standing::Current);
    assert!(late.streamed(WEB).is_some());
}
