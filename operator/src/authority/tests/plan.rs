use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use smilax_core::workload_connection::KeyId;
use time::Duration;

use super::{examine, fresh, given, start};
use crate::authority::material::{Authority, Material};
use crate::authority::{Blocker, Next, Patience, PodState, Request, Situation, Source, Step, Target, plan};

fn situation() -> Situation {
    Situation {
        source: Source::SelfMade,
        request: None,
        pods: Vec::new(),
        unpublished: Vec::new(),
        highest: 0,
    }
}

fn asked(text: &str) -> Situation {
    Situation {
        request: Some(text.parse().unwrap()),
        ..situation()
    }
}

fn pod(authority: &Authority, bundle: u64) -> PodState {
    PodState {
        name: "shop/web-1".to_owned(),
        bundle: Some(bundle),
        issuer: Some(authority.key_id().clone()),
    }
}

fn step(authority: &Authority, step: &Step) -> Authority {
    examine(authority.material().carry_out(step, 0, start()).unwrap())
}

fn announced() -> Authority {
    step(&examine(fresh()), &super::announce())
}

#[test]
fn nothing_is_done_while_nothing_is_due() {
    assert_eq!(plan(&examine(fresh()), &situation(), start()), Step::Keep);
}

#[test]
fn root_and_issuer_are_changed_at_two_thirds_of_their_time() {
    let authority = examine(fresh());
    let at = |days| plan(&authority, &situation(), start() + Duration::days(days));
    assert_eq!(at(243), Step::Keep);
    assert!(matches!(at(244), Step::Reissue { .. }));
    assert!(matches!(at(2434), Step::Announce { .. }));
}

#[test]
fn a_request_is_served_once() {
    let authority = examine(fresh());
    let first = plan(&authority, &asked("issuer/1"), start());
    let renewing = step(&authority, &first);
    let done = step(&renewing, &plan(&renewing, &asked("issuer/1"), start()));
    assert_eq!(plan(&done, &asked("issuer/1"), start()), Step::Keep);
    assert!(matches!(
        plan(&done, &asked("root/2"), start()),
        Step::Announce { .. }
    ));
}

#[test]
fn the_next_root_signs_when_every_ready_pod_trusts_it() {
    let authority = announced();
    let generation = authority.material().generation;
    let with = |pods: Vec<PodState>| {
        let situation = Situation { pods, ..situation() };
        plan(&authority, &situation, start())
    };
    let behind = pod(&authority, generation - 1);
    let silent = PodState {
        bundle: None,
        issuer: None,
        ..pod(&authority, 0)
    };
    assert_eq!(
        with(vec![behind.clone(), silent]),
        Step::Wait(vec![
            Blocker::Bundle(behind.name.clone()),
            Blocker::Silent(behind.name)
        ])
    );
    assert_eq!(with(vec![pod(&authority, generation)]), super::HAND_OVER);
}

#[test]
fn the_next_root_signs_only_when_new_pods_find_it() {
    let pending = Situation {
        unpublished: vec!["shop/smilax-web".to_owned()],
        ..situation()
    };
    assert_eq!(
        plan(&announced(), &pending, start()),
        Step::Wait(vec![Blocker::Publication("shop/smilax-web".to_owned())])
    );
}

#[test]
fn the_old_root_goes_when_every_ready_pod_has_a_new_certificate() {
    let before = announced();
    let authority = step(&before, &super::HAND_OVER);
    let generation = authority.material().generation;
    let with = |one: PodState| {
        let situation = Situation {
            pods: vec![one],
            ..situation()
        };
        plan(&authority, &situation, start())
    };
    let old = pod(&before, generation);
    assert_eq!(
        with(old.clone()),
        Step::Wait(vec![Blocker::Certificate(old.name)])
    );
    assert_eq!(with(pod(&authority, generation)), super::FINISH);
}

