use std::cell::Cell;

use smilax_compiler::index::Settings;
use smilax_compiler::model::{Namespace, RouteGroup};
use tokio::time::Instant;

use super::*;
use crate::controller::change::Sequence;
use crate::controller::measuring::Known;
use crate::controller::report::PodCounts;
use crate::controller::state::State;

fn compiling() -> Compiling {
    Compiling {
        sequence: Sequence::new(1, smilax_core::Revision::default()),
        pods: PodCounts::default(),
        last: None,
    }
}

/// Namespaces of one pass that has time for so many.
fn pass(inner: &mut Inner, compiling: &mut Compiling, most: usize) -> (Vec<String>, bool) {
    let looked = Cell::new(0);
    let enough = || {
        looked.set(looked.get() + 1);
        looked.get() >= most
    };
    let batch = batch_of(inner, compiling, &mut Statuses::new(Instant::now()), enough);
    let names = batch.findings.iter().map(|(name, _)| name.to_string()).collect();
    (names, batch.more)
}

fn exists(inner: &mut Inner, name: &str) {
    let namespace = Namespace {
        name: name.into(),
        ..Namespace::default()
    };
    inner.index.set_namespace(name, Some(namespace));
}

#[tokio::test]
async fn s1_namespaces_take_turns_when_there_is_more_than_one_pass_has_time_for() {
    let state = State::new(Settings::default());
    state.read(|inner| {
        for name in ["a", "b", "c"] {
            exists(inner, name);
        }
        let mut compiling = compiling();
        assert_eq!(pass(inner, &mut compiling, 1), (vec!["a".to_owned()], true));
        // It changes again and again, and does not come before the others.
        inner.index.mark("a");
        assert_eq!(
            pass(inner, &mut compiling, 2),
            (vec!["b".to_owned(), "c".to_owned()], true)
        );
        assert_eq!(pass(inner, &mut compiling, 9), (vec!["a".to_owned()], false));
    });
}

#[tokio::test]
async fn s1_a_namespace_is_compiled_when_the_groups_of_its_first_list_are_measured() {
    let state = State::new(Settings::default());
    state.read(|inner| {
        for name in ["a", "b"] {
            exists(inner, name);
        }
        let (namespace, group) = ("a".into(), "g".into());
        inner
            .measuring
            .add(&namespace, &group, RouteGroup::default(), Known::Nothing);
        let mut compiling = compiling();
        assert_eq!(pass(inner, &mut compiling, 9), (vec!["b".to_owned()], false));
        inner.measuring.take();
        inner.measuring.finish();
        assert_eq!(pass(inner, &mut compiling, 9), (vec!["a".to_owned()], false));
    });
}
