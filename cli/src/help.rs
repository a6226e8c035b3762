//! The help of the program: its verbs in groups, and what its exit codes mean.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::args::Args;

/// Variable that asks the program itself for completions.
pub(crate) const COMPLETE: &str = "COMPLETE";
const PROGRAM: &str = "smilax";

/// Verbs by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    ("See what a change does, before you apply it", &["plan", "authz"]),
    (
        "See what is in force",
        &[
            "check",
            "explain",
            "namespaces",
            "why-inject",
            "proxy-status",
            "proxy-config",
        ],
    ),
    ("Operate the mesh", &["log-level", "ca"]),
    ("Other commands", &["completion", "version", "help"]),
];

/// Examples for the help of a verb, one a line.
const EXAMPLES: [(&str, &[&str]); 9] = [
    (
        "plan",
        &[
            "smilax plan -f canary.yaml -n shop",
            "smilax plan -f mesh.yaml --against before.yaml",
        ],
    ),
    (
        "authz",
        &[
            "smilax authz --from shop/frontend --to shop/web:80",
            "smilax authz --from shop/frontend --to shop/web --method GET --path /products",
        ],
    ),
    ("check", &["smilax check --pre", "smilax check --wait 60"]),
    (
        "explain",
        &[
            "smilax explain trafficsplit/web -n shop",
            "smilax explain tt/readers -o yaml",
        ],
    ),
    (
        "why-inject",
        &[
            "smilax why-inject deploy/web -n shop",
            "smilax why-inject ns/shop",
            "smilax why-inject -A",
        ],
    ),
    (
        "namespaces",
        &["smilax namespaces", "smilax namespaces shop -o yaml"],
    ),
    (
        "proxy-status",
        &[
            "smilax proxy-status -n shop",
            "smilax proxy-status --state stale --state rejected",
        ],
    ),
    (
        "proxy-config",
        &[
            "smilax proxy-config deploy/web -n shop",
            "smilax proxy-config shop/web-1 routes",
        ],
    ),
    (
        "log-level",
        &[
            "smilax log-level -n shop",
            "smilax log-level deploy/web debug -n shop",
            "smilax log-level shop/web-1 info,smilax_proxy=trace",
        ],
    ),
];

/// The program as clap knows it.
pub(crate) fn command() -> clap::Command {
    let mut command = Args::command();
    // Its own verb `help` is there only once it is built.
    command.build();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}Options:\n{{options}}{{after-help}}",
        verbs(&command)
    );
    EXAMPLES
        .iter()
        .fold(Args::command(), |command, (verb, examples)| {
            let text = format!("Examples:\n  {}", examples.join("\n  "));
            command.mut_subcommand(verb, |verb| verb.after_help(text))
        })
        .help_template(template)
}

/// What was asked. Ends the program where that was help, or nothing that can be understood.
pub(crate) fn parse() -> Args {
    let matches = command().get_matches();
    Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The help of the program.
pub(crate) fn text() -> String {
    command().render_help().to_string()
}

/// What makes a shell ask the program for completions.
pub(crate) fn completion(shell: Shell) -> anyhow::Result<String> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells
        .completer(&name)
        .with_context(|| format!("there are no completions for {name}"))?;
    let mut script = Vec::new();
    completer.write_registration(COMPLETE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    Ok(String::from_utf8(script)?)
}

fn verbs(command: &clap::Command) -> String {
    let mut text = String::new();
    let width = command
        .get_subcommands()
        .map(|verb| verb.get_name().len())
        .max()
        .unwrap_or_default();
    for (title, names) in GROUPS {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{title}:");
        for name in names {
            let about = command
                .find_subcommand(OsString::from(name))
                .and_then(clap::Command::get_about)
                .map(ToString::to_string)
                .unwrap_or_default();
            let _ = writeln!(text, "  {name:width$}  {about}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_stands_in_one_group() {
        let mut command = Args::command();
        command.build();
        let mut verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        verbs.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(verbs, grouped);
    }

    #[test]
    fn help_lists_the_verbs_in_groups_and_explains_exit_codes() {
        insta::assert_snapshot!(text());
    }

    #[test]
    fn the_help_of_each_verb_begins_with_a_short_line() {
        for verb in Args::command().get_subcommands() {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(
                !about.is_empty() && about.len() < 80,
                "{}: {about}",
                verb.get_name()
            );
        }
    }

    #[test]
    fn every_example_is_a_command_that_the_program_takes() {
        for (verb, examples) in EXAMPLES {
            for example in examples {
                let words: Vec<&str> = example.split(' ').collect();
                assert_eq!(words[1], verb);
                let parsed = command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn no_verb_at_all_asks_for_help() {
        let matches = command().try_get_matches_from(["smilax"]).unwrap();
        assert!(Args::from_arg_matches(&matches).unwrap().command.is_none());
    }
}
