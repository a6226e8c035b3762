use proptest::prelude::*;

use super::*;
use crate::controller::kinds::SmiKind;

fn key(name: &str) -> ObjectKey {
    let kind = SmiKind::from_kind("TrafficSplit").unwrap();
    (kind, "shop".into(), name.into())
}

fn revision(counter: u64) -> Revision {
    Revision { term: 1, counter }
}

fn workload(account: &str) -> Workload {
    Workload::new("shop", account)
}

fn held(generation: i64, accounts: &[&str]) -> Held {
    Held {
        uid: "u".to_owned(),
        generation,
        holders: Arc::new(accounts.iter().map(|account| workload(account)).collect()),
        learners: Callers::All,
    }
}

fn pod(name: &str, account: &str) -> CountedPod {
    CountedPod {
        uid: name.into(),
        name: format!("shop/{name}"),
        workload: workload(account),
        ready: Ready::Yes,
    }
}

fn applied(counter: u64) -> Told {
    Told {
        revision: Some(revision(counter)),
        ..Told::default()
    }
}

/// A proxy whose configuration does not hold the split, but which looked up an address behind which it stands.
fn learned(generation: i64) -> Told {
    Told {
        learned: BTreeMap::from([(key("web"), generation)]),
        ..applied(1)
    }
}

fn guest(name: &str, namespace: &str) -> CountedPod {
    CountedPod {
        workload: Workload::new(namespace, "guest"),
        ..pod(name, "guest")
    }
}

fn rejects(in_force: u64, counter: u64) -> Told {
    Told {
        rejected: Some((revision(counter), "routes: no".to_owned())),
        ..applied(in_force)
    }
}

/// A split of generation 1 in the stored revision 5, and two pods.
fn shop() -> Acknowledgements {
    let mut known = Acknowledgements::default();
    known.is_stored(&workload("web"), revision(5));
    known.set_objects("shop", BTreeMap::from([(key("web"), held(1, &["web"]))]));
    known.set_pods(&"shop".into(), [pod("a", "web"), pod("b", "web")]);
    known
}

fn count(known: &Acknowledgements) -> (usize, usize) {
    let enforcement = known.enforcement(&key("web"));
    (enforcement.enforced, enforcement.of)
}

/// The next generation, of which a write is under way.
fn change(known: &mut Acknowledgements) {
    known.is_behind(&workload("web"));
    known.set_objects("shop", BTreeMap::from([(key("web"), held(2, &["web"]))]));
}

#[test]
fn a_proxy_enforces_what_its_revision_or_an_earlier_one_brought() {
    let mut known = shop();
    known.tell("a", applied(4));
    assert_eq!(count(&known), (0, 2));
    known.is_stored(&workload("web"), revision(9));
    known.tell("a", applied(5));
    known.tell("b", applied(9));
    assert_eq!(count(&known), (2, 2));
}

#[test]
fn a_proxy_that_learned_it_from_a_lookup_counts_by_the_generation_that_it_tells() {
    let mut known = shop();
    known.set_pods(&"bank".into(), [guest("g", "bank")]);
    known.tell("g", applied(1));
    assert_eq!(count(&known), (0, 2), "it has not called the Service");
    known.take_changed();
    known.tell("g", learned(1));
    assert_eq!(count(&known), (1, 3));
    assert_eq!(known.take_changed(), [key("web")].into());
    change(&mut known);
    assert_eq!(count(&known), (0, 3), "generation 2 is not there yet");
    known.tell("g", learned(2));
    assert_eq!(count(&known), (1, 3));
    known.tell("g", applied(1));
    assert_eq!(count(&known), (0, 2), "it no longer calls the Service");
}

#[test]
fn what_was_learned_is_counted_no_longer_than_the_pod_is_there() {
    let mut known = shop();
    known.tell("g", learned(1));
    assert_eq!(count(&known), (0, 2), "the pod is not known yet");
    known.set_pods(&"bank".into(), [guest("g", "bank")]);
    assert_eq!(count(&known), (1, 3));
    known.take_changed();
    known.set_pods(&"bank".into(), []);
    assert_eq!(count(&known), (0, 2));
    assert_eq!(known.take_changed(), [key("web")].into());
}

