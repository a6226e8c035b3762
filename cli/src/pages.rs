//! What the pages of the documentation say of this program is so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;

use crate::args::Args;
use crate::authz::tests::asked;

/// The README and every page below docs/, by file name.
fn pages() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let files = docs.map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|ending| ending == "md"));
    let named = |file: PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(file).unwrap())
    };
    files.chain([root.join("README.md")]).map(named).collect()
}

/// The blocks of code of a page, each with its language.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// The arguments of every line that runs this program.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let lines = blocks(page).into_iter().flat_map(|(_, code)| code.lines());
    let lines = lines.filter_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        line.starts_with("smilax ")
            .then(|| line.split(" # ").next().unwrap())
    });
    // Within the text, a command is one that names what it does.
    let program = Args::command();
    let known = |line: &&str| {
        let verb = line
            .strip_prefix("smilax ")
            .and_then(|rest| rest.split(' ').next());
        verb.is_some_and(|verb| program.find_subcommand(verb).is_some())
    };
    let inline = page.split('`').skip(1).step_by(2).filter(known);
    lines
        .chain(inline)
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn every_command_of_a_page_is_one_that_the_program_takes() {
    let mut tried = 0;
    for (name, page) in pages() {
        for command in commands(&page) {
            // Some are only named.
            let named = matches!(command[..], [_, "authz" | "ca"]);
            let command = command.iter().map(|word| word.replace("KIND", "trafficsplit"));
            let command: Vec<String> = command.collect();
            if let Err(error) = Args::try_parse_from(&command)
                && !named
            {
                panic!("{name}: {command:?}: {error}");
            }
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} commands were found");
}

#[test]
fn authz_answers_as_the_page_on_access_says() {
    let page = pages().remove("access.md").unwrap();
    let of = |language: &str, part: &str| {
        let all = blocks(&page);
        let found = all
            .into_iter()
            .find(|(of, code)| *of == language && code.contains(part));
        found.unwrap().1.to_owned()
    };
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&of("yaml", "kind: TrafficTarget")).unwrap();
    let workload = r"
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: orders}
spec: {clusterIP: 10.0.0.1, selector: {app: orders}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: orders}
spec:
  template:
    metadata: {labels: {app: orders}}
    spec: {serviceAccountName: orders, containers: [{name: orders, ports: [{containerPort: 8080}]}]}
";
    objects.extend(serde_saphyr::from_multiple::<Value>(workload).unwrap());
    let said = of("console", "$ smilax authz --from");
    let (_, said) = said.split_once("$ smilax authz ").unwrap();
    let (command, expected) = said.split_once('\n').unwrap();
    let arguments: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(asked(&arguments, objects).join("\n"), expected.trim_end());
}
