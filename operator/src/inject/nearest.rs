//! What somebody probably meant.

/// The word nearest to another, when one is near enough to be worth proposing.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.len() / 3).max(2);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many letters must be added, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (candidate, &above) in other.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*candidate != letter);
            diagonal = above;
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        for (one, other, expected) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("a", "a", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_typing_error_finds_the_word_and_nonsense_finds_none() {
        let known = ["log-level", "drain-seconds"];
        assert_eq!(nearest("log-levle", known.into_iter()), Some("log-level"));
        assert_eq!(nearest("drain-second", known.into_iter()), Some("drain-seconds"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
