//! HTTPRouteGroups on their way into the index: their expressions are measured first, while nothing else waits for it.
//!
//! Namespaces take turns, one group each, so that a thousand heavy groups of one namespace keep a group of another waiting
//! for one of them at most. Until a group is measured, what is known of it is its last version. Pure, but for [`run`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::model::RouteGroup;
use smilax_compiler::plan::measure;

use super::state::{Inner, State};

type Name = Arc<str>;

/// Groups that wait to be measured. Of each, the newest version.
#[derive(Debug, Default)]
pub struct Measuring {
    waiting: BTreeMap<Name, BTreeMap<Name, RouteGroup>>,
    /// The one that is measured now; none when it is not wanted any more.
    current: Option<(Name, Name)>,
    /// Of the first list: nothing is known of these yet, so nothing is said of their namespaces.
    unknown: BTreeSet<(Name, Name)>,
    /// Whose turn it was.
    last: Option<Name>,
}

/// What is known of a group that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// An earlier version, or that it did not exist.
    Before,
    /// Nothing: it is of the first list.
    Nothing,
}

impl Measuring {
    /// Takes a group, in the place of an earlier version of it.
    pub fn add(&mut self, namespace: &Name, name: &Name, group: RouteGroup, known: Known) {
        if known == Known::Nothing {
            self.unknown.insert((namespace.clone(), name.clone()));
        }
        self.waiting
            .entry(namespace.clone())
            .or_default()
            .insert(name.clone(), group);
    }

    /// A group is gone.
    pub fn remove(&mut self, namespace: &Name, name: &Name) {
        let key = (namespace.clone(), name.clone());
        if let Some(groups) = self.waiting.get_mut(namespace) {
            groups.remove(name);
            if groups.is_empty() {
                self.waiting.remove(namespace);
            }
        }
        if self.current.as_ref() == Some(&key) {
            self.current = None;
        }
        self.unknown.remove(&key);
    }

    /// All groups are to be listed anew: what waited is not wanted any more. Returns those of which nothing is known yet.
    pub fn clear(&mut self) -> BTreeSet<(Name, Name)> {
        self.waiting.clear();
        self.current = None;
        std::mem::take(&mut self.unknown)
    }

    /// Whether there is something to be measured.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next to be measured, of the namespace whose turn it is.
    pub fn take(&mut self) -> Option<RouteGroup> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        let (namespace, _) = next.or_else(|| self.waiting.first_key_value())?;
        let namespace = namespace.clone();
        let groups = self.waiting.get_mut(&namespace)?;
        let (name, group) = groups.pop_first()?;
        if groups.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.last = Some(namespace.clone());
        self.current = Some((namespace, name));
        Some(group)
    }

    /// The one that was taken last was measured; where it belongs, if it is still wanted.
    pub fn finish(&mut self) -> Option<(Name, Name)> {
        let key = self.current.take()?;
        self.unknown.remove(&key);
        Some(key)
    }

    /// Whether there are groups in a namespace of which nothing is known yet.
    pub fn is_unknown(&self, namespace: &str) -> bool {
        let from = (Name::from(namespace), Name::from(""));
        let first = self.unknown.range(from..).next();
        first.is_some_and(|(of, _)| **of == *namespace)
    }
}

/// Measures whatever waits, for as long as the process runs.
pub async fn run(state: Arc<State>) {
    loop {
        let (next, settings) = state.read(|inner| (inner.measuring.take(), inner.index.settings().clone()));
        let Some(mut group) = next else {
            state.groups_wait().await;
            continue;
        };
        // A panic would be one of the engine's: the group is then measured where it is asked for, or not at all.
        let measured = tokio::task::spawn_blocking(move || {
            group.measured = measure(&settings, &group);
            group
        });
        match measured.await {
            Ok(group) => state.update(|inner| take(inner, group)),
            Err(error) => {
                tracing::error!(%error, "a group could not be measured");
                state.update(|inner| drop(inner.measuring.finish()));
            }
        }
    }
}

fn take(inner: &mut Inner, group: RouteGroup) {
    if let Some((namespace, name)) = inner.measuring.finish() {
        inner.index.set_group(&namespace, name, Some(group));
        // It may be what the namespace waited for, though nothing is new in it.
        inner.index.mark(&namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> RouteGroup {
        let mut group = RouteGroup::default();
        group.meta.name = name.into();
        group
    }

    fn add(measuring: &mut Measuring, namespace: &str, name: &str) {
        measuring.add(&namespace.into(), &name.into(), group(name), Known::Before);
    }

    fn next(measuring: &mut Measuring) -> Option<String> {
        let group = measuring.take()?;
        measuring.finish();
        Some(group.meta.name.to_string())
    }

    #[test]
    fn s1_namespaces_take_turns() {
        let mut measuring = Measuring::default();
        for number in 0..1000 {
            add(&mut measuring, "heavy", &format!("h{number:03}"));
        }
        assert_eq!(next(&mut measuring).as_deref(), Some("h000"));
        add(&mut measuring, "shop", "a");
        add(&mut measuring, "bank", "b");
        let order: Vec<_> = std::iter::from_fn(|| next(&mut measuring)).take(4).collect();
        assert_eq!(order, ["a", "b", "h001", "h002"]);
    }

    #[test]
    fn only_the_newest_version_is_measured() {
        let mut measuring = Measuring::default();
        add(&mut measuring, "shop", "a");
        measuring.add(&"shop".into(), &"a".into(), group("newer"), Known::Before);
        assert_eq!(next(&mut measuring).as_deref(), Some("newer"));
        assert_eq!(next(&mut measuring), None);
    }

    #[test]
    fn what_is_deleted_while_it_is_measured_does_not_come_back() {
        let mut measuring = Measuring::default();
        add(&mut measuring, "shop", "a");
        assert!(measuring.take().is_some());
        measuring.remove(&"shop".into(), &"a".into());
        assert_eq!(measuring.finish(), None);
    }

    #[test]
    fn a_namespace_is_unknown_until_the_groups_of_the_first_list_are_measured() {
        let mut measuring = Measuring::default();
        let shop = Name::from("shop");
        for name in ["a", "b"] {
            measuring.add(&shop, &name.into(), group(name), Known::Nothing);
        }
        add(&mut measuring, "shopping", "c");
        next(&mut measuring);
        assert!(measuring.is_unknown("shop"));
        assert!(!measuring.is_unknown("shopping") && !measuring.is_unknown("sho"));
        measuring.remove(&shop, &"b".into());
        assert!(!measuring.is_unknown("shop"));
    }
}
