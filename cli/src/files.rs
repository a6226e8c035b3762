//! Objects that lie in files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

/// Endings of the files of a directory that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Every object of these files, each YAML of one or more documents, or JSON. `-` is standard input; of a directory, every
/// such file is read, those of directories in it not.
///
/// # Errors
/// A file that cannot be read, or is neither.
pub(crate) fn objects(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in listed(files)? {
        let name = file.display();
        let text = read(&file).with_context(|| format!("{name} cannot be read"))?;
        // JSON is YAML too.
        let found: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{name} is neither YAML nor JSON"))?;
        all.extend(found.into_iter().filter(Value::is_object));
    }
    Ok(all)
}

fn listed(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for file in files {
        if !file.is_dir() {
            all.push(file.clone());
            continue;
        }
        let entries = || -> std::io::Result<Vec<PathBuf>> {
            std::fs::read_dir(file)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        };
        let mut entries = entries().with_context(|| format!("{} cannot be read", file.display()))?;
        let of_ours = |path: &PathBuf| {
            path.extension()
                .and_then(|ending| ending.to_str())
                .is_some_and(|ending| ENDINGS.contains(&ending))
        };
        entries.retain(|path| of_ours(path) && path.is_file());
        entries.sort();
        all.append(&mut entries);
    }
    Ok(all)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_directory_manifests_are_read_in_order_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("b.json", r#"{"kind": "B"}"#);
        write("a.yaml", "kind: A1\n---\nkind: A2\n");
        write("notes.md", "# none");
        std::fs::create_dir(directory.path().join("deeper.yaml")).unwrap();
        let found = objects(&[directory.path().to_owned()]).unwrap();
        let kinds: Vec<&str> = found.iter().filter_map(|one| one["kind"].as_str()).collect();
        assert_eq!(kinds, ["A1", "A2", "B"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = objects(&["/nowhere/mesh.yaml".into()]).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/mesh.yaml"), "{error}");
    }
}
