//! What the families of checks have in common.

use super::finding::Findings;
use super::run::Run;
use crate::history::{Call, Event, Failure, Outcome};

/// A line of the history: lines are in order of time, so that comparing them compares times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Number of the line, from 1.
    pub line: u64,
    /// Monotonic nanoseconds.
    pub at: u64,
}

impl Moment {
    /// After the end of the history.
    pub(crate) const NEVER: Self = Self { line: u64::MAX, at: u64::MAX };

    /// The line as evidence; 0 for none.
    pub(crate) fn evidence(self) -> u64 {
        if self == Self::NEVER { 0 } else { self.line }
    }
}

/// A call without answer so far.
#[derive(Debug)]
pub(crate) struct Open {
    pub process: u64,
    pub node: Option<u64>,
    pub invoked: Moment,
    pub call: Call,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    /// It happened.
    Ok(&'a Outcome),
    /// It did not happen.
    Fail(&'a Failure),
    /// It may have happened.
    Unclear,
}

impl<'a> Answer<'a> {
    pub(crate) fn ok(self) -> Option<&'a Outcome> {
        if let Self::Ok(outcome) = self { Some(outcome) } else { None }
    }

    pub(crate) fn is_fail(self) -> bool {
        matches!(self, Self::Fail(_))
    }
}

/// A call with its answer; what has none by the end of the history is unclear.
#[derive(Debug)]
pub(crate) struct Completed<'a> {
    pub open: &'a Open,
    pub done: Moment,
    pub answer: Answer<'a>,
}

impl Completed<'_> {
    /// Both lines, as evidence.
    pub(crate) fn lines(&self) -> [u64; 2] {
        [self.open.invoked.line, self.done.evidence()]
    }
}

/// An event that is no call.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub process: u64,
    pub node: Option<u64>,
    pub now: Moment,
    pub event: &'a Event,
}

/// One family of checks: sees every line once, in order.
pub(crate) trait Family {
    /// A call begins.
    fn invoked(&mut self, _open: &Open, _run: &mut Run, _out: &mut Findings) {}
    /// A call has ended.
    fn completed(&mut self, _op: &Completed<'_>, _run: &mut Run, _out: &mut Findings) {}
    /// Something else happened.
    fn observed(&mut self, _seen: &Seen<'_>, _run: &mut Run, _out: &mut Findings) {}
    /// The history is over.
    fn finish(&mut self, _run: &mut Run, _out: &mut Findings) {}
}
