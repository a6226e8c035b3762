//! What is told of a topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use smilax_compiler::Callers;
use smilax_core::Revision;
use smilax_core::endpoints::Update;
use smilax_core::workload_connection::{self as wire, FrameError, Locality, OperatorMessage, Policy};

use super::frames::Frames;
use super::topic::Topic;
use crate::controller::state::Inner;
use crate::controller::stored::StoredPolicy;

/// A value of a topic, before it is encoded.
#[derive(Debug)]
pub(super) enum Value {
    /// There is none (yet); what was told before stands.
    Nothing,
    /// A message, newer than those before it.
    Message(OperatorMessage),
    /// The same, about what only these may call. Others are told addresses only.
    Update(Update, Callers),
    /// A configuration as it is stored, with its revision.
    Policy(StoredPolicy, Revision),
}

impl Value {
    /// The value of a topic that follows from what was seen.
    pub(super) fn of(topic: &Topic, inner: &mut Inner) -> Self {
        match topic {
            Topic::Bundle => Self::Nothing,
            Topic::Members(workload) => {
                let members = smilax_compiler::members(&mut inner.index, workload);
                Self::Message(OperatorMessage::Members(members))
            }
            // What somebody else may have written is not told.
            Topic::Policy { namespace, map } => inner
                .policy(namespace, map)
                .map_or(Self::Nothing, |(policy, revision)| {
                    Self::Policy(policy.clone(), revision)
                }),
            Topic::Endpoints(of) => Self::Update(
                Update::Endpoints {
                    of: of.clone(),
                    endpoints: smilax_compiler::endpoints(&inner.index, of),
                },
                smilax_compiler::callers_of_endpoints(&mut inner.index, of),
            ),
            Topic::Address(of) => Self::Update(
                Update::Address {
                    of: *of,
                    found: smilax_compiler::found(&mut inner.index, *of),
                },
                smilax_compiler::callers_of_address(&mut inner.index, *of),
            ),
            Topic::Locality(node) => inner.index.zone(node).map_or(Self::Nothing, |zone| {
                let zone = (&**zone).into();
                Self::Message(OperatorMessage::Locality(Locality { zone }))
            }),
        }
    }

    /// Its revision, when it is a configuration.
    pub(super) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Policy(_, revision) => Some(*revision),
            Self::Nothing | Self::Message(_) | Self::Update(..) => None,
        }
    }

    /// As frames; `None` when there is nothing to be sent.
    pub(super) fn encoded(self, topic: &Topic) -> Option<Frames> {
        match self {
            Self::Nothing => None,
            Self::Message(message) => encoded(&message, topic).map(Frames::alike),
            Self::Policy(policy, _) => {
                let message = OperatorMessage::Policy(told(&policy));
                encoded(&message, topic).map(Frames::alike)
            }
            Self::Update(update, callers) => {
                let addresses_only = match &callers {
                    Callers::All => None,
                    Callers::Only { .. } => Some(update.addresses_only()),
                };
                let all = encoded_update(update, topic)?;
                match addresses_only {
                    None => Some(Frames::alike(all)),
                    Some(update) => {
                        let addresses_only = encoded_update(update, topic)?;
                        Some(Frames::by_callers(all, addresses_only, callers))
                    }
                }
            }
        }
    }
}

fn encoded_update(update: Update, topic: &Topic) -> Option<Bytes> {
    encoded(&OperatorMessage::Update(update), topic)
}

fn encoded(message: &OperatorMessage, topic: &Topic) -> Option<Bytes> {
    match (wire::encode(message), topic) {
        (Ok(frame), _) => Some(frame),
        // Nothing is cut to fit: kube-proxy knows them all.
        (Err(FrameError::TooLarge(_)), Topic::Endpoints(of)) => {
            tracing::warn!(destination = %of.destination, port = of.port, "there are too many endpoints to be told; its virtual address is used");
            let update = Update::Endpoints {
                of: of.clone(),
                endpoints: None,
            };
            wire::encode(&OperatorMessage::Update(update)).ok()
        }
        (Err(error), _) => {
            tracing::error!(%error, ?topic, "proxies cannot be told something");
            None
        }
    }
}

/// In the form that the ConfigMap has.
fn told(policy: &StoredPolicy) -> Policy {
    match policy {
        StoredPolicy::Text(text) => Policy::Text(text.to_string()),
        StoredPolicy::Packed(bytes) => Policy::Packed(STANDARD.encode(bytes)),
    }
}