#[test]
fn a_proxy_whose_configuration_holds_it_counts_once() {
    let mut known = shop();
    known.tell(
        "a",
        Told {
            learned: learned(1).learned,
            ..applied(5)
        },
    );
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn s12_who_may_not_call_it_cannot_hold_the_count_up_by_claiming_to_have_learned_it() {
    let mut known = shop();
    let closed = Held {
        learners: Callers::Only {
            workloads: [].into(),
            namespaces: ["bank".into()].into(),
        },
        ..held(1, &["web"])
    };
    known.set_objects("shop", BTreeMap::from([(key("web"), closed)]));
    known.set_pods(&"bank".into(), [guest("g", "bank")]);
    known.set_pods(&"evil".into(), [guest("e", "evil")]);
    known.tell("g", learned(1));
    known.tell("e", learned(0));
    assert_eq!(count(&known), (1, 3));
}

#[test]
fn a_new_generation_is_enforced_by_nobody_until_it_is_written_and_acknowledged() {
    let mut known = shop();
    known.tell("a", applied(5));
    change(&mut known);
    assert_eq!(count(&known), (0, 2));
    known.is_stored(&workload("web"), revision(6));
    assert_eq!(count(&known), (0, 2));
    known.tell("a", applied(6));
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn an_acknowledgement_that_is_heard_before_the_answer_to_the_write_counts() {
    let mut known = shop();
    change(&mut known);
    known.tell("a", applied(6));
    known.is_stored(&workload("web"), revision(6));
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn a_generation_that_changes_no_configuration_is_enforced_by_who_has_the_stored_one() {
    let mut known = shop();
    known.tell("a", applied(5));
    known.is_stored(&workload("web"), revision(5));
    known.set_objects("shop", BTreeMap::from([(key("web"), held(2, &["web"]))]));
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn a_later_write_about_something_else_asks_nothing_more_of_a_proxy() {
    let mut known = shop();
    known.tell("a", applied(5));
    known.is_behind(&workload("web"));
    known.is_stored(&workload("web"), revision(6));
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn who_rejects_what_carries_it_is_named_and_who_rejects_something_later_is_not() {
    let mut known = shop();
    known.is_stored(&workload("web"), revision(6));
    known.tell("a", rejects(4, 5));
    known.tell("b", rejects(5, 6));
    let named: Vec<String> = known
        .enforcement(&key("web"))
        .rejections
        .into_iter()
        .map(|one| one.pod)
        .collect();
    assert_eq!(named, ["shop/a"]);
}

#[test]
fn s30_a_revision_that_nobody_wrote_is_not_believed_until_it_is_written() {
    let mut known = shop();
    known.tell("a", applied(u64::MAX));
    known.tell("b", rejects(4, 6));
    assert_eq!(count(&known), (0, 2));
    assert_eq!(known.enforcement(&key("web")).rejections, []);
    known.take_changed();
    known.is_stored(&workload("web"), revision(6));
    assert_eq!(known.take_changed(), [key("web")].into());
    assert_eq!(known.enforcement(&key("web")).rejections.len(), 1);
    assert_eq!(count(&known), (0, 2), "the other one is still unknown");
}

#[test]
fn s30_an_acknowledgement_that_comes_before_the_write_is_known_counts_afterwards() {
    let mut known = shop();
    change(&mut known);
    known.tell("a", applied(6));
    assert_eq!(count(&known), (0, 2));
    known.is_stored(&workload("web"), revision(6));
    assert_eq!(count(&known), (1, 2));
}

#[test]
fn s30_a_proxy_of_another_namespace_is_counted_and_not_quoted() {
    let mut known = shop();
    let importer = Workload::new("bank", "guest");
    known.is_stored(&importer, revision(7));
    let mut shared = held(1, &["web"]);
    shared.holders = Arc::new([workload("web"), importer].into());
    known.set_objects("shop", BTreeMap::from([(key("web"), shared)]));
    known.set_pods(&"bank".into(), [guest("g", "bank")]);
    known.tell("a", applied(5));
    known.tell("b", applied(5));
    known.tell("g", rejects(6, 7));
    let enforcement = known.enforcement(&key("web"));
    assert_eq!((enforcement.enforced, enforcement.of), (2, 3));
    assert_eq!((enforcement.rejections, enforcement.more_rejections), (vec![], 0));
}

#[test]
fn s30_a_generation_that_an_object_does_not_have_was_not_learned() {
    let mut known = shop();
    known.set_pods(&"bank".into(), [guest("g", "bank")]);
    known.tell("g", learned(i64::MAX));
    assert_eq!(count(&known), (0, 2));
    known.tell("g", learned(1));
    assert_eq!(count(&known), (1, 3));
}

#[test]
fn three_pods_that_reject_are_named_and_the_others_counted() {
    let mut known = shop();
    let pods = ["a", "b", "c", "d", "e"];
    known.set_pods(&"shop".into(), pods.map(|name| pod(name, "web")));
    for name in pods {
        known.tell(name, rejects(4, 5));
    }
    let enforcement = known.enforcement(&key("web"));
    assert_eq!(
        (enforcement.rejections.len(), enforcement.more_rejections),
        (3, 2)
    );
}

#[test]
fn pods_that_are_gone_do_not_count() {
    let mut known = shop();
    known.tell("a", rejects(4, 5));
    known.tell("b", applied(5));
    known.set_pods(&"shop".into(), [pod("b", "web")]);
    assert_eq!(known.enforcement(&key("web")).rejections, []);
    assert_eq!(count(&known), (1, 1));
}

#[test]
fn a_pod_counts_when_it_is_ready_or_its_proxy_has_told_something() {
    let mut known = shop();
    let starting = CountedPod {
        ready: Ready::No,
        ..pod("c", "web")
    };
    known.set_pods(&"shop".into(), [starting]);
    assert_eq!(count(&known), (0, 0));
    known.tell("c", applied(5));
    assert_eq!(count(&known), (1, 1));
}

#[test]
fn an_object_that_was_made_anew_starts_anew_though_its_generation_is_the_same() {
    let mut known = shop();
    known.tell("a", applied(5));
    known.is_behind(&workload("web"));
    let anew = Held {
        uid: "v".to_owned(),
        ..held(1, &["web"])
    };
    known.set_objects("shop", BTreeMap::from([(key("web"), anew)]));
    assert_eq!(count(&known), (0, 2));
}

#[test]
fn an_acknowledgement_concerns_only_what_its_revision_brought() {
    let mut known = shop();
    known.tell("a", applied(5));
    let both = |generation| {
        BTreeMap::from([
            (key("web"), held(1, &["web"])),
            (key("other"), held(generation, &["web"])),
        ])
    };
    known.set_objects("shop", both(1));
    known.is_behind(&workload("web"));
    known.set_objects("shop", both(2));
    known.is_stored(&workload("web"), revision(6));
    known.take_changed();
    known.tell("a", applied(6));
    assert_eq!(known.take_changed(), BTreeSet::from([key("other")]));
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A split is changed, and the configurations of its holders are written, or fail to be.
    Change(usize, bool),
    /// What failed is written.
    Retry,
    /// A proxy has what is stored, or what was so many revisions before.
    Apply(usize, u64),
    /// A proxy rejects what is stored.
    Reject(usize),
    /// A pod comes or goes.
    Pod(usize),
    /// Other accounts hold a split.
    Hold(usize, Vec<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..3, any::<bool>()).prop_map(|(split, written)| Step::Change(split, written)),
        Just(Step::Retry),
        (0usize..5, 0u64..3).prop_map(|(pod, back)| Step::Apply(pod, back)),
        (0usize..5).prop_map(Step::Reject),
        (0usize..5).prop_map(Step::Pod),
        (0usize..3, prop::collection::vec(any::<bool>(), 2)).prop_map(|(split, by)| Step::Hold(split, by)),
    ]
}

const ACCOUNTS: [&str; 2] = ["web", "client"];
const SPLITS: [&str; 3] = ["x", "y", "z"];
const PODS: [(&str, &str); 5] = [
    ("a", "web"),
    ("b", "web"),
    ("c", "client"),
    ("d", "client"),
    ("e", "web"),
];

/// The same, worked out anew each time by what each revision carried.
#[derive(Default)]
struct Model {
    generations: [i64; 3],
    holders: [BTreeSet<usize>; 3],
    /// By account: the generations of all splits in each written revision.
    written: [BTreeMap<u64, [i64; 3]>; 2],
    last: u64,
    pods: BTreeSet<usize>,
    told: BTreeMap<usize, Told>,
}

impl Model {
    fn carries(&self, account: usize, revision: Option<Revision>, split: usize) -> bool {
        revision
            .and_then(|revision| self.written[account].get(&revision.counter))
            .is_some_and(|generations| generations[split] >= self.generations[split])
    }

    fn account_of(pod: usize) -> usize {
        ACCOUNTS
            .iter()
            .position(|account| *account == PODS[pod].1)
            .unwrap()
    }

    fn enforcement(&self, split: usize) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for &pod in &self.pods {
            let account = Self::account_of(pod);
            if !self.holders[split].contains(&account) {
                continue;
            }
            counts.1 += 1;
            let told = self.told.get(&pod).cloned().unwrap_or_default();
            if self.carries(account, told.revision, split) {
                counts.0 += 1;
            } else if self.carries(account, told.rejected.map(|(revision, _)| revision), split) {
                counts.2 += 1;
            }
        }
        counts
    }
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_exactly_those_are_counted_whose_revision_carries_the_generation(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut known = Acknowledgements::default();
        let mut model = Model { generations: [1; 3], ..Model::default() };
        for split in &mut model.holders {
            *split = BTreeSet::from([0, 1]);
        }
        let objects = |model: &Model| -> BTreeMap<ObjectKey, Held> {
            (0..3)
                .map(|split| {
                    let accounts: Vec<&str> = model.holders[split].iter().map(|&one| ACCOUNTS[one]).collect();
                    (key(SPLITS[split]), held(model.generations[split], &accounts))
                })
                .collect()
        };
        let write = |known: &mut Acknowledgements, model: &mut Model| {
            for (account, name) in ACCOUNTS.iter().enumerate() {
                let stored = model.written[account].last_key_value().map(|(&counter, generations)| (counter, *generations));
                let counter = match stored {
                    Some((counter, generations)) if generations == model.generations => counter,
                    _ => {
                        model.last += 1;
                        model.last
                    }
                };
                model.written[account].insert(counter, model.generations);
                known.is_stored(&workload(name), revision(counter));
            }
        };
        known.set_objects("shop", objects(&model));
        write(&mut known, &mut model);
        let mut shown: BTreeMap<ObjectKey, Enforcement> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Change(split, written) => {
                    model.generations[split] += 1;
                    for name in ACCOUNTS {
                        known.is_behind(&workload(name));
                    }
                    known.set_objects("shop", objects(&model));
                    if written {
                        write(&mut known, &mut model);
                    }
                }
                Step::Retry => write(&mut known, &mut model),
                Step::Apply(pod, back) => {
                    let written = &model.written[Model::account_of(pod)];
                    let counters: Vec<u64> = written.keys().rev().copied().collect();
                    let index = usize::try_from(back).unwrap().min(counters.len() - 1);
                    let told = applied(counters[index]);
                    if model.pods.contains(&pod) {
                        model.told.insert(pod, told.clone());
                        known.tell(PODS[pod].0, told);
                    }
                }
                Step::Reject(pod) => {
                    let stored = *model.written[Model::account_of(pod)].last_key_value().unwrap().0;
                    let before = model.told.get(&pod).and_then(|told| told.revision);
                    let told = Told { revision: before, ..rejects(0, stored) };
                    if model.pods.contains(&pod) && before < Some(revision(stored)) {
                        model.told.insert(pod, told.clone());
                        known.tell(PODS[pod].0, told);
                    }
                }
                Step::Pod(one) => {
                    if !model.pods.remove(&one) {
                        model.pods.insert(one);
                    }
                    model.told.remove(&one);
                    let pods: Vec<CountedPod> = model.pods.iter().map(|&one| pod(PODS[one].0, PODS[one].1)).collect();
                    known.set_pods(&"shop".into(), pods);
                }
                Step::Hold(split, by) => {
                    let holders = by.iter().enumerate().filter(|(_, by)| **by).map(|(account, _)| account);
                    model.holders[split] = holders.collect();
                    known.set_objects("shop", objects(&model));
                }
            }
            for changed in known.take_changed() {
                shown.insert(changed.clone(), known.enforcement(&changed));
            }
            for (split, name) in SPLITS.iter().enumerate() {
                let enforcement = known.enforcement(&key(name));
                let (enforced, of, rejected) = model.enforcement(split);
                let counted = enforcement.rejections.len() + enforcement.more_rejections;
                // A workload that begins to hold an object is asked for what is stored by then, never for less.
                prop_assert!(enforcement.enforced <= enforced, "{} counts {} of {}", name, enforcement.enforced, enforced);
                prop_assert_eq!(enforcement.of, of);
                prop_assert!(counted <= rejected + of);
                prop_assert_eq!(shown.get(&key(name)).cloned().unwrap_or_default(), enforcement, "a change was missed");
            }
        }
        // In the end all proxies have what is stored.
        write(&mut known, &mut model);
        for &pod in &model.pods.clone() {
            let stored = *model.written[Model::account_of(pod)].last_key_value().unwrap().0;
            known.tell(PODS[pod].0, applied(stored));
        }
        for (split, name) in SPLITS.iter().enumerate() {
            let enforcement = known.enforcement(&key(name));
            let of = model.enforcement(split).1;
            prop_assert_eq!((enforcement.enforced, enforcement.of, enforcement.rejections.len()), (of, of, 0));
        }
    }
}
