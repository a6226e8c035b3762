mod flood;

use smilax_compiler::Index;
use smilax_compiler::index::Settings;
use smilax_compiler::model::{Account, Meta, Namespace, Split, SplitBackend};
use smilax_compiler::status::{merge, statuses};
use smilax_core::convention::key;
use smilax_core::{Revision, Workload};

use super::*;
use crate::controller::acknowledgement::{CountedPod, Ready, Told};

fn meta(name: &str, generation: i64) -> Meta {
    Meta {
        namespace: "shop".into(),
        name: name.into(),
        generation,
        ..Meta::default()
    }
}

/// A leader with one split in namespace `shop`, and what is stored of its status.
struct Fixture {
    index: Index,
    statuses: Statuses,
    stored: BTreeMap<ObjectKey, StoredObject>,
    now: Instant,
}

fn workload() -> Workload {
    Workload::new("shop", "web")
}

impl Fixture {
    fn new(pods: usize) -> Self {
        let mut index = Index::new(Settings::default());
        index.set_namespace(
            "shop",
            Some(Namespace {
                name: "shop".into(),
                labels: BTreeMap::from([(key::INJECT.to_owned(), "enabled".to_owned())]),
                ..Namespace::default()
            }),
        );
        let account = Account {
            meta: meta("web", 1),
            ..Account::default()
        };
        index.set_account("shop", "web".into(), Some(account));
        for name in ["web", "web-v1"] {
            let service = serde_json::from_value(serde_json::json!({
                "metadata": {"namespace": "shop", "name": name},
                "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]},
            }));
            let service = smilax_compiler::ingest::service(&service.unwrap());
            index.set_service("shop", name.into(), Some(service));
        }
        let now = Instant::now();
        let mut fixture = Self {
            index,
            statuses: Statuses::new(now),
            stored: BTreeMap::new(),
            now,
        };
        let pods = (0..pods).map(|number| CountedPod {
            uid: number.to_string().into(),
            name: format!("shop/web-{number}"),
            workload: workload(),
            ready: Ready::Yes,
        });
        fixture.statuses.known.set_pods(&"shop".into(), pods);
        fixture
    }

    /// The split is changed, and its configuration is stored as this revision.
    fn apply(&mut self, generation: i64, counter: u64) {
        self.apply_named("web", generation, counter);
    }

    fn apply_named(&mut self, name: &str, generation: i64, counter: u64) {
        let split = Split {
            meta: meta(name, generation),
            root: "web".to_owned(),
            backends: vec![SplitBackend {
                service: "web-v1".to_owned(),
                weight: generation,
            }],
            ..Split::default()
        };
        self.index.set_split("shop", name.into(), Some(split));
        self.statuses.known.is_behind(&workload());
        let all = statuses(&mut self.index, "shop");
        for status in &all {
            self.stored
                .entry(key_of(status).unwrap())
                .or_insert(StoredObject {
                    uid: "u".to_owned(),
                    resource_version: "1".to_owned(),
                    conditions: Vec::new(),
                    observed_generation: None,
                    columns: BTreeMap::new(),
                });
        }
        self.statuses.set("shop", all, &self.stored);
        let revision = Revision { term: 1, counter };
        self.statuses.known.is_stored(&workload(), revision);
    }

    fn acknowledge(&mut self, pod: usize, counter: u64) {
        let told = Told {
            revision: Some(Revision { term: 1, counter }),
            ..Told::default()
        };
        self.statuses.known.tell(&pod.to_string(), told);
    }

    /// Writes what is due; what `Programmed` says in it.
    fn write(&mut self) -> Vec<String> {
        let due = self.statuses.take_due(&self.stored, self.now, usize::MAX);
        due.into_iter()
            .map(|status| {
                let key = key_of(&status).unwrap();
                let object = self.stored.get_mut(&key).unwrap();
                object.conditions = merge(&object.conditions, &status.conditions, "now").unwrap();
                object.columns = status.texts();
                object.observed_generation = Some(status.object.generation);
                self.statuses.wrote(&status, self.now);
                let programmed = status
                    .conditions
                    .iter()
                    .find(|one| one.kind == "Programmed")
                    .unwrap();
                format!("{}: {}", programmed.status.as_str(), programmed.message)
            })
            .collect()
    }

    /// Another operator leads, to which no proxy has told anything.
    fn restart(&mut self, pods: usize, counter: u64) {
        let mut anew = Self::new(pods);
        anew.stored = std::mem::take(&mut self.stored);
        let generation = 1;
        anew.apply(generation, counter);
        *self = anew;
    }
}

#[test]
fn a_change_is_two_writes_however_many_proxies_acknowledge_it_one_after_the_other() {
    let mut fixture = Fixture::new(100);
    fixture.apply(1, 5);
    let mut writes = fixture.write();
    for pod in 0..100 {
        fixture.acknowledge(pod, 5);
        fixture.now += Duration::from_millis(10);
        writes.extend(fixture.write());
    }
    assert_eq!(
        writes,
        [
            "Unknown: generation 1 enforced by 0/100 proxies",
            "True: generation 1 enforced by 100/100 proxies"
        ]
    );
}

#[test]
fn what_was_said_of_an_object_that_is_gone_is_not_said_of_the_next_of_its_name() {
    let mut fixture = Fixture::new(1);
    fixture.apply(1, 5);
    fixture.acknowledge(0, 5);
    for object in fixture.stored.values_mut() {
        object.uid = "of the next".to_owned();
    }
    assert!(fixture.write().is_empty());
    fixture.apply(1, 6);
    assert_eq!(fixture.write(), ["Unknown: generation 1 enforced by 0/1 proxies"]);
}

