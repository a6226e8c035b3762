//! What the fuzzer began with and what it found, in every run of the tests.

#[path = "../../../fuzz/checks/proxy.rs"]
mod checks;
#[path = "../../../fuzz/checks/corpus.rs"]
mod files;
#[path = "../../../fuzz/checks/traffic.rs"]
mod traffic;

#[test]
fn what_first_bytes_say_is_not_taken_back() {
    files::run("first_bytes", checks::first_bytes);
}

#[test]
fn bytes_in_the_place_of_a_certificate_are_taken_or_refused() {
    files::run("certificate", checks::certificate);
}

#[test]
fn a_client_hello_is_known_by_its_own_bytes() {
    files::run("hello", checks::hello);
}

#[test]
fn what_a_whole_proxy_sends_on_is_clear_to_a_strict_reader() {
    files::run("traffic", traffic::traffic);
}
