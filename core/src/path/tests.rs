use super::*;
use proptest::prelude::*;

#[test]
fn plain_paths_are_clear() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a/b.html",
        "/.well-known/x",
        "/..a",
        "/a..",
        "/%41",
        "/a;v=1",
        "/caf%C3%A9",
        "/issue%2342",
        "/a;v=1/b",
        "/a;jsessionid=1/",
        "/;jsessionid=1",
        "/a/;jsessionid=1",
        "/a;..",
        "/a;/.b",
        "/a%3b..",
        "/...",
        "/.../a",
        "/100%25",
        "/a%252eb",
        "/a%2541",
        "/a%2523",
        "/caf%E9",
        "/%C0%20la%20carte",
        "/%E0",
        "/\u{30d5}\u{ff0e}txt",
        "/a\u{ff0f}b",
        "/\u{20ac}/a",
        "*",
    ] {
        assert_eq!(check(path), Ok(()), "{path}");
    }
}

#[test]
fn paths_that_two_readers_could_read_differently_are_named() {
    use Ambiguity::{
        Backslash, BrokenEncoding, DotSegment, EmptySegment, EncodedAgain, EncodedSlash, Fragment, Nul,
        Overlong,
    };
    for (path, ambiguity) in [
        ("/a/../b", DotSegment),
        ("/./a", DotSegment),
        ("/a/..", DotSegment),
        ("/a/%2e%2E/b", DotSegment),
        ("/a/.%2e", DotSegment),
        ("//a", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%2Fb", EncodedSlash),
        ("/a%00", Nul),
        ("/a#b", Fragment),
        ("/a%2", BrokenEncoding),
        ("/a%zz", BrokenEncoding),
        ("/%u002e%u002e/a", BrokenEncoding),
        // Encoded more than once.
        ("/%252e%252e/a", DotSegment),
        ("/%25252e./a", DotSegment),
        ("/%25%32e%2e/a", DotSegment),
        ("/a%252fb", EncodedSlash),
        ("/a%255cb", Backslash),
        ("/a%2500", Nul),
        ("/..%253b/a", DotSegment),
        ("/a%25252525252525", EncodedAgain),
        // Longer than UTF-8 allows, also to decoders that do not look at what follows.
        ("/%c0%ae%c0%ae/a", Overlong),
        ("/%c0%2e%c0%2e/a", Overlong),
        ("/a%c0%afb", Overlong),
        ("/a%c1%9cb", Overlong),
        ("/a%c0%80", Overlong),
        ("/a%e0%80%afb", Overlong),
        ("/a%e0%40%afb", Overlong),
        ("/a%f0%80%80%ae", Overlong),
        ("/a%f8%80%80%80%ae", Overlong),
        ("/a%fc%80%80%80%80%ae", Overlong),
        ("/%25c0%25ae", Overlong),
        // What resembles a dot or a slash.
        ("/%ef%bc%8e%ef%bc%8e/a", DotSegment),
        ("/\u{ff0e}./a", DotSegment),
        ("/\u{2025}/a", DotSegment),
        ("/..\u{ff0f}a", DotSegment),
        ("/a\u{ff3c}..", DotSegment),
        ("/..\u{ff1b}/a", DotSegment),
        // Blanks that file systems leave out.
        ("/..%20/a", DotSegment),
        ("/..%09/a", DotSegment),
    ] {
        assert_eq!(check(path), Err(ambiguity), "{path}");
    }
}

#[test]
fn s9_a_segment_of_dots_and_parameters_is_a_dot_segment() {
    for dots in [".", "..", "%2e", ".%2E", "%2e%2e"] {
        for mark in [";", "%3b", "%3B", "%253b", ";a=b", ";;", ";.."] {
            for rest in ["", "/", "/admin"] {
                let path = format!("/pub/{dots}{mark}{rest}");
                assert_eq!(check(&path), Err(Ambiguity::DotSegment), "{path}");
            }
        }
    }
}

#[test]
fn s9_a_segment_of_parameters_alone_is_empty_where_another_follows() {
    for path in ["/;/admin", "/pub/;a=b/admin", "/pub/;../admin", "/pub/%3b/admin"] {
        assert_eq!(check(path), Err(Ambiguity::EmptySegment), "{path}");
    }
}

#[test]
fn s9_what_resembles_a_slash_gives_parameters_no_name() {
    for path in ["/;\u{ff3c}a/admin", "/;\u{ff0f}a/admin", "/pub/;%ef%bc%bca/admin"] {
        assert_eq!(check(path), Err(Ambiguity::EmptySegment), "{path}");
    }
    assert_eq!(check("/pub/a;\u{ff3c}a/admin"), Ok(()));
}

#[test]
fn encoded_unreserved_characters_are_decoded_for_matching() {
    assert_eq!(normalize("/%61dmin/%7Euser"), "/admin/~user");
    assert_eq!(normalize("/caf%C3%A9%20x"), "/caf%C3%A9%20x");
}

/// The segments of a path as the most permissive server resolves them.
fn resolved(path: &str) -> Vec<Vec<u8>> {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded = symbol::decode(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes)
        .replace(['\\', '\u{ff3c}', '\u{ff0f}'], "/")
        .replace('\u{ff0e}', ".")
        .replace('\u{ff1b}', ";");
    let mut out = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default().trim_end() {
            "" | "." => {}
            ".." => drop(out.pop()),
            name => out.push(name.as_bytes().to_vec()),
        }
    }
    out
}

/// The same as a server resolves them that only takes segments as they are.
fn plain(path: &str) -> Vec<Vec<u8>> {
    let path = path
        .replace(['\u{ff3c}', '\u{ff0f}'], "/")
        .replace('\u{ff0e}', ".")
        .replace('\u{ff1b}', ";");
    path.split('/')
        .map(|segment| {
            let mut name = segment.as_bytes().to_vec();
            loop {
                let decoded = symbol::decode(&name);
                if decoded == name {
                    break;
                }
                name = decoded;
            }
            let text = String::from_utf8_lossy(&name).into_owned();
            let name = text.split(';').next().unwrap_or_default();
            name.trim_end().replace('\u{ff0e}', ".").as_bytes().to_vec()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

proptest! {
    #[test]
    fn s9_a_clear_path_is_the_same_resource_to_every_reader(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "/", "/", "/", ".", "..", ";", "a", "%2e", "%252e", "%25", "%32", "2e", "2f", "%3b", "%253b", "%2f",
                "%5c", "\\", "\u{ff0e}", "\u{ff0f}", "\u{ff1b}", "%20", "%00", "%c0%ae",
            ]),
            0..12,
        )
    ) {
        let path = format!("/{}", pieces.concat());
        if check(&path).is_ok() {
            prop_assert_eq!(resolved(&path), plain(&path), "{}", path);
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing_more_unless_it_was_encoded_twice(path in "/[a-z./]{0,20}") {
        prop_assert_eq!(normalize(&path), path.as_str());
    }

    #[test]
    fn no_text_makes_it_panic(path in "\\PC*") {
        let _ = check(&path);
        let _ = normalize(&path);
    }
}
