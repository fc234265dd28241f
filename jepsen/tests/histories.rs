//! Hand-made histories: for each the checker names exactly the anomalies its head expects.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quipu_jepsen::checker::{Anomaly, Checker, Report, meets};
use quipu_jepsen::history::Reader;

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn judge(file: &Path) -> Report {
    let reader = Reader::open(file).unwrap();
    Checker::check(reader).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn each_history_gets_the_verdict_and_exactly_the_anomalies_of_its_head() {
    let mut wrong = Vec::new();
    for file in files() {
        let report = judge(&file);
        let expected = report.expect.clone().expect("the head of a test history expects");
        assert_eq!(report.name, file.file_stem().unwrap().to_str().unwrap());
        if !meets(&expected, &report) {
            wrong.push(format!(
                "{}: expected {expected:?}, found {:?} {:#?} {:?}",
                report.name, report.verdict, report.findings, report.gaps
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_finding_has_lines_of_the_history_and_a_sentence() {
    for file in files() {
        let lines = u64::try_from(std::fs::read_to_string(&file).unwrap().lines().count()).unwrap();
        for finding in judge(&file).findings {
            assert!(!finding.why.is_empty() && !finding.subject.is_empty(), "{finding:?}");
            assert!(finding.lines.iter().all(|line| (1..=lines).contains(line)), "{finding:?}");
        }
    }
}

#[test]
fn each_anomaly_has_a_history() {
    let shown: BTreeSet<Anomaly> =
        files().iter().flat_map(|file| judge(file).counts_by_anomaly.into_keys()).collect();
    let missing: Vec<String> = Anomaly::ALL
        .iter()
        .filter(|anomaly| !shown.contains(anomaly))
        .map(ToString::to_string)
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}
