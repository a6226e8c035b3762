//! In which zone each node is: for callers who prefer what is near.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Index;

type Name = Arc<str>;

impl Index {
    /// Takes in the zone of a node, or that it has none (any more).
    pub fn set_zone(&mut self, node: &str, zone: Option<Name>) {
        if self.zones.get(node) == zone.as_ref() {
            return;
        }
        match zone {
            Some(zone) => self.zones.insert(node.into(), zone),
            None => self.zones.remove(node),
        };
        self.moved.nodes.insert(node.into());
    }

    /// Takes in the zones of all nodes that have one.
    pub fn reset_zones(&mut self, all: impl IntoIterator<Item = (Name, Name)>) {
        let next: BTreeMap<Name, Name> = all.into_iter().collect();
        let known: Vec<Name> = self.zones.keys().chain(next.keys()).cloned().collect();
        for node in known {
            self.set_zone(&node, next.get(&node).cloned());
        }
    }

    /// The zone of a node, where it is known.
    pub fn zone(&self, node: &str) -> Option<&Name> {
        self.zones.get(node)
    }
}

#[cfg(test)]
mod tests {
    use crate::index::{Index, Settings};

    fn moved(index: &mut Index) -> Vec<String> {
        let nodes = index.take_moved().nodes;
        nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_moves_when_its_zone_is_another_and_only_then() {
        let mut index = Index::new(Settings::default());
        index.set_zone("n1", Some("a".into()));
        assert_eq!(moved(&mut index), ["n1"]);
        index.set_zone("n1", Some("a".into()));
        assert!(moved(&mut index).is_empty());
        index.set_zone("n1", None);
        assert_eq!(moved(&mut index), ["n1"]);
    }

    #[test]
    fn after_a_list_nodes_that_are_not_in_it_have_no_zone_and_equal_ones_have_not_moved() {
        let mut index = Index::new(Settings::default());
        index.reset_zones([("n1".into(), "a".into()), ("n2".into(), "b".into())]);
        moved(&mut index);
        index.reset_zones([("n2".into(), "b".into()), ("n3".into(), "a".into())]);
        assert_eq!(moved(&mut index), ["n1", "n3"]);
        assert_eq!(
            (index.zone("n1"), index.zone("n2").map(|zone| &**zone)),
            (None, Some("b"))
        );
    }

    #[test]
    fn zones_are_no_policy() {
        let mut index = Index::new(Settings::default());
        index.set_zone("n1", Some("a".into()));
        assert!(index.take_dirty().is_empty());
    }
}
