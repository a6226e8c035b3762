//! What a compiled policy decides is what the text of SMI says, read by a separate and slow reader.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "access/naive.rs"]
mod naive;
#[path = "access/world.rs"]
mod world;

use proptest::prelude::*;
use smilax_core::Workload;

use world::{CALLEES, CALLERS, Call, World, call, targets};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_compiled_policy_decides_as_the_text_says(
        targets in proptest::collection::vec(targets(), 0..5),
        mode in prop_oneof![Just("allow"), Just("deny"), Just("audit")],
        calls in proptest::collection::vec(call(), 1..40),
    ) {
        let mut world = World::new(mode, targets);
        for call in calls {
            let expected = naive::allows(&world, mode, &call);
            let decided = world.decide(&call);
            prop_assert_eq!(decided, expected, "{:?} {:#?}", call, world.targets);
        }
    }

    #[test]
    fn in_deny_a_further_target_takes_no_right_away(
        mut targets in proptest::collection::vec(targets(), 1..5),
        calls in proptest::collection::vec(call(), 1..40),
    ) {
        let mut all = World::new("deny", targets.clone());
        targets.pop();
        let mut fewer = World::new("deny", targets);
        for call in calls {
            prop_assert!(!fewer.decide(&call) || all.decide(&call), "{:?}", call);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn s12_who_may_call_a_pod_is_told_everything_of_it(
        targets in proptest::collection::vec(targets(), 0..5),
        mode in prop_oneof![Just("allow"), Just("deny"), Just("audit")],
        calls in proptest::collection::vec(call(), 1..40),
    ) {
        let mut world = World::new(mode, targets);
        for call in calls {
            let Some(caller) = call.caller else { continue };
            let callee = CALLEES.iter().position(|one| one.name == call.callee.name).unwrap();
            let told = world.callers(callee).contains(&Workload::new(caller.namespace, caller.account));
            prop_assert!(told || !world.decide(&call), "{:?} {:#?}", call, world.targets);
        }
    }
}

#[test]
fn the_generated_worlds_allow_some_calls_and_refuse_others() {
    let target = serde_json::json!({
        "metadata": {"namespace": "shop", "name": "t"},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": "web"},
            "sources": [{"kind": "ServiceAccount", "name": "client"}],
            "rules": [{"kind": "HTTPRouteGroup", "name": "g1", "matches": ["a"]}, {"kind": "TCPRoute", "name": "t80"}],
        },
    });
    let mut world = World::new("deny", vec![target]);
    let mut decide = |callee: usize, caller: usize, port, method: &'static str| {
        world.decide(&Call {
            callee: &CALLEES[callee],
            caller: Some(&CALLERS[caller]),
            port,
            request: Some((method, "/a/x", None)),
        })
    };
    assert!(decide(0, 0, 8080, "GET"));
    assert!(!decide(0, 0, 8080, "POST"));
    assert!(!decide(0, 0, 9000, "GET"));
    assert!(!decide(0, 1, 8080, "GET"));
    assert!(!decide(1, 0, 8080, "GET"));
}