#[test]
fn another_count_alone_is_written_once_a_minute() {
    let mut fixture = Fixture::new(3);
    fixture.apply(1, 5);
    fixture.write();
    fixture.acknowledge(0, 5);
    assert!(fixture.write().is_empty());
    fixture.acknowledge(1, 5);
    assert!(fixture.write().is_empty());
    let due = fixture.statuses.next().unwrap();
    assert_eq!(due, fixture.now + COUNT_PERIOD);
    fixture.now = due;
    assert_eq!(fixture.write(), ["Unknown: generation 1 enforced by 2/3 proxies"]);
    assert!(fixture.write().is_empty());
}

#[test]
fn a_new_operator_writes_nothing_as_long_as_nothing_is_different() {
    let mut fixture = Fixture::new(2);
    fixture.apply(1, 5);
    fixture.acknowledge(0, 5);
    fixture.acknowledge(1, 5);
    fixture.write();
    fixture.restart(2, 5);
    assert!(fixture.write().is_empty());
    fixture.acknowledge(0, 5);
    assert!(fixture.write().is_empty());
    fixture.acknowledge(1, 5);
    assert!(fixture.write().is_empty());
    fixture.now += COUNT_PERIOD;
    assert!(fixture.write().is_empty());
    assert_eq!(fixture.statuses.next(), None, "nothing is left to be looked at");
}

#[test]
fn after_its_first_minute_a_new_operator_says_who_has_not_come_back() {
    let mut fixture = Fixture::new(2);
    fixture.apply(1, 5);
    fixture.acknowledge(0, 5);
    fixture.acknowledge(1, 5);
    fixture.write();
    fixture.restart(2, 5);
    fixture.acknowledge(0, 5);
    assert!(fixture.write().is_empty());
    fixture.now += COUNT_PERIOD;
    assert_eq!(fixture.write(), ["True: generation 1 enforced by 1/2 proxies"]);
}

#[test]
fn a_rejection_is_written_at_once_with_the_pods_name_and_so_is_its_end() {
    let mut fixture = Fixture::new(2);
    fixture.apply(1, 5);
    fixture.write();
    fixture.acknowledge(1, 5);
    let told = Told {
        revision: Some(Revision { term: 1, counter: 4 }),
        rejected: Some((Revision { term: 1, counter: 5 }, "routes: no".to_owned())),
        ..Told::default()
    };
    fixture.statuses.known.tell("0", told);
    assert_eq!(
        fixture.write(),
        ["False: generation 1 enforced by 1/2 proxies; rejected by shop/web-0, which says \"routes: no\""]
    );
    fixture.acknowledge(0, 5);
    assert_eq!(fixture.write(), ["True: generation 1 enforced by 2/2 proxies"]);
}

#[test]
fn the_next_generation_is_pending_at_once() {
    let mut fixture = Fixture::new(1);
    fixture.apply(1, 5);
    fixture.acknowledge(0, 5);
    fixture.write();
    fixture.apply(2, 6);
    assert_eq!(fixture.write(), ["Unknown: generation 2 enforced by 0/1 proxies"]);
}

impl Fixture {
    /// What is due of these many, by name; nothing is written.
    fn due(&mut self, most: usize) -> Vec<String> {
        let due = self.statuses.take_due(&self.stored, self.now, most);
        due.iter().map(|status| status.object.name.to_string()).collect()
    }
}

#[test]
fn no_more_are_due_than_may_be_written_and_the_others_keep_their_turn() {
    let mut fixture = Fixture::new(0);
    for name in ["a", "b", "c", "d", "e"] {
        fixture.apply_named(name, 1, 5);
    }
    assert_eq!(fixture.due(0), [""; 0]);
    assert_eq!(fixture.due(2), ["a", "b"]);
    assert!(fixture.statuses.is_waiting());
    assert_eq!(fixture.statuses.waiting(), 3);
    // What changes again does not come before those that wait.
    fixture.statuses.look_again("shop");
    assert_eq!(fixture.due(2), ["c", "d"]);
    fixture.statuses.look_again("shop");
    assert_eq!(fixture.due(2), ["e", "a"]);
    assert_eq!(fixture.due(9), ["b", "c", "d"]);
    assert!(!fixture.statuses.is_waiting());
}

#[test]
fn a_status_that_is_as_it_should_be_takes_no_turn() {
    let mut fixture = Fixture::new(0);
    for name in ["a", "b", "c"] {
        fixture.apply_named(name, 1, 5);
    }
    fixture.write();
    fixture.statuses.look_again("shop");
    fixture.stored.clear();
    fixture.apply_named("c", 1, 6);
    assert_eq!(fixture.due(9).len(), 3);
    fixture.statuses.look_again("shop");
    fixture.write();
    fixture.statuses.look_again("shop");
    assert_eq!(fixture.due(1), [""; 0]);
    assert!(!fixture.statuses.is_waiting(), "all were looked at");
}

#[test]
fn the_objects_of_a_namespace_are_found_among_those_of_all_kinds_and_namespaces() {
    let key = |kind, namespace: &str, name: &str| -> ObjectKey { (kind, namespace.into(), name.into()) };
    let mut all = BTreeMap::new();
    for kind in SmiKind::ALL {
        for namespace in ["sho", "shop", "shop-2", "", "zoo"] {
            for name in ["", "a", "z"] {
                all.insert(key(kind, namespace, name), all.len());
            }
        }
    }
    for namespace in ["shop", "", "zoo", "nothing"] {
        let found: Vec<&ObjectKey> = keys_of(&all, namespace).collect();
        let expected: Vec<&ObjectKey> = all.keys().filter(|key| *key.1 == *namespace).collect();
        assert_eq!(found, expected);
    }
}
