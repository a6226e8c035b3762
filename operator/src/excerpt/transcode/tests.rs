use std::io::BufReader;

use proptest::prelude::*;

use super::Shape::*;
use super::*;

const EXCERPT: Excerpt = Excerpt {
    kind: "Pod",
    shape: Members(&[
        (
            "metadata",
            Members(&[("name", Name), ("resourceVersion", Name), ("labels", Whole)]),
        ),
        ("spec", Members(&[("host", Whole)])),
    ]),
    bytes: 2048,
};

fn told(answer: &str) -> io::Result<Vec<Value>> {
    told_in_parts(answer, 8 * 1024)
}

/// What is told of an answer that is read in parts of so many bytes.
fn told_in_parts(answer: &str, part: usize) -> io::Result<Vec<Value>> {
    let mut told = Vec::new();
    transcode(
        &EXCERPT,
        Answers::Collections,
        BufReader::with_capacity(part, answer.as_bytes()),
        &mut told,
    )?;
    let told = String::from_utf8_lossy(&told).into_owned();
    // Whoever reads events reads lines.
    Ok(told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_default())
        .collect())
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "7"}, "spec": {"host": true, "env": vec!["x"; 99]}})
}

fn excerpt_of(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "7"}, "spec": {"host": true}})
}

fn large(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "7", "labels": {"a": "x".repeat(4096)}}})
}

#[test]
fn s28_an_object_that_is_nested_without_end_hides_no_other() {
    for levels in [150, 100_000] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let nested = |kept: &str, skipped: &str| {
            format!(r#"{{"metadata":{{"name":"deep","labels":{{"a":{kept}}},"managedFields":{skipped}}}}}"#)
        };
        for object in [nested("1", &deep), nested(&deep, "1")] {
            let answer = format!(r#"{{"items":[{object},{}]}}"#, pod("b"));
            let told = told(&answer).unwrap();
            let items = told[0]["items"].as_array().unwrap();
            assert_eq!(items.last(), Some(&excerpt_of("b")), "{levels}");
        }
    }
}

#[test]
fn s28_a_list_is_one_of_excerpts_and_goes_on_as_before() {
    let list = |items: &[Value]| json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "c", "resourceVersion": "9"}, "items": items});
    let answer = list(&[pod("a"), large("b"), pod("c")]).to_string();
    assert_eq!(
        told(&answer).unwrap(),
        [list(&[excerpt_of("a"), excerpt_of("c")])]
    );
    assert_eq!(told(r#"{"items":null}"#).unwrap(), [json!({"items": []})]);
}

#[test]
fn s28_events_are_of_excerpts() {
    let answer =
        ["ADDED", "MODIFIED", "DELETED"].map(|kind| format!(r#"{{"type":"{kind}","object":{}}}"#, pod("a")));
    let expected =
        ["ADDED", "MODIFIED", "DELETED"].map(|kind| json!({"type": kind, "object": excerpt_of("a")}));
    assert_eq!(told(&answer.join("\n")).unwrap(), expected);
}

#[test]
fn s28_an_object_that_becomes_too_large_is_gone() {
    let answer = json!({"type": "MODIFIED", "object": large("a")});
    let answer = format!(r#"{{"type":"MODIFIED","object":{}}}"#, answer["object"]);
    let told = told(&answer).unwrap();
    assert_eq!(told[0]["type"], "DELETED");
    assert_eq!(told[0]["object"]["metadata"]["name"], "a");
    assert_eq!(told[0]["object"]["metadata"]["resourceVersion"], "7");
}

#[test]
fn what_an_api_server_says_beside_objects_is_told_whole() {
    let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
    let error =
        r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
    let told = told(&format!("{bookmark}\n{error}\n")).unwrap();
    assert_eq!(
        told,
        [bookmark, error].map(|one| serde_json::from_str::<Value>(one).unwrap())
    );
}

#[test]
fn what_is_cut_off_is_an_error_and_what_ends_is_none() {
    let answer = json!({"items": [pod("a")]}).to_string();
    for end in 1..answer.len() {
        let error = told(&answer[..end]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
    }
    assert_eq!(told("\n").unwrap(), [Value::Null; 0]);
    assert!(told("[]").is_err());
}

/// Says how much was told when more is asked for.
struct Waiting<'a>(&'a [u8], &'a std::cell::RefCell<Vec<u8>>);
impl io::Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            assert!(self.1.borrow().ends_with(b"}\n"));
        }
        self.0.read(buffer)
    }
}
struct Told<'a>(&'a std::cell::RefCell<Vec<u8>>);
impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_event_is_told_before_the_next_one_comes() {
    let event = format!(r#"{{"type":"ADDED","object":{}}}"#, pod("a"));
    let told = std::cell::RefCell::new(Vec::new());
    transcode(
        &EXCERPT,
        Answers::Collections,
        BufReader::new(Waiting(event.as_bytes(), &told)),
        Told(&told),
    )
    .unwrap();
}

#[test]
fn s45_an_answer_that_is_one_object_is_cut_down_however_deep_and_large_it_is() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = format!(
        r#"{{"metadata":{{"name":"a","resourceVersion":"7"}},"spec":{{"deep":{deep},"host":true}}}}"#
    );
    let mut told = Vec::new();
    transcode(&EXCERPT, Answers::Objects, answer.as_bytes(), &mut told).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), excerpt_of("a"));
}

proptest! {
    #[test]
    fn parts_in_which_an_answer_comes_make_no_difference(part in 1_usize..64, names in prop::collection::vec("\\PC{0,9}", 0..4)) {
        let items: Vec<_> = names.iter().map(|name| pod(name)).collect();
        let answer = json!({"metadata": {}, "items": items}).to_string();
        prop_assert_eq!(told_in_parts(&answer, part).unwrap(), told(&answer).unwrap());
    }
}
