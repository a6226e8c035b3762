//! One namespace with a hundred splits of 250 mistakes each, and a change in another namespace.

use super::*;
use crate::controller::findings::Findings;
use crate::controller::findings::{BURST, PERIOD};

/// Statuses that one turn writes.
const TURN: usize = 4;

/// What the leader wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Write {
    Status(ObjectKey),
    Event(ObjectKey),
}

/// A leader, and what is stored.
struct Flood {
    index: Index,
    statuses: Statuses,
    findings: Findings,
    stored: BTreeMap<ObjectKey, StoredObject>,
    now: Instant,
}

impl Flood {
    /// Everything of namespace `noisy` waits to be told.
    fn new() -> Self {
        let now = Instant::now();
        let mut flood = Self {
            index: Index::new(Settings::default()),
            statuses: Statuses::new(now),
            findings: Findings::default(),
            stored: BTreeMap::new(),
            now,
        };
        for number in 0..100 {
            flood.apply("noisy", &format!("split-{number:02}"), 250);
        }
        flood.compile("noisy");
        flood
    }

    /// Applies a split with so many backends that do not exist.
    fn apply(&mut self, namespace: &str, name: &str, mistakes: usize) {
        let service = serde_json::json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]},
        });
        let service = smilax_compiler::ingest::service(&serde_json::from_value(service).unwrap());
        self.index.set_service(namespace, name.into(), Some(service));
        let backends = (0..mistakes).map(|number| SplitBackend {
            service: format!("gone-{number}"),
            weight: 1,
        });
        let split = Split {
            meta: Meta {
                namespace: namespace.into(),
                ..meta(name, 1)
            },
            root: name.to_owned(),
            backends: backends.collect(),
            ..Split::default()
        };
        self.index.set_split(namespace, name.into(), Some(split));
    }

    fn compile(&mut self, namespace: &str) {
        let all = statuses(&mut self.index, namespace);
        for status in &all {
            let key = key_of(status).unwrap();
            self.stored.entry(key).or_insert(StoredObject {
                uid: "u".to_owned(),
                resource_version: "1".to_owned(),
                conditions: Vec::new(),
                observed_generation: None,
                columns: BTreeMap::new(),
            });
        }
        self.statuses.set(namespace, all, &self.stored);
    }

    /// A turn of statuses, then one Event.
    fn turn(&mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        for status in self.statuses.take_due(&self.stored, self.now, TURN) {
            let key = key_of(&status).unwrap();
            let object = self.stored.get_mut(&key).unwrap();
            if let Some(merged) = merge(&object.conditions, &status.conditions, "now") {
                object.conditions = merged;
            }
            object.columns = status.texts();
            object.observed_generation = Some(status.object.generation);
            self.statuses.wrote(&status, self.now);
            writes.push(Write::Status(key));
        }
        for (key, untold) in self.statuses.take_untold() {
            self.findings.set_object(key, untold);
        }
        if let Some((_, finding)) = self.findings.take(self.now) {
            let Finding::Smi { key, .. } = &finding else {
                panic!("{finding:?}");
            };
            self.findings.settled();
            self.statuses.told(&finding);
            if !self.findings.waits(key) {
                self.statuses.look_at(key.clone());
            }
            writes.push(Write::Event(key.clone()));
        }
        writes
    }

    /// All writes within so long, ten turns a second.
    fn within(&mut self, time: Duration) -> Vec<Write> {
        let until = self.now + time;
        let mut writes = Vec::new();
        while self.now < until {
            writes.extend(self.turn());
            self.now += PERIOD / 10;
        }
        writes
    }
}

fn quiet() -> ObjectKey {
    let kind = SmiKind::from_kind("TrafficSplit").unwrap();
    (kind, "quiet".into(), "web".into())
}

#[test]
fn s29_a_change_in_another_namespace_is_among_the_first_writes() {
    let mut flood = Flood::new();
    flood.turn();
    flood.apply("quiet", "web", 1);
    flood.compile("quiet");
    let mut writes = flood.turn();
    assert!(writes[..TURN].contains(&Write::Status(quiet())), "{writes:?}");
    writes.extend(flood.turn());
    assert!(writes.contains(&Write::Event(quiet())), "{writes:?}");
}

#[test]
fn s29_a_status_comes_before_the_events_about_it() {
    let mut seen = BTreeSet::new();
    for write in Flood::new().within(PERIOD * 30) {
        match write {
            Write::Status(key) => {
                seen.insert(key);
            }
            Write::Event(key) => assert!(seen.contains(&key), "{key:?}"),
        }
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn s29_a_namespace_causes_no_more_events_than_its_allowance() {
    let writes = Flood::new().within(PERIOD * 60);
    let events = writes.iter().filter(|one| matches!(one, Write::Event(_))).count();
    assert!(events <= usize::try_from(BURST).unwrap() + 60, "{events}");
}

#[test]
fn s29_in_the_end_all_is_told_once_and_remembered() {
    let mut flood = Flood::new();
    let writes = flood.within(PERIOD * 1200);
    let events = writes.iter().filter(|one| matches!(one, Write::Event(_))).count();
    assert_eq!(events, 100 * (status::MOST_EVENTS + 1));
    // One with the conditions, one that remembers what was told, and one as the leader looks at everything after a minute.
    assert!(writes.len() - events <= 3 * 100, "{}", writes.len());
    assert!(flood.findings.is_empty() && !flood.statuses.is_waiting());
    assert!(flood.statuses.told.is_empty());
}
