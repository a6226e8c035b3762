//! Why a configuration is refused.

use smilax_core::Revision;
use smilax_core::signature::SignatureError;

use crate::operator_connection::conversation::Refusal;

/// Characters of a path or reason that the operator is told at most.
pub(super) const MOST_TOLD: usize = 2000;

/// Why a configuration is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Not a configuration.
    #[error("{path}: {reason}")]
    Malformed {
        /// Path of the field.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// It asks for what this version lacks.
    #[error("{0}")]
    MissingFeature(String),
    /// A field cannot be honoured.
    #[error("{path}: {reason}")]
    Unusable {
        /// Path of the field.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The authority of the mesh did not sign it, and so somebody else may have written it.
    #[error("the operator did not write it: {0}")]
    Tampered(SignatureError),
    /// It is older than the one in force.
    #[error(
        "revision {found} is older than {applied}, which is in force; old content comes back under a new revision"
    )]
    Stale {
        /// Of what was read.
        found: Revision,
        /// Of what is in force.
        applied: Revision,
    },
    /// The trust bundle beside it is older than one that was mounted before.
    #[error("trust bundle {found} is older than {mounted}, which was mounted before")]
    StaleBundle {
        /// Generation of what was read.
        found: u64,
        /// Generation of what was mounted before.
        mounted: u64,
    },
}

impl Rejection {
    /// Every [`Self::reason`].
    pub const REASONS: [&'static str; 6] = [
        "unreadable",
        "malformed",
        "missing_feature",
        "unusable",
        "stale",
        "tampered",
    ];

    /// One word of few, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Malformed { .. } => "malformed",
            Self::MissingFeature(_) => "missing_feature",
            Self::Unusable { .. } => "unusable",
            Self::Stale { .. } | Self::StaleBundle { .. } => "stale",
            Self::Tampered(_) => "tampered",
        }
    }

    /// The same for the operator; nothing where nobody waits for it.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let told = self.to_string();
        let (path, reason) = match self {
            Self::Tampered(_) => (".", &told),
            Self::Malformed { path, reason } | Self::Unusable { path, reason } => (path.as_str(), reason),
            Self::MissingFeature(reason) => ("requires", reason),
            // Nobody waits for what is older than what is in force, and what cannot be read has no number.
            Self::Unreadable(_) | Self::Stale { .. } | Self::StaleBundle { .. } => return None,
        };
        Some(Refusal {
            path: shortened(path),
            reason: shortened(reason),
        })
    }
}

/// The beginning of what may quote a configuration: the operator takes no long messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
