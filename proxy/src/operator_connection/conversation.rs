//! What a proxy tells the operator, and when. Pure.
//!
//! It is driven by what is the case, not by what happened: after any order of events, the operator has been told the
//! newest of everything, and nothing twice on one connection.

use smilax_core::workload_connection::{Ack, CertificateInfo, Hello, Outcome, ProxyMessage, Subject};
use smilax_core::{ObjectRef, Revision};

/// What is the case in a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Generation of the bundle in force.
    pub bundle: Option<u64>,
    /// The newest bundle, when it could not be used, and why.
    pub refused_bundle: Option<(u64, Refusal)>,
    /// Revision of the configuration in force.
    pub revision: Option<Revision>,
    /// The newest configuration, when it could not be used, and why.
    pub refused_revision: Option<(Revision, Refusal)>,
    /// The certificate in use.
    pub certificate: Option<CertificateInfo>,
    /// The objects that it enforces because it looked up addresses.
    pub learned: Vec<ObjectRef>,
}

/// Why something is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field; `.` for the whole.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// Something that happens to a conversation.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection was made.
    Connected,
    /// It is gone.
    Lost,
    /// This is the case now.
    Facts(Facts),
    /// The operator sent a bundle, and it has been decided about: this is the case now. It is always answered.
    BundleDecided(Facts),
    /// The same of a configuration.
    PolicyDecided(Facts),
}

/// A conversation over one connection after the other.
#[derive(Debug)]
pub struct Conversation {
    version: String,
    pod: String,
    node: Option<String>,
    facts: Facts,
    state: State,
}

#[derive(Debug)]
enum State {
    Apart,
    /// What the operator knows, told on this connection.
    Together(Box<Facts>),
}

impl Conversation {
    /// Before the first connection.
    pub fn new(version: &str, pod: &str) -> Self {
        Self {
            version: version.to_owned(),
            pod: pod.to_owned(),
            node: None,
            facts: Facts::default(),
            state: State::Apart,
        }
    }

    /// The same of a pod that knows which node it is on.
    #[must_use]
    pub fn on_node(mut self, node: Option<&str>) -> Self {
        self.node = node.map(str::to_owned);
        self
    }

    /// What to say now that this happened, in this order.
    pub fn step(&mut self, event: Event) -> Vec<ProxyMessage> {
        match event {
            Event::Lost => {
                self.state = State::Apart;
                return Vec::new();
            }
            Event::Connected => {
                let hello = ProxyMessage::Hello(Hello {
                    version: self.version.clone(),
                    pod: self.pod.clone(),
                    node: self.node.clone(),
                    bundle: self.facts.bundle,
                    revision: self.facts.revision,
                    certificate: self.facts.certificate.clone(),
                    learned: self.facts.learned.clone(),
                });
                let mut messages = vec![hello];
                messages.extend(self.refusals(&Facts::default()));
                self.state = State::Together(Box::new(self.facts.clone()));
                return messages;
            }
            Event::Facts(facts) => self.facts = facts,
            Event::BundleDecided(facts) => {
                self.facts = facts;
                if let State::Together(told) = &mut self.state {
                    told.bundle = None;
                    told.refused_bundle = None;
                }
            }
            Event::PolicyDecided(facts) => {
                self.facts = facts;
                if let State::Together(told) = &mut self.state {
                    told.revision = None;
                    told.refused_revision = None;
                }
            }
        }
        let State::Together(told) = &self.state else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        if let (Some(revision), true) = (self.facts.revision, self.facts.revision != told.revision) {
            messages.push(ack(Subject::Revision(revision), Outcome::Applied));
        }
        if let (Some(generation), true) = (self.facts.bundle, self.facts.bundle != told.bundle) {
            messages.push(ack(Subject::Bundle(generation), Outcome::Applied));
        }
        messages.extend(self.refusals(told));
        if let (Some(certificate), true) = (
            &self.facts.certificate,
            self.facts.certificate != told.certificate,
        ) {
            messages.push(ProxyMessage::Certificate(certificate.clone()));
        }
        if self.facts.learned != told.learned {
            messages.push(ProxyMessage::Learned(self.facts.learned.clone()));
        }
        self.state = State::Together(Box::new(self.facts.clone()));
        messages
    }

    fn refusals(&self, told: &Facts) -> Vec<ProxyMessage> {
        let mut messages = Vec::new();
        if let (Some((revision, refusal)), true) = (
            &self.facts.refused_revision,
            self.facts.refused_revision != told.refused_revision,
        ) {
            messages.push(ack(Subject::Revision(*revision), refusal.outcome()));
        }
        if let (Some((generation, refusal)), true) = (
            &self.facts.refused_bundle,
            self.facts.refused_bundle != told.refused_bundle,
        ) {
            messages.push(ack(Subject::Bundle(*generation), refusal.outcome()));
        }
        messages
    }
}

impl Refusal {
    fn outcome(&self) -> Outcome {
        Outcome::Rejected {
            path: self.path.clone(),
            reason: self.reason.clone(),
        }
    }
}

fn ack(subject: Subject, outcome: Outcome) -> ProxyMessage {
    ProxyMessage::Ack(Ack { subject, outcome })
}

#[cfg(test)]
mod tests;
