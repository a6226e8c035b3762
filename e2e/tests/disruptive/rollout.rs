//! A rollout of the operator that cannot finish: what the command line says is what is in force.

use smilax_e2e::disrupt::StuckRollout;
use smilax_e2e::{Progress, wait_until};

use crate::WEB;

#[test]
fn a_rollout_that_is_stuck_is_a_failure_and_its_settings_are_not_said_to_be_in_force() {
    let web = WEB.hold();
    let mesh = &web.mesh;
    mesh.available();
    let in_force = || mesh.smilax(&["namespaces", web.namespace.name()]);
    let before = in_force();
    assert!(before.is_ok(), "{before:?}");
    let stuck = StuckRollout::begin(mesh);
    let said = wait_until("check says that the rollout is stuck", || {
        let said = match mesh.smilax(&["check"]) {
            Ok(said) | Err(said) => said,
        };
        if said.contains("rollout stuck") {
            Progress::Done(said)
        } else {
            Progress::Pending(said)
        }
    });
    assert!(said.contains("of 2 replicas run this configuration"), "{said}");
    assert!(!said.contains("version 0.9.9"), "{said}");
    assert_eq!(in_force(), before);
    let versions = mesh
        .smilax(&["version"])
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!versions.contains("0.9.9"), "{versions}");
    drop(stuck);
    mesh.available();
}
