//! What somebody probably meant.

/// The word nearest to another, when one is near enough to be worth proposing: a letter in three may be wrong, one at least.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.len() / 3).max(1);
    known
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_word_and_nonsense_finds_none() {
        let known = ["log-level", "drain-seconds"];
        assert_eq!(nearest("log-levle", known.into_iter()), Some("log-level"));
        assert_eq!(nearest("drain-second", known.into_iter()), Some("drain-seconds"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }

    #[test]
    fn short_words_are_not_taken_for_any_other_short_word() {
        let known = ["web", "api"];
        assert_eq!(nearest("wbe", known.into_iter()), Some("web"));
        assert_eq!(nearest("db", known.into_iter()), None);
    }
}
