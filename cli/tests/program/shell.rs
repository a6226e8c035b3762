//! The program in a shell: pipes that close early, completion scripts, answers for other programs.

use std::io::{Write as _, pipe};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Cluster, list, outcome, program, version};

/// A cluster whose operator reports on the authority, but not on a rotation.
fn signing(_: &str, path: &str, _: &Value) -> Option<Value> {
    Some(match path {
        "/version" => version(),
        "/apis/mesh.smilax.dev/v1alpha1/meshconfigs" => list(&[json!({
            "metadata": {"name": "default"},
            "status": {"conditions": [
                {"type": "AuthorityReady", "status": "True", "reason": "Ready", "message": "signed by a"},
            ]},
        })]),
        _ => return None,
    })
}

/// A cluster whose operator cannot sign.
fn not_signing(_: &str, path: &str, _: &Value) -> Option<Value> {
    Some(match path {
        "/version" => version(),
        "/apis/mesh.smilax.dev/v1alpha1/meshconfigs" => list(&[json!({
            "metadata": {"name": "default"},
            "status": {"conditions": [
                {"type": "AuthorityReady", "status": "False", "reason": "NoAuthority", "message": "no Secret"},
            ]},
        })]),
        _ => return None,
    })
}

#[test]
fn a_closed_pipe_is_silent_and_not_a_failure() {
    for line in [&[][..], &["--help"], &["completion", "bash"]] {
        // Closed before the program starts, so that its first write fails.
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let child = program()
            .args(line)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "", "{line:?}");
        assert_eq!(ended.status.code(), Some(0), "{line:?}");
    }
}

#[test]
fn completion_scripts_are_valid_for_their_shell() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = outcome(program().args(["completion", shell])).out;
        assert!(!script.is_empty(), "{shell}");
        let started = Command::new(shell)
            .arg(check)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            // Only bash is part of every machine that builds Smilax.
            Err(_) if shell != "bash" => continue,
            Err(error) => panic!("{shell}: {error}"),
        };
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{shell}: {said}");
    }
}

#[test]
fn programs_read_the_state_of_the_authority() {
    let run = Cluster::that(signing).run("ca status -o json");
    assert_eq!(run.code, Some(0), "{}", run.error);
    let status: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(status["authority"], "Ready: signed by a");
    assert_eq!(status["signing"], true);
}

#[test]
fn an_authority_that_does_not_sign_is_a_finding_in_every_output() {
    for line in ["ca status", "ca status -o json", "ca status -o yaml"] {
        let run = Cluster::that(not_signing).run(line);
        assert_eq!(run.code, Some(1), "{line}: {}", run.error);
        assert!(run.out.contains("NoAuthority: no Secret"), "{line}: {}", run.out);
    }
}
