//! Objects that lie in files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

/// Every object of these files, each YAML of one or more documents, or JSON. `-` is standard input.
///
/// # Errors
/// A file that cannot be read, or is neither.
pub(crate) fn objects(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in files {
        let name = file.display();
        let text = read(file).with_context(|| format!("{name} cannot be read"))?;
        // JSON is YAML too.
        let found: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{name} is neither YAML nor JSON"))?;
        all.extend(found.into_iter().filter(Value::is_object));
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
