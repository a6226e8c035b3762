//! Names of objects are completed by the program itself, as a shell asks it, from what the API server answers.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// An API server that answers lists, and a kubeconfig for it.
struct Cluster {
    _directory: TempDir,
    kubeconfig: PathBuf,
}

fn names(all: &[&str]) -> Value {
    let items: Vec<Value> = all
        .iter()
        .map(|name| json!({"metadata": {"name": name}}))
        .collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn answer(path: &str) -> Option<Value> {
    let path = path.split('?').next()?;
    Some(match path {
        "/version" => json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        }),
        "/api/v1/namespaces" => names(&["shop", "shipping", "bank"]),
        "/api/v1/namespaces/shop/pods" => names(&["web-1", "cart-1"]),
        "/api/v1/namespaces/shop/services" => names(&["web", "cart"]),
        "/api/v1/namespaces/shop/serviceaccounts" => names(&["client"]),
        "/apis/apps/v1/namespaces/shop/deployments" => names(&["web"]),
        "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits" => {
            names(&["web", "web-canary", "cart"])
        }
        "/apis/access.smi-spec.io/v1alpha4/namespaces/shop/traffictargets" => names(&["readers"]),
        _ => return None,
    })
}

fn serve(stream: TcpStream) {
    let Ok(clone) = stream.try_clone() else { return };
    let mut lines = BufReader::new(clone).lines();
    let mut stream = stream;
    while let Some(Ok(first)) = lines.next() {
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        // None of the requests has a body.
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let (status, body) = match answer(&path) {
            Some(body) => ("200 OK", body.to_string()),
            None => (
                "404 Not Found",
                json!({"kind": "Status", "apiVersion": "v1", "code": 404}).to_string(),
            ),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn cluster() -> Cluster {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "shop"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    Cluster {
        _directory: directory,
        kubeconfig,
    }
}

/// What a shell would offer for the last word.
fn completed(kubeconfig: &Path, line: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_smilax"))
        .env("COMPLETE", "fish")
        .env("KUBECONFIG", kubeconfig)
        .arg("--")
        .args(line.split(' '))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    text.lines()
        .map(word)
        .filter(|word| !word.starts_with('-'))
        .collect()
}

#[test]
fn names_of_objects_are_completed() {
    let cluster = cluster();
    let offered = |line| completed(&cluster.kubeconfig, line);
    for (line, expected) in [
        (
            "smilax explain trafficsplit/w",
            &["trafficsplit/web", "trafficsplit/web-canary"][..],
        ),
        ("smilax explain tt/", &["tt/readers"]),
        ("smilax explain traffict", &["traffictarget/"]),
        ("smilax explain -n sh", &["shop", "shipping"]),
        ("smilax proxy-status --namespace b", &["bank"]),
        ("smilax proxy-config w", &["web-1"]),
        ("smilax log-level deploy/", &["deploy/web"]),
        ("smilax why-inject ns/b", &["ns/bank"]),
        ("smilax authz --from shop/", &["shop/client"]),
        ("smilax authz --to shop/c", &["shop/cart"]),
        ("smilax --smilax-namespace ba", &["bank"]),
    ] {
        assert_eq!(offered(line), expected, "{line}");
    }
}

#[test]
fn names_are_those_of_the_namespace_on_the_command_line() {
    let cluster = cluster();
    assert_eq!(
        completed(&cluster.kubeconfig, "smilax proxy-config -n bank w"),
        [""; 0]
    );
}

#[test]
fn without_a_cluster_nothing_is_completed_and_nothing_is_printed() {
    let nowhere = Path::new("/nonexistent");
    assert_eq!(completed(nowhere, "smilax explain trafficsplit/w"), [""; 0]);
}

#[test]
fn verbs_are_completed_without_a_cluster() {
    let offered = completed(Path::new("/nonexistent"), "smilax proxy-");
    assert_eq!(offered, ["proxy-status", "proxy-config"]);
}

#[test]
fn the_script_for_a_shell_asks_the_program() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_smilax"))
            .args(["completion", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains(&format!("COMPLETE=\"{shell}\""))
                || script.contains(&format!("COMPLETE={shell}")),
            "{script}"
        );
    }
}

#[test]
fn a_mistyped_verb_is_answered_with_the_one_that_was_meant() {
    let output = Command::new(env!("CARGO_BIN_EXE_smilax"))
        .arg("explian")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("'explain'"), "{error}");
}

#[test]
fn no_verb_shows_the_verbs_in_groups() {
    let output = Command::new(env!("CARGO_BIN_EXE_smilax")).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("See what is in force:\n  check"), "{text}");
    assert!(text.contains("Exit codes:"), "{text}");
}
