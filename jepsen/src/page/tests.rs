use std::path::PathBuf;

use super::*;
use crate::checker::{Checker, Report};
use crate::figures::Figures;
use crate::history::Reader;

const SECOND: u64 = 1_000_000_000;

/// A history: two appends, one refused and one unclear, a fault, two leaders.
fn history() -> String {
    let line = |at: u64, event: &str| format!("{{\"at\":{at},\"process\":1,\"event\":{event}}}\n");
    let append = |id: u64| {
        format!(
            "{{\"invoke\":{{\"id\":{id},\"call\":{{\"append\":{{\"partition\":\"a/0\",\"values\":[[{id},1]]}}}}}}}}"
        )
    };
    let leader = |term: u64, node: u64| {
        format!("{{\"leader\":{{\"partition\":\"a/0\",\"term\":{term},\"leader\":{node}}}}}")
    };
    let error = |id: u64, kind: &str, effect: &str| {
        format!(
            "{{\"{kind}\":{{\"id\":{id},\"error\":{{\"code\":\"<b>\",\"effect\":\"{effect}\"}}}}}}"
        )
    };
    [
        line(0, r#"{"start":{"version":1,"name":"a <run> & more","limits":{"acked_min":9}}}"#),
        line(1, r#"{"phase":"load"}"#),
        line(2, &leader(1, 1)),
        line(10, &append(1)),
        line(20, &append(2)),
        line(30, &append(3)),
        line(2_000_010, r#"{"ok":{"id":1,"outcome":{"appended":{"offset":0}}}}"#),
        line(SECOND, r#"{"fault":{"name":"kill-one","stage":"injected","nodes":[1],"bit":true}}"#),
        line(SECOND + 1, &error(2, "fail", "none")),
        line(SECOND + 2, &leader(2, 3)),
        line(2 * SECOND, &error(3, "info", "maybe")),
        line(3 * SECOND, r#"{"fault":{"name":"kill-one","stage":"healed","nodes":[1]}}"#),
        line(4 * SECOND, r#"{"phase":"end"}"#),
    ]
    .concat()
}

fn reader(text: &str) -> Reader<&[u8]> {
    Reader::new(text.as_bytes())
}

#[test]
fn the_course_counts_answers_and_measures_faults_and_leaders() {
    let course = Course::read(reader(&history())).unwrap();
    let counts: Vec<_> = course.seconds.iter().map(|it| (it.ok, it.fail, it.info)).collect();
    assert_eq!(counts, [(1, 0, 0), (0, 1, 0), (0, 0, 1)]);
    assert_eq!((course.seconds[0].median_us, course.seconds[0].slowest_us), (2_000, 2_000));
    assert_eq!(course.faults.len(), 1);
    assert_eq!((course.faults[0].from, course.faults[0].to), (SECOND, 3 * SECOND));
    let led: Vec<_> =
        course.leaders["a/0"].iter().map(|it| (it.nodes[0], it.from, it.to)).collect();
    assert_eq!(led, [(1, 2, SECOND + 2), (3, SECOND + 2, 4 * SECOND)]);
    assert_eq!(course.end, 4 * SECOND);
}

fn outcome(text: &str, report: Report) -> Outcome {
    let figures = Figures::read(reader(text)).unwrap();
    let (dir, none) = (PathBuf::from("runs/1"), Vec::new);
    Outcome { dir, seed: 1, seconds: 4, report, figures, deaths: none(), notes: none() }
}

#[test]
fn the_page_is_whole_stands_alone_and_escapes_what_it_shows() {
    let text = history();
    let report = Checker::check(reader(&text)).unwrap();
    let deaths = vec!["node 2 ended by itself: <panic>".to_owned()];
    let notes = vec!["node 3 refused an empty disk".to_owned()];
    let outcome = Outcome { deaths, notes, ..outcome(&text, report) };
    let page = render(&Course::read(reader(&text)).unwrap(), &outcome);
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</body></html>\n"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.contains("a &lt;run&gt; &amp; more") && page.contains("&lt;panic&gt;"));
    assert!(!page.contains("<run>") && !page.contains("http"), "nothing is loaded");
    assert!(page.contains("class=\"invalid\">invalid<"), "a node that ended by itself");
    assert!(page.contains("excused: node 3 refused an empty disk"));
    assert!(page.contains("kill-one: nodes 1, 1.0 s to 3.0 s"), "{page}");
    assert!(page.contains("unknown because 1 records were acknowledged, 9 are asked for"));
}

#[test]
fn an_empty_history_still_gives_a_page() {
    let text = "{\"at\":0,\"process\":0,\"event\":{\"start\":{\"version\":1,\"name\":\"none\"}}}\n";
    let report = Checker::check(reader(text)).unwrap();
    let outcome = outcome(text, report);
    let page = render(&Course::read(reader(text)).unwrap(), &outcome);
    assert!(page.contains("class=\"unknown\">unknown<") && page.contains("None."));
}
