//! The pages of the documentation, as far as they can be executed.
//!
//! A block of commands is executed as it stands, in the order of its page. What a test has to know beside it stands in
//! comments of HTML before the block, which readers do not see:
//!
//! ```text
//! <!-- before: COMMANDS -->       are executed first: what a reader has done already, and a page does not repeat
//! <!-- exits with 1 -->           is how the block ends
//! <!-- apply -->                  a block of YAML is applied, since later commands are about its objects
//! <!-- not executed: REASON -->   the block cannot be executed on a cluster for tests
//! ```

use std::fmt;
use std::path::PathBuf;

use crate::environment;

/// Comments before a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Notes {
    before: Vec<String>,
    exit: i32,
    apply: bool,
    not_executed: Option<String>,
    unknown: Vec<String>,
}

/// Something to do for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line of its block.
    pub line: usize,
    /// What to do.
    pub action: Action,
}

/// What a block asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run these commands, which end with this code.
    Run {
        /// For bash.
        script: String,
        /// 0 nearly always.
        exit: i32,
    },
    /// Apply these objects.
    Apply(String),
}

/// Why a page cannot be executed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Line of the block.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// The README and every page below docs/, each with its name and its text, in the order of their names.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> std::io::Result<Vec<(String, String)>> {
    let root = environment::repository();
    let mut files: Vec<PathBuf> = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "md"));
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            Ok((name, std::fs::read_to_string(&file)?))
        })
        .collect()
}

/// What a page asks for, from top to bottom.
///
/// # Errors
/// What stands in the way: blocks of a language that is not known, notes that are not, excuses without need.
pub fn steps(page: &str) -> Result<Vec<Step>, Vec<Complaint>> {
    let mut steps = Vec::new();
    let mut complaints = Vec::new();
    for block in blocks(page) {
        let line = block.line;
        match block.step() {
            Ok(action) => steps.extend(action.map(|action| Step { line, action })),
            Err(reason) => complaints.push(Complaint { line, reason }),
        }
    }
    if complaints.is_empty() {
        Ok(steps)
    } else {
        Err(complaints)
    }
}

#[derive(Debug)]
struct Block<'a> {
    line: usize,
    language: &'a str,
    text: Vec<&'a str>,
    notes: Notes,
}

impl Block<'_> {
    fn step(&self) -> Result<Option<Action>, String> {
        if let Some(unknown) = self.notes.unknown.first() {
            return Err(format!(
                "the comment {unknown:?} before it is none that tests know"
            ));
        }
        let commands = match self.language {
            "sh" => self.text.join("\n"),
            "console" => typed(&self.text),
            "yaml" if self.notes.apply => return Ok(Some(Action::Apply(self.text.join("\n")))),
            "yaml" | "json" | "lua" | "text" => String::new(),
            other => {
                return Err(format!(
                    "it is of the language {other:?}: commands are sh, or console with their answers; else write yaml, json, lua or text"
                ));
            }
        };
        match &self.notes.not_executed {
            Some(_) if commands.is_empty() => Err("it holds no command, so it needs no excuse".to_owned()),
            Some(reason) if reason.len() < 12 => Err("its excuse says too little".to_owned()),
            Some(_) => Ok(None),
            None if commands.is_empty() => Ok(None),
            None => {
                let mut script = self.notes.before.join("\n");
                script.push('\n');
                script.push_str(&commands);
                let exit = self.notes.exit;
                Ok(Some(Action::Run { script, exit }))
            }
        }
    }
}

/// What follows a prompt; the other lines are answers.
fn typed(text: &[&str]) -> String {
    let mut commands = Vec::new();
    let mut goes_on = false;
    for line in text {
        let command = line.strip_prefix("$ ").or(goes_on.then_some(line));
        goes_on = command.is_some_and(|command| command.ends_with('\\'));
        commands.extend(command);
    }
    commands.join("\n")
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut notes = Notes::default();
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().map(|(_, line)| line);
            blocks.push(Block {
                line: index + 1,
                language,
                text: text.take_while(|line| line.trim() != "```").collect(),
                notes: std::mem::take(&mut notes),
            });
        } else if let Some(begun) = line.strip_prefix("<!--") {
            let mut comment = begun.to_owned();
            while !comment.contains("-->") {
                let Some((_, more)) = lines.next() else { break };
                comment.push('\n');
                comment.push_str(more);
            }
            notes.take(comment.split("-->").next().unwrap_or_default().trim());
        } else if !line.is_empty() {
            notes = Notes::default();
        }
    }
    blocks
}

impl Notes {
    fn take(&mut self, comment: &str) {
        if let Some(commands) = comment.strip_prefix("before:") {
            self.before.push(commands.trim().to_owned());
        } else if let Some(reason) = comment.strip_prefix("not executed:") {
            self.not_executed = Some(reason.trim().to_owned());
        } else if comment == "apply" {
            self.apply = true;
        } else if let Some(Ok(code)) = comment.strip_prefix("exits with ").map(str::parse) {
            self.exit = code;
        } else {
            self.unknown.push(comment.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
