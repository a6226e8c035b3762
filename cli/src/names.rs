//! Names that nothing has, and those that were probably meant.

use smilax_compiler::nearest;

/// A hint to the name most like this one, to follow an error; empty where none is alike.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_answered_with_the_one_most_like_it() {
        let known = ["web", "web-canary", "checkout"];
        let hint = |name| did_you_mean(name, known.into_iter());
        assert_eq!(hint("web-canry"), "; did you mean web-canary?");
        assert_eq!(hint("chekout"), "; did you mean checkout?");
        assert_eq!(hint("billing"), "");
    }
}
