//! Names that nothing has, and those that were probably meant.

use smilax_compiler::nearest;

/// A hint to the name most like this one, to follow an error; empty where none is alike.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// Says that a namespace has no object of this name, and which one was probably meant.
pub(crate) fn missing<'a>(
    kind: &str,
    name: &str,
    namespace: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let meant = did_you_mean(name, known);
    format!("there is no {kind} {name} in namespace {namespace}{meant}")
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
