//! What the dearest group that is accepted costs. The figures are printed; the bounds are of the counted size, which does
//! not depend on the machine: `cargo test -p smilax-core --test pattern_cost -- --nocapture`.

use std::time::Instant;

use smilax_core::pattern::{Compiled, MOST_OF_GROUP, NotTaken, Patterns};

/// Expressions of one kind, each another.
struct Kind {
    name: &'static str,
    nth: fn(usize) -> String,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "few letters",
        nth: |n| format!("^(?:{n:04x})$"),
    },
    Kind {
        name: "a class five times",
        nth: |n| format!(r"^(?:{n:04x}\w{{5}})$"),
    },
    Kind {
        name: "long text",
        nth: |n| {
            format!(
                "^(?:{n:04x}{})$",
                "abcdefghijklmnopqrstuvwxyz0123456789".repeat(27)
            )
        },
    },
    Kind {
        name: "many classes",
        nth: |n| format!("^(?:{n:04x}{})$", "[a-q][b-z]".repeat(100)),
    },
    Kind {
        name: "many alternatives",
        nth: |n| {
            format!(
                "^(?:{n:04x}(?:{}))$",
                (0..150).map(|i| format!("a{i:03}")).collect::<Vec<_>>().join("|")
            )
        },
    },
    Kind {
        name: "exponential as a table",
        nth: |n| format!("^(?:{n:04x}.*(?:a|b).{{40}})$"),
    },
    Kind {
        name: "exponential, many classes",
        nth: |n| format!("^(?:{n:04x}.*[a-q][b-z].{{100}}(?:{}))$", "[c-x]".repeat(60)),
    },
    Kind {
        name: "too large",
        nth: |n| format!("^(?:{n:04x}(?:(?:a{{90}}){{90}}){{90}})$"),
    },
];

#[test]
fn s1_the_dearest_group_holds_less_than_two_mebibytes() {
    for kind in KINDS {
        let mut compiled = Compiled::default();
        let mut patterns = Patterns::within(MOST_OF_GROUP, &mut compiled);
        let mut held = Vec::new();
        let mut tried = 0;
        let begin = Instant::now();
        let resident = resident();
        loop {
            match patterns.get(&(kind.nth)(tried)) {
                Ok(pattern) => held.push(pattern),
                Err(NotTaken::Pattern(_)) => {}
                Err(NotTaken::Budget(_)) => break,
            }
            tried += 1;
        }
        let took = begin.elapsed();
        // Searches hold nothing that grows.
        for pattern in &held {
            for text in ["a".repeat(4096), "ab".repeat(4096)] {
                pattern.is_match(text.as_bytes());
            }
        }
        let grown = self::resident().saturating_sub(resident);
        let counted: usize = held.iter().map(|pattern| pattern.size()).sum();
        println!(
            "{:28} {tried:4} tried, {:4} held, {:4} KiB counted, {grown:5} KiB resident, {took:?}",
            kind.name,
            held.len(),
            counted / 1024
        );
        assert!(counted <= MOST_OF_GROUP, "{}", kind.name);
        assert!(grown < 2048 + 1024, "{}: {grown} KiB", kind.name);
    }
}

/// Memory of this process, in KiB.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse::<usize>().ok());
    pages.unwrap_or_default() * 4
}
