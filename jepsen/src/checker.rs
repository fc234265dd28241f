//! Reads a history once and names every anomaly with its evidence.
//!
//! Each family of checks is a file. They share `run` (course of the run, one index per
//! partition) and see every line once; what needs the whole is judged at the end. Memory grows
//! with the records and calls that must be compared, not with the text of the history.

mod anomaly;
mod coverage;
mod cycles;
mod family;
mod finding;
mod graph;
mod groups;
mod interval;
mod lag;
mod linear;
mod log;
mod presence;
mod producers;
mod progress;
mod reads;
mod replicas;
mod report;
mod retention;
mod run;
mod sends;
mod timeline;
mod topics;

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

pub use anomaly::Anomaly;
pub use coverage::Counts;
pub use finding::Finding;
pub use report::{Report, Verdict};

use crate::history::{Call, Event, Expectation, Line, Outcome, ReadError, Reader, Start};
use family::{Answer, Completed, Family, Moment, Open, Seen};
use finding::Findings;
use run::Run;

/// Judges one history, line by line.
pub struct Checker {
    start: Option<Start>,
    run: Run,
    open: HashMap<u64, Open>,
    families: Vec<Box<dyn Family>>,
    out: Findings,
    lines: u64,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        // `Reads` is first: it places what was read in the logs that the others look at.
        let families: Vec<Box<dyn Family>> = vec![
            Box::new(reads::Reads::default()),
            Box::new(retention::Retention::default()),
            Box::new(topics::Topics::default()),
            Box::new(lag::Lag::default()),
            Box::new(progress::Progress::default()),
            Box::new(replicas::Replicas::default()),
            Box::new(groups::Ownership::default()),
            Box::new(groups::Statics::default()),
            Box::new(groups::Positions::default()),
            Box::new(groups::Delivery::default()),
            Box::new(groups::Healing::default()),
            Box::new(presence::Presence),
            Box::new(sends::Sends),
            Box::new(linear::Linear),
            Box::new(producers::Producers::default()),
            Box::new(cycles::Cycles::default()),
        ];
        Self {
            start: None,
            run: Run::default(),
            open: HashMap::new(),
            families,
            out: Findings::default(),
            lines: 0,
        }
    }

    /// Judges a whole history.
    ///
    /// # Errors
    /// When a line is damaged, or answers no call.
    pub fn check<R: BufRead>(mut reader: Reader<R>) -> Result<Report, ReadError> {
        let mut checker = Self::new();
        while let Some((number, line)) = reader.read()? {
            checker.feed(number, line)?;
        }
        Ok(checker.finish())
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When the line answers a call that was never made, or with another kind of answer.
    pub fn feed(&mut self, number: u64, line: Line) -> Result<(), ReadError> {
        self.lines = number;
        let now = Moment { line: number, at: line.at };
        self.run.course.last = now;
        let wrong = |what| Err(ReadError::Contradiction { line: number, what });
        match line.event {
            Event::Start(start) => {
                self.run.limits = start.limits.clone();
                self.start = Some(start);
            }
            Event::Invoke { id, call } => {
                let Line { process, node, .. } = line;
                let open = Open { process, node, invoked: now, call };
                if self.open.contains_key(&id) {
                    return wrong("a call of this id is open already");
                }
                self.invoked(&open);
                self.open.insert(id, open);
            }
            Event::Ok { id, outcome } => {
                let Some(open) = self.open.remove(&id) else { return wrong(NO_CALL) };
                if !fits(&open.call, &outcome) {
                    return wrong("the answer is of another kind than the call");
                }
                self.completed(&Completed { open: &open, done: now, answer: Answer::Ok(&outcome) });
            }
            Event::Fail { id, error } => {
                let Some(open) = self.open.remove(&id) else { return wrong(NO_CALL) };
                self.completed(&Completed { open: &open, done: now, answer: Answer::Fail(&error) });
            }
            Event::Info { id, .. } => {
                let Some(open) = self.open.remove(&id) else { return wrong(NO_CALL) };
                self.completed(&Completed { open: &open, done: now, answer: Answer::Unclear });
            }
            event => {
                self.observed(&Seen { process: line.process, node: line.node, now, event: &event })
            }
        }
        Ok(())
    }

    fn invoked(&mut self, open: &Open) {
        self.run.logs.invoked(open);
        for family in &mut self.families {
            family.invoked(open, &mut self.run, &mut self.out);
        }
    }

    fn completed(&mut self, op: &Completed<'_>) {
        self.run.logs.completed(op, &mut self.out);
        for family in &mut self.families {
            family.completed(op, &mut self.run, &mut self.out);
        }
    }

    fn observed(&mut self, seen: &Seen<'_>) {
        self.run.course.observe(seen);
        for family in &mut self.families {
            family.observed(seen, &mut self.run, &mut self.out);
        }
    }

    /// Judges what needs the whole history.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let mut open: Vec<Open> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_unstable_by_key(|open| open.invoked);
        for open in &open {
            self.completed(&Completed { open, done: Moment::NEVER, answer: Answer::Unclear });
        }
        self.run.logs.settle();
        for log in &mut self.run.logs.all {
            presence::adopt_early_reads(log);
        }
        for family in &mut self.families {
            family.finish(&mut self.run, &mut self.out);
        }
        let counts = coverage::count(&self.run, self.lines);
        let gaps = coverage::gaps(&self.run, &counts);
        Report::new(self.start, self.out, counts, gaps)
    }
}

const NO_CALL: &str = "the answer belongs to no open call";

fn fits(call: &Call, outcome: &Outcome) -> bool {
    match call {
        Call::Append { .. } => matches!(outcome, Outcome::Appended { .. }),
        Call::Poll { .. } => matches!(outcome, Outcome::Polled { .. }),
        Call::ListOffsets { .. } => matches!(outcome, Outcome::Offsets { .. }),
        Call::DeleteRecords { .. } => matches!(outcome, Outcome::Deleted { .. }),
        Call::InitProducer {} => matches!(outcome, Outcome::Producer { .. }),
        Call::CreateTopic { .. } => matches!(outcome, Outcome::Created { .. }),
        Call::Join { .. } => matches!(outcome, Outcome::Joined { .. }),
        Call::Commit { .. } => matches!(outcome, Outcome::Committed { .. }),
        Call::FetchCommitted { .. } => matches!(outcome, Outcome::Positions { .. }),
        Call::Describe { .. } => matches!(outcome, Outcome::Described { .. }),
        Call::Assign { .. } | Call::DeleteTopic { .. } | Call::Leave { .. } | Call::Ack { .. } => {
            matches!(outcome, Outcome::Done {})
        }
    }
}

/// Whether a report says what the history's head expects, if it expects anything.
#[must_use]
pub fn meets(expected: &Expectation, report: &Report) -> bool {
    let found: Vec<&str> = report.counts_by_anomaly.keys().map(|name| name.code()).collect();
    let mut expected_codes: Vec<&str> = expected.anomalies.iter().map(String::as_str).collect();
    let mut found_codes = found;
    expected_codes.sort_unstable();
    found_codes.sort_unstable();
    expected.verdict == report.verdict.name() && expected_codes == found_codes
}
