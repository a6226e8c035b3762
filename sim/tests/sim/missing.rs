//! What is not as it should be yet, once everything is whole again.

use std::collections::BTreeSet;

use smilax_core::Revision;
use smilax_sim::judge::READER;
use smilax_sim::plan::{PODS, SERVICES};

use crate::cluster::{addresses, port};
use crate::policy::account;
use crate::reader::ASKS;
use crate::world::{Inner, Pod, World};

/// In words; empty when all is well.
pub(crate) fn of(world: &World) -> Vec<String> {
    let newest = [0, 1].map(|number| world.newest(&account(number)));
    let announced = world.with(|inner| inner.announced);
    let bundle = Some(world.bundle(announced).generation);
    world.with(|inner| {
        let mut missing = Vec::new();
        for (number, pod) in inner.pods.iter().enumerate() {
            missing.extend(of_pod(inner, pod, newest[number % 2], bundle));
        }
        let reader = &inner.reader;
        if (reader.revision, reader.bundle) != (Some(newest[0]), bundle) {
            missing.push(format!(
                "the client has {:?} and {:?}",
                reader.revision, reader.bundle
            ));
        }
        for service in ASKS {
            let wanted = behind(inner, service);
            if reader.endpoints.get(&service) != Some(&wanted) {
                missing.push(format!(
                    "the client knows {:?} of {service}",
                    reader.endpoints.get(&service)
                ));
            }
        }
        missing.extend(of_leader(inner, newest));
        missing
    })
}

fn behind(inner: &Inner, service: usize) -> BTreeSet<String> {
    addresses(service, inner.behind[service]).collect()
}

fn of_pod(inner: &Inner, pod: &Pod, newest: Revision, bundle: Option<u64>) -> Vec<String> {
    let Some(control) = &pod.control else {
        return vec![format!("{} does not run", pod.uid)];
    };
    let mut missing = Vec::new();
    let in_force = control.shared.table.load().revision;
    if in_force != newest {
        missing.push(format!("{} has {in_force} and not {newest}", pod.uid));
    }
    if control.facts().bundle != bundle {
        missing.push(format!(
            "{} trusts {:?} and not {bundle:?}",
            pod.uid,
            control.facts().bundle
        ));
    }
    let known = control.shared.endpoints.shared().load_full();
    for service in 0..SERVICES {
        let told = known.port(&port(service)).map(|told| {
            let told = told.iter().map(|one| one.address.ip().to_string());
            told.collect::<BTreeSet<_>>()
        });
        let wanted = pod.uses.contains(&service).then(|| behind(inner, service));
        if told != wanted {
            missing.push(format!(
                "{} knows {told:?} of {service} and not {wanted:?}",
                pod.uid
            ));
        }
    }
    missing
}

fn of_leader(inner: &Inner, newest: [Revision; 2]) -> Vec<String> {
    let Some(leader) = &inner.running[inner.leading()] else {
        return vec!["nobody leads".to_owned()];
    };
    let known = leader.fleet.known();
    let mut missing = Vec::new();
    let live: BTreeSet<_> = inner.pods.iter().map(|pod| &*pod.uid).chain([READER]).collect();
    for uid in known.0.keys().filter(|uid| !live.contains(&***uid)) {
        missing.push(format!("the leader still knows of {uid}"));
    }
    let expected = (0..PODS).map(|number| (&*inner.pods[number].uid, newest[number % 2]));
    for (uid, newest) in expected.chain([(READER, newest[0])]) {
        let report = known.0.get(uid);
        let heard = report.map(|report| (report.revision, report.rejected_revision().is_some()));
        if heard != Some((Some(newest), false)) {
            missing.push(format!("the leader knows {heard:?} of {uid} and not {newest}"));
        }
    }
    missing
}
