use super::*;

fn run(script: &str, exit: i32) -> Action {
    Action::Run {
        script: script.to_owned(),
        exit,
    }
}

fn actions(page: &str) -> Vec<Action> {
    let steps = steps(page).unwrap_or_else(|complaints| panic!("{complaints:?}"));
    steps.into_iter().map(|step| step.action).collect()
}

#[track_caller]
fn complaint(page: &str) -> String {
    steps(page).unwrap_err()[0].to_string()
}

#[test]
fn every_block_of_commands_of_every_page_is_executed_or_says_why_it_is_not() {
    let mut complaints = Vec::new();
    let mut executed = 0;
    for (name, page) in all().unwrap() {
        match steps(&page) {
            Ok(steps) => executed += steps.len(),
            Err(found) => complaints.extend(found.iter().map(|one| format!("{name}, {one}"))),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(executed > 25, "only {executed} blocks are executed");
}

#[test]
fn commands_are_executed_in_the_order_of_the_page() {
    let page =
        "# Page\n\n```sh\nfirst\nsecond\n```\n\n```console\n$ third \\\n  --flag\nanswer\n$ fourth\n```\n";
    assert_eq!(
        actions(page),
        [run("\nfirst\nsecond", 0), run("\nthird \\\n  --flag\nfourth", 0)]
    );
}

#[test]
fn answers_alone_are_nothing_to_execute() {
    assert_eq!(actions("```console\nNAME  AGE\nweb   1s\n```\n"), []);
}

#[test]
fn notes_are_about_the_block_that_follows() {
    let page = "<!-- before:\nprepare\n-->\n<!-- exits with 1 -->\n\n```sh\nask\n```\n\n```sh\nagain\n```\n";
    assert_eq!(actions(page), [run("prepare\nask", 1), run("\nagain", 0)]);
    let page = "<!-- exits with 1 -->\nText between them.\n```sh\nask\n```\n";
    assert_eq!(actions(page), [run("\nask", 0)]);
}

#[test]
fn objects_are_applied_where_the_page_says_so() {
    let page = "<!-- apply -->\n```yaml\nkind: A\n```\n```yaml\nkind: B\n```\n";
    assert_eq!(actions(page), [Action::Apply("kind: A".to_owned())]);
}

#[test]
fn an_excuse_needs_a_reason_and_a_command() {
    let excused = "<!-- not executed: it needs a registry in a cloud -->\n```sh\npush\n```\n";
    assert_eq!(actions(excused), []);
    assert!(complaint(&excused.replace("it needs a registry in a cloud", "no")).contains("too little"));
    assert!(complaint(&excused.replace("```sh", "```text")).contains("needs no excuse"));
}

#[test]
fn a_block_without_a_language_and_a_note_with_a_typo_are_found() {
    assert!(complaint("```\nkubectl get pods\n```\n").starts_with("line 1: it is of the language \"\""));
    assert!(complaint("<!-- befor: x -->\n```sh\nask\n```\n").contains("befor"));
}
