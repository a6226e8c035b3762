use super::*;

fn config(counter: u64) -> Vec<u8> {
    format!(r#"{{"revision":"1.{counter}","workload":{{"namespace":"shop","account":"web"}}}}"#).into_bytes()
}

fn outcome(source: &mut Source, content: &[u8]) -> &'static str {
    outcome_from(Origin::Mount, source, content)
}

fn outcome_from(origin: Origin, source: &mut Source, content: &[u8]) -> &'static str {
    match source.consider(Ok(content.to_vec()), origin, 7) {
        Step::Unchanged => "unchanged",
        Step::Apply(_) => "apply",
        Step::Reject(_) => "reject",
        Step::RejectAgain => "reject again",
        Step::Older => "older",
    }
}

#[test]
fn the_same_content_is_applied_once() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(2)), "apply");
    assert_eq!(outcome(&mut source, &config(2)), "unchanged");
    assert_eq!(source.status().revision, Some(Revision { term: 1, counter: 2 }));
}

#[test]
fn a_rejection_is_told_once_for_each_content() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, b"x"), "reject");
    assert_eq!(outcome(&mut source, b"x"), "reject again");
    assert_eq!(outcome(&mut source, b"y"), "reject");
}

#[test]
fn an_older_revision_is_refused_and_other_content_of_the_same_one_is_not() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(5)), "apply");
    assert_eq!(outcome(&mut source, &config(4)), "reject");
    assert_eq!(source.status().rejection.unwrap().reason, "stale");
    let mut other = config(5);
    other.push(b' ');
    assert_eq!(outcome(&mut source, &other), "apply");
}

#[test]
fn a_file_that_is_gone_leaves_the_configuration_in_force() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(5)), "apply");
    let gone = || Err("policy.json: not found".to_owned());
    assert!(matches!(
        source.consider(gone(), Origin::Mount, 8),
        Step::Reject(Rejection::Unreadable(_))
    ));
    assert!(matches!(
        source.consider(gone(), Origin::Mount, 9),
        Step::RejectAgain
    ));
    assert_eq!(source.applied().unwrap().at, 7);
}

#[test]
fn a_rejection_is_forgotten_when_the_good_content_is_back() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(5)), "apply");
    assert_eq!(outcome(&mut source, b"x"), "reject");
    assert_eq!(outcome(&mut source, &config(5)), "unchanged");
    assert!(source.status().rejection.is_none());
}

#[test]
fn the_mount_may_be_behind_the_stream_and_never_leads_back() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(4)), "apply");
    assert_eq!(outcome_from(Origin::Stream, &mut source, &config(6)), "apply");
    assert_eq!(outcome(&mut source, &config(4)), "older");
    assert_eq!(outcome(&mut source, &config(5)), "older");
    assert!(source.status().rejection.is_none());
    assert_eq!(source.status().revision.unwrap().counter, 6);
}

#[test]
fn once_the_mount_has_caught_up_it_must_not_go_back_either() {
    let mut source = Source::default();
    assert_eq!(outcome_from(Origin::Stream, &mut source, &config(6)), "apply");
    assert_eq!(outcome(&mut source, &config(6)), "unchanged");
    assert_eq!(outcome(&mut source, &config(5)), "reject");
}

#[test]
fn an_operator_that_is_behind_the_mount_is_not_minded() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(6)), "apply");
    assert_eq!(outcome_from(Origin::Stream, &mut source, &config(5)), "older");
    assert!(source.refusal().is_none());
}

#[test]
fn what_the_stream_brought_stays_refused_while_the_mount_holds_what_is_in_force() {
    let mut source = Source::default();
    assert_eq!(outcome(&mut source, &config(6)), "apply");
    let bad =
        br#"{"revision":"1.7","workload":{"namespace":"shop","account":"web"},"requires":["teleport"]}"#;
    assert_eq!(outcome_from(Origin::Stream, &mut source, bad), "reject");
    assert_eq!(outcome(&mut source, &config(6)), "unchanged");
    let (revision, refusal) = source.refusal().unwrap();
    assert_eq!((revision.counter, refusal.path.as_str()), (7, "requires"));
    assert_eq!(outcome(&mut source, bad), "reject again");
    assert_eq!(outcome(&mut source, &config(8)), "apply");
    assert!(source.refusal().is_none());
}

#[test]
fn what_is_refused_has_its_number_also_when_it_was_packed() {
    let padding = "x".repeat(packed::MOST_STORED);
    let bad = format!(
        r#"{{"revision":"1.7","workload":{{"namespace":"shop","account":"web"}},"requires":["{padding}"]}}"#
    );
    let Ok(packed::Form::Packed(bad)) = packed::form(&bad) else {
        panic!("it is long")
    };
    let mut source = Source::default();
    assert_eq!(outcome_from(Origin::Stream, &mut source, &bad), "reject");
    let (revision, refusal) = source.refusal().unwrap();
    assert_eq!(revision.counter, 7);
    assert!(
        refusal.reason.chars().count() <= rejection::MOST_TOLD + 1,
        "messages are short"
    );
}

#[test]
fn what_is_saved_is_read_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    save(directory.path(), b"first, and longer").unwrap();
    save(directory.path(), b"second").unwrap();
    assert_eq!(read(&last_good(directory.path())).unwrap(), b"second");
    assert!(read(&directory.path().join("none")).unwrap_err().contains("none"));
}
