use super::*;

fn is_match(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).unwrap().is_match(text.as_bytes())
}

#[test]
fn expressions_are_bounded_in_length_size_and_nesting() {
    assert!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES)).is_ok());
    assert_eq!(
        Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1)).unwrap_err(),
        PatternError::TooLong(MAX_PATTERN_BYTES + 1)
    );
    assert_eq!(
        Pattern::new("(?:(?:a{1000}){1000}){1000}").unwrap_err(),
        PatternError::TooLarge
    );
    assert!(Pattern::new(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_err());
    // Larger than its text by far, and well within what is allowed.
    assert!(Pattern::new("[a-z]{200}").is_ok());
}

#[test]
fn classes_mean_ascii_as_in_re2() {
    for (pattern, yes, no) in [
        (r"^\w+$", "az_09", "é"),
        (r"^\d+$", "09", "٣"),
        (r"^\s$", " ", "\u{a0}"),
        (r"^(?i)k$", "K", "\u{212a}"),
        ("^[[:alpha:]]$", "x", "ä"),
    ] {
        assert!(is_match(pattern, yes), "{pattern} {yes}");
        assert!(!is_match(pattern, no), "{pattern} {no}");
    }
    assert!(is_match(r"\bweb\b", "a web b"));
    assert!(!is_match(r"\bweb\b", "cobweb"));
}

#[test]
fn letters_outside_ascii_stand_for_their_bytes() {
    assert!(is_match("^café$", "café"));
    assert!(!is_match("^caf.$", "café"), "two bytes");
    assert!(is_match("^caf.+$", "café"));
    assert!(Pattern::new("^.$").unwrap().is_match(b"\xff"), "no UTF-8");
}

#[test]
fn s1_what_asks_for_unicode_is_refused_and_told_what_to_write() {
    for (pattern, part) in [
        (r"^\p{L}+$", r"\p{L}"),
        (r"^\pL$", r"\pL"),
        (r"^[a\p{Greek}]$", r"\p{Greek}"),
        ("(?u)a", "u"),
        ("(?iu:a)", "iu"),
        ("^[é]$", "é"),
    ] {
        match Pattern::new(pattern) {
            Err(PatternError::Unicode(found)) => assert_eq!(found, part, "{pattern}"),
            other => panic!("{pattern}: {other:?}"),
        }
    }
    // To turn it off is what holds anyway.
    assert!(is_match("(?-u)a", "a"));
}

#[test]
fn anchors_hold_where_they_stand() {
    assert!(is_match("^(?:/api)", "/api/x"));
    assert!(!is_match("^(?:/api)$", "/api/x"));
    assert!(!is_match("^(?:/api)", "/x/api"));
    assert!(is_match("api", "/x/api"));
    assert!(is_match("", ""));
}

#[test]
fn what_is_too_large_for_a_table_is_simulated_and_means_the_same() {
    let pattern = Pattern::new("(?:a|b)*a(?:a|b){40}").unwrap();
    assert!(matches!(pattern.engine, Engine::Simulated(_)));
    assert!(pattern.is_match(format!("a{}", "b".repeat(40)).as_bytes()));
    assert!(!pattern.is_match("b".repeat(60).as_bytes()));
}

#[test]
fn s1_what_was_285_kib_is_four() {
    let size = Pattern::new(r"^(?:\w{5})$").unwrap().size();
    assert!(size < 4 * 1024, "{size}");
}

#[test]
fn s1_usual_expressions_count_for_little() {
    for pattern in [
        "^(?:/api/v[0-9]+/.*)$",
        "^(?:/pub/.*)",
        "^(?:/[^/]+/[^/]+/items/[0-9]+)$",
        "^(?:Mozilla/.*(Firefox|Chrome)/[0-9]+.*)$",
        "^(?:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        "^(?:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$",
        r"^(?:Bearer [\w-]+\.[\w-]+\.[\w-]+)$",
    ] {
        let size = Pattern::new(pattern).unwrap().size();
        println!("{size:6} {pattern}");
        assert!(size < 16 * 1024, "{pattern} {size}");
    }
}