#[test]
fn force_goes_on_without_waiting_and_only_for_what_it_was_asked_for() {
    let silent = |text: &str| Situation {
        pods: vec![PodState {
            bundle: None,
            issuer: None,
            ..pod(&announced(), 0)
        }],
        ..asked(text)
    };
    let authority = examine(fresh());
    let mut now = authority;
    let mut steps = 0;
    loop {
        let next = plan(&now, &silent("root/1/force"), start());
        if next == Step::Keep {
            break;
        }
        assert!(!matches!(next, Step::Wait(_)));
        now = step(&now, &next);
        steps += 1;
    }
    assert_eq!(steps, 3);
    // The annotation is still there when the next change begins by schedule.
    let scheduled = step(&now, &super::announce());
    assert!(matches!(
        plan(&scheduled, &silent("root/1/force"), start()),
        Step::Wait(_)
    ));
    // A second request lends its hurry to the change that is stuck, and is served by it.
    let mut now = scheduled;
    for expected in ["announced", "renewing"] {
        assert_eq!(now.material().phase(), expected);
        now = step(&now, &plan(&now, &silent("root/2/force"), start()));
    }
    assert_eq!(plan(&now, &silent("root/2/force"), start()), Step::Keep);
}

#[test]
fn a_root_near_its_end_does_not_wait_for_ever() {
    let authority = announced();
    let silent = Situation {
        pods: vec![pod(&authority, 0)],
        ..situation()
    };
    let at = |days| plan(&authority, &silent, start() + Duration::days(days));
    assert!(matches!(at(3619), Step::Wait(_)));
    assert_eq!(at(3621), super::HAND_OVER);
}

#[test]
fn what_the_user_gives_is_taken_over_as_a_change() {
    let (ours, theirs) = (examine(fresh()), fresh());
    let with = |given| Situation {
        source: Source::Given(given),
        ..situation()
    };
    let next = plan(&ours, &with(Some(given(&theirs))), start());
    assert!(matches!(
        &next,
        Step::Announce {
            next: Next::Given(_),
            ..
        }
    ));
    assert_eq!(
        plan(&ours, &with(None), start()),
        Step::Keep,
        "what cannot be used changes nothing"
    );
    let announced = step(&ours, &next);
    let taken = step(&announced, &super::HAND_OVER);
    let done = step(&taken, &super::FINISH);
    assert_eq!(plan(&done, &with(Some(given(&theirs))), start()), Step::Keep);
    // Another issuer below the same root.
    let reissue = Step::Reissue {
        next: Next::SelfMade,
        request: None,
    };
    let renewed = given(&theirs.carry_out(&reissue, 0, start()).unwrap());
    assert!(matches!(
        plan(&done, &with(Some(renewed)), start()),
        Step::Reissue {
            next: Next::Given(_),
            ..
        }
    ));
    // When the user no longer gives one, the operator's own takes over.
    assert!(matches!(
        plan(&done, &situation(), start()),
        Step::Announce {
            next: Next::SelfMade,
            ..
        }
    ));
}

#[test]
fn a_later_generation_elsewhere_is_overtaken() {
    let later = Situation {
        highest: 8,
        ..situation()
    };
    let authority = examine(fresh());
    assert_eq!(plan(&authority, &later, start()), Step::Raise);
    let raised = examine(authority.material().carry_out(&Step::Raise, 8, start()).unwrap());
    assert_eq!(raised.bundle().generation, 9);
}

#[test]
fn requests_are_read_as_they_are_written() {
    let request: Request = "root/2026-11-25T17-30-00/force".parse().unwrap();
    assert_eq!(
        (request.target, request.patience),
        (Target::Root, Patience::Force)
    );
    for bad in ["", "root", "root/", "leaf/1", "root/1/now", "root/1/force/x"] {
        assert!(bad.parse::<Request>().is_err(), "{bad}");
    }
}

