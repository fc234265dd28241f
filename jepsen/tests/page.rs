//! The page of the format: its example is a history, and lines survive a round trip.

use quipu_jepsen::checker::{Anomaly, Checker, Verdict};
use quipu_jepsen::history::{Line, Reader, Start, Writer};

const PAGE: &str = include_str!("../HISTORY.md");

fn example() -> &'static str {
    PAGE.split("```jsonl\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example")
}

#[test]
fn the_example_of_the_page_is_a_valid_history() {
    let report = Checker::check(Reader::new(example().as_bytes())).unwrap();
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    assert!(report.findings.is_empty(), "{report:#?}");
}

#[test]
fn what_is_written_is_what_was_read() {
    let lines: Vec<Line> = Reader::new(example().as_bytes()).map(|line| line.unwrap().1).collect();
    let mut writer = Writer::new(Vec::new(), Start::named("again")).unwrap();
    lines.iter().skip(1).for_each(|line| writer.write(line).unwrap());
    let (count, text) = writer.finish().unwrap();
    assert_eq!(count, lines.len() as u64);
    let again: Vec<Line> = Reader::new(text.as_slice()).map(|line| line.unwrap().1).collect();
    assert_eq!(again[1..], lines[1..]);
}

#[test]
fn the_page_names_every_family_of_codes() {
    for anomaly in Anomaly::ALL {
        let family = &anomaly.code()[..1];
        let is_named = PAGE.contains(&format!("{family}1")) || PAGE.contains(&format!("{family}2"));
        assert!(is_named, "HISTORY.md does not speak of {anomaly}");
    }
}
