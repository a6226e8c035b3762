//! What one stream follows, what it was told, and what it is told next. Pure.

use std::collections::BTreeMap;

use smilax_core::Workload;
use smilax_core::endpoints::Resource;
use smilax_core::workload_connection::{Hello, MOST_RESOURCES, Subscribe};

use super::topic::{Topic, Version};

/// Bytes of a namespace's, a destination's or a node's name at most (RFC 1123, as Kubernetes asks of its names).
const LONGEST_NAME: usize = 253;

/// The state of one stream. It holds versions and no values: whatever is due is looked up when it can be sent, so that
/// who reads slowly gets the newest, and nothing waits for them.
#[derive(Debug, Default)]
pub(super) struct Session {
    follows: BTreeMap<Topic, Followed>,
    /// Topics of which something newer is known than was told, in the order in which they are told.
    due: BTreeMap<Place, Topic>,
    /// Topics that became due so far.
    turns: u64,
    subscribed: usize,
}

/// How far a stream is with one topic.
#[derive(Debug, Default)]
struct Followed {
    told: Option<Version>,
    newest: Option<Version>,
    /// Where it stands in line, while it is due.
    place: Option<Place>,
}

/// Place in line: what every proxy needs comes before what it subscribed to, then who has waited longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Own(u64),
    Subscribed(u64),
}

/// What a message changed of what is followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Followed from now on.
    pub(super) joined: Vec<Topic>,
    /// No longer.
    pub(super) left: Vec<Topic>,
}

impl Session {
    /// The stream begins. A policy of the revision that the proxy has, or of an older one, is not sent to it.
    pub(super) fn hello(&mut self, workload: &Workload, hello: &Hello) -> Change {
        let policy = Topic::policy(workload);
        let mut joined = vec![Topic::Bundle, Topic::Members(workload.clone()), policy.clone()];
        let node = hello.node.as_deref().filter(|node| node.len() <= LONGEST_NAME);
        joined.extend(node.map(|node| Topic::Locality(node.into())));
        for topic in &joined {
            self.follows.insert(topic.clone(), Followed::default());
        }
        if let Some(followed) = self.follows.get_mut(&policy) {
            followed.told = hello.revision.map(Version::from);
        }
        Change {
            joined,
            ..Change::default()
        }
    }

    /// What the proxy wants to be told of changes. What it asks for beyond [`MOST_RESOURCES`], and what cannot be the
    /// name of anything, is left out.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) -> Change {
        let mut change = Change::default();
        for topic in subscribe.remove.into_iter().map(Topic::from) {
            if let Some(followed) = self.follows.remove(&topic) {
                self.subscribed -= 1;
                self.leave_line(followed.place);
                change.left.push(topic);
            }
        }
        for topic in subscribe.add.into_iter().filter(is_name).map(Topic::from) {
            if let Some(followed) = self.follows.get_mut(&topic) {
                followed.told = None;
                self.line_up(&topic);
            } else if self.subscribed < MOST_RESOURCES {
                self.subscribed += 1;
                self.follows.insert(topic.clone(), Followed::default());
                change.joined.push(topic);
            }
        }
        change
    }

    /// A topic has a value of this version now.
    pub(super) fn changed(&mut self, topic: &Topic, version: Version) {
        if let Some(followed) = self.follows.get_mut(topic) {
            followed.newest = followed.newest.max(Some(version));
            self.line_up(topic);
        }
    }

    /// The topic whose newest value is to be sent next.
    pub(super) fn next(&self) -> Option<&Topic> {
        self.due.values().next()
    }

    /// The value of this version was sent.
    pub(super) fn sent(&mut self, topic: &Topic, version: Version) {
        if let Some(followed) = self.follows.get_mut(topic) {
            followed.told = followed.told.max(Some(version));
            if followed.told >= followed.newest {
                let place = followed.place.take();
                self.leave_line(place);
            }
        }
    }

    /// There is no value of a topic to be sent.
    pub(super) fn withdrawn(&mut self, topic: &Topic) {
        if let Some(followed) = self.follows.get_mut(topic) {
            followed.newest = None;
            let place = followed.place.take();
            self.leave_line(place);
        }
    }

    /// Everything that is followed.
    pub(super) fn follows(&self) -> impl Iterator<Item = &Topic> {
        self.follows.keys()
    }

    fn leave_line(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.due.remove(&place);
        }
    }

    fn line_up(&mut self, topic: &Topic) {
        let Some(followed) = self.follows.get_mut(topic) else {
            return;
        };
        if followed.place.is_some() || followed.newest <= followed.told {
            return;
        }
        self.turns += 1;
        let place = match topic {
            Topic::Bundle | Topic::Members(_) | Topic::Policy { .. } | Topic::Locality(_) => {
                Place::Own(self.turns)
            }
            Topic::Endpoints(_) | Topic::Address(_) => Place::Subscribed(self.turns),
        };
        followed.place = Some(place);
        self.due.insert(place, topic.clone());
    }
}

fn is_name(resource: &Resource) -> bool {
    match resource {
        Resource::Endpoints(of) => {
            of.destination.namespace.len() <= LONGEST_NAME && of.destination.name.len() <= LONGEST_NAME
        }
        Resource::Address(_) => true,
    }
}
