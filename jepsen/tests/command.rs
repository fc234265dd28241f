//! The command: exit codes, tables for eyes, JSON for scripts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::Path;
use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu-check"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_exit_code_is_that_of_the_worst_history() {
    let code = |arguments: &[&str]| check(arguments).status.code();
    assert_eq!(code(&["valid-append.jsonl"]), Some(0));
    assert_eq!(code(&["valid-append.jsonl", "unknown-not-ended.jsonl"]), Some(2));
    assert_eq!(code(&["a5-unseen.jsonl", "unknown-not-ended.jsonl"]), Some(1));
    assert_eq!(code(&["there-is-no-such-file.jsonl"]), Some(2));
    assert_eq!(code(&[]), Some(2));
}

#[test]
fn the_table_names_the_anomaly_and_its_lines() {
    let text = String::from_utf8(check(&["a5-unseen.jsonl"]).stdout).unwrap();
    assert!(text.starts_with("invalid  a5-unseen"), "{text}");
    assert!(text.contains("A5 unseen") && text.contains("6,7"), "{text}");
}

#[test]
fn json_is_one_document_per_line() {
    let output = check(&["a5-unseen.jsonl", "valid-append.jsonl", "--format", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents[0]["verdict"], "invalid");
    assert_eq!(documents[0]["findings"][0]["anomaly"], "A5");
    assert_eq!(documents[0]["findings"][0]["lines"], serde_json::json!([6, 7]));
    assert_eq!(documents[0]["counts_by_anomaly"]["A5"], 1);
    assert_eq!(documents[1]["verdict"], "valid");
}

#[test]
fn the_help_has_an_example() {
    let text = String::from_utf8(check(&["--help"]).stdout).unwrap();
    assert!(text.contains("quipu-check runs/kill-1.jsonl"), "{text}");
}
