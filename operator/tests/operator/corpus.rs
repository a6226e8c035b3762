//! What the fuzzer began with and what it found, in every run of the tests.

#[path = "../../../fuzz/checks/operator.rs"]
mod checks;
#[path = "../../../fuzz/checks/corpus.rs"]
mod files;

#[test]
fn objects_of_any_form_are_judged_converted_and_injected_or_refused() {
    files::run("admission", checks::admission);
}