/// A pod of the model: what it trusts, and which root its certificate leads to.
#[derive(Clone, Debug)]
struct ModelPod {
    ready: bool,
    generation: u64,
    trusts: BTreeSet<String>,
    issuer: KeyId,
    root: String,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A pod takes up the newest bundle.
    Hears(usize),
    /// A pod gets a certificate, if the bundle that it knows asks for one.
    Renews(usize),
    /// The leader makes a plan and carries it out.
    Leads,
    /// The leader dies between its plan and the write, or just after the write: all that is left is the Secret.
    Crashes,
    /// A pod starts anew from what is published.
    Starts(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        (0usize..3).prop_map(Event::Hears),
        (0usize..3).prop_map(Event::Renews),
        (0usize..3).prop_map(Event::Starts),
        Just(Event::Leads),
        Just(Event::Crashes),
    ];
    prop::collection::vec(one, 0..60)
}

static FIRST: LazyLock<Material> = LazyLock::new(fresh);

fn roots(authority: &Authority) -> BTreeSet<String> {
    let pem = authority.bundle().roots;
    pem.split_inclusive("-----END CERTIFICATE-----\n")
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

fn started(authority: &Authority) -> ModelPod {
    ModelPod {
        ready: true,
        generation: authority.bundle().generation,
        trusts: roots(authority),
        issuer: authority.key_id().clone(),
        root: authority.material().signer.root.trim().to_owned(),
    }
}

struct Model {
    authority: Authority,
    pods: Vec<ModelPod>,
    request: &'static str,
}

impl Model {
    fn new(request: &'static str) -> Self {
        let authority = examine(FIRST.clone());
        Self {
            pods: vec![started(&authority); 3],
            authority,
            request,
        }
    }

    fn situation(&self) -> Situation {
        let pods = self.pods.iter().enumerate().filter(|(_, pod)| pod.ready);
        Situation {
            pods: pods
                .map(|(index, pod)| PodState {
                    name: format!("shop/{index}"),
                    bundle: Some(pod.generation),
                    issuer: Some(pod.issuer.clone()),
                })
                .collect(),
            ..asked(self.request)
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.authority.clone();
        match event {
            Event::Hears(index) => {
                self.pods[index].generation = now.bundle().generation;
                self.pods[index].trusts = roots(&now);
            }
            Event::Renews(index) => {
                let ModelPod { issuer, root, .. } = started(&now);
                self.pods[index].issuer = issuer;
                self.pods[index].root = root;
            }
            Event::Starts(index) => self.pods[index] = started(&now),
            Event::Leads => {
                let next = plan(&now, &self.situation(), start());
                self.authority = step(&now, &next);
            }
            Event::Crashes => {
                let stored = now.material().to_data();
                self.authority = examine(Material::from_data(&stored).unwrap());
            }
        }
    }

    fn everybody_trusts_everybody(&self) -> Result<(), TestCaseError> {
        for one in &self.pods {
            for other in &self.pods {
                prop_assert!(one.trusts.contains(&other.root));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_in_whatever_order_no_pod_distrusts_another(
        events in events(),
        request in prop_oneof![Just("root/1"), Just("issuer/1")],
    ) {
        let mut model = Model::new(request);
        for event in events {
            model.take(event);
            model.everybody_trusts_everybody()?;
        }
    }

    #[test]
    fn a_change_that_was_interrupted_anywhere_comes_to_its_end(
        events in events(),
        request in prop_oneof![Just("root/1"), Just("issuer/1")],
    ) {
        let mut model = Model::new(request);
        for event in events {
            model.take(event);
        }
        for _ in 0..4 {
            model.take(Event::Leads);
            for pod in 0..3 {
                model.take(Event::Hears(pod));
                model.take(Event::Renews(pod));
            }
            model.take(Event::Crashes);
            model.everybody_trusts_everybody()?;
        }
        prop_assert_eq!(model.authority.material().phase(), "steady");
        prop_assert_ne!(&model.authority.material().signer.issuer, &FIRST.signer.issuer);
        let same_root = model.authority.material().signer.root == FIRST.signer.root;
        prop_assert_eq!(same_root, request == "issuer/1");
        for pod in &model.pods {
            prop_assert_eq!(&pod.issuer, model.authority.key_id());
            prop_assert_eq!(pod.trusts.len(), 1);
        }
    }
}
