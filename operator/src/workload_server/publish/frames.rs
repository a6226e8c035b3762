//! A value as it is told: all of it to who may call what it is about, and addresses only to others.

use bytes::Bytes;
use smilax_compiler::Callers;
use smilax_core::Workload;

/// What is told of a topic, encoded once for all who follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    all: Bytes,
    addresses_only: Bytes,
    callers: Callers,
}

impl Frames {
    /// The same for everybody.
    pub(super) fn alike(frame: Bytes) -> Self {
        Self {
            addresses_only: frame.clone(),
            all: frame,
            callers: Callers::All,
        }
    }

    /// `all` for these callers, and `addresses_only` for others.
    pub(super) fn by_callers(all: Bytes, addresses_only: Bytes, callers: Callers) -> Self {
        Self {
            all,
            addresses_only,
            callers,
        }
    }

    /// What a workload is told.
    pub(super) fn of(&self, workload: &Workload) -> &Bytes {
        if self.callers.contains(workload) {
            &self.all
        } else {
            &self.addresses_only
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Workload {
        Workload::new("shop", "web")
    }

    #[test]
    fn s12_who_may_call_is_told_all_and_others_addresses() {
        let frames = Frames::by_callers(
            Bytes::from_static(b"all"),
            Bytes::from_static(b"addresses"),
            Callers::Only {
                workloads: [web()].into(),
                namespaces: ["bank".into()].into(),
            },
        );
        assert_eq!(frames.of(&web()), "all");
        assert_eq!(frames.of(&Workload::new("bank", "any")), "all");
        assert_eq!(frames.of(&Workload::new("shop", "other")), "addresses");
    }
}
