//! What the fuzzer began with and what it found, in every run of the tests.

#[path = "../../fuzz/checks/core.rs"]
mod checks;
#[path = "../../fuzz/checks/corpus.rs"]
mod corpus;

#[test]
fn configurations_are_read_and_written_alike() {
    corpus::run("config", checks::config);
}

#[test]
fn frames_are_read_alike_however_they_are_cut() {
    corpus::run("frames", checks::frames);
}

#[test]
fn clear_paths_cannot_be_read_in_two_ways() {
    corpus::run("path", checks::path);
}

#[test]
fn hosts_name_what_their_full_names_name() {
    corpus::run("host", checks::host);
}

#[test]
fn ids_print_as_they_were_written() {
    corpus::run("identity", checks::identity);
}

#[test]
fn what_unpacks_was_packed() {
    corpus::run("packed", checks::packed);
}

#[test]
fn what_a_signature_proves_it_proves_for_one_workload() {
    corpus::run("signature", checks::signature);
}
