//! What the program says of itself, without a cluster.

use crate::support::{outcome, program};

#[test]
fn the_script_for_a_shell_asks_the_program() {
    for shell in ["bash", "zsh", "fish"] {
        let script = outcome(program().args(["completion", shell])).out;
        assert!(
            script.contains(&format!("COMPLETE=\"{shell}\""))
                || script.contains(&format!("COMPLETE={shell}")),
            "{script}"
        );
    }
}

#[test]
fn a_mistyped_verb_is_answered_with_the_one_that_was_meant() {
    let run = outcome(program().arg("explian"));
    assert_eq!(run.code, Some(2));
    let error = run.error;
    assert!(error.contains("'explain'"), "{error}");
}

#[test]
fn no_verb_shows_the_verbs_in_groups() {
    let run = outcome(&mut program());
    assert_eq!(run.code, Some(0));
    let text = run.out;
    assert!(text.contains("See what is in force:\n  check"), "{text}");
    assert!(text.contains("Exit codes:"), "{text}");
}
