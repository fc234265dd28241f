//! Is there one order of all appends and answers that fits their times?
//!
//! Offsets fix the order of the appends, so that no search is needed: going up the offsets,
//! each append takes effect as early as it can. An answer "the end is e" lies between the
//! appends of e−1 and e; a read of offset o ends after the append of o began.

use super::Anomaly;
use super::family::{Family, Moment};
use super::finding::Findings;
use super::log::{Append, Log, Status};
use super::run::Run;
use crate::history::Acks;

/// The linearizable append.
#[derive(Debug)]
pub(crate) struct Linear;

impl Family for Linear {
    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        for log in &run.logs.all {
            Chain::new(log).climb(out);
        }
    }
}

/// Why an append cannot take effect earlier, or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Append { is_unclear: bool },
    End,
    Read,
}

struct Chain<'a> {
    log: &'a Log,
    /// Ends that name the end exactly, by end.
    lower: Vec<(u64, Moment)>,
    /// All ends by end, each with the earliest answer of it or a greater one.
    upper: Vec<(u64, Moment)>,
    /// Values that may lie where nobody looked: when each was sent, last first.
    spare: Vec<Moment>,
    earliest: (Moment, Bound),
}

impl<'a> Chain<'a> {
    fn new(log: &'a Log) -> Self {
        let mut lower: Vec<_> =
            log.ends.iter().filter_map(|end| Some((end.end, end.invoked?))).collect();
        lower.sort_unstable_by(|one, two| two.cmp(one));
        let mut upper: Vec<_> = log.ends.iter().map(|end| (end.end, end.done)).collect();
        upper.sort_unstable();
        let mut earliest = Moment::NEVER;
        for (_, done) in upper.iter_mut().rev() {
            earliest = earliest.min(*done);
            *done = earliest;
        }
        Self { log, lower, upper, spare: spare(log), earliest: (Moment::default(), Bound::End) }
    }

    fn climb(mut self, out: &mut Findings) {
        let end = self.upper.last().map_or(0, |(end, _)| *end).max(self.log.end());
        let mut next = 0;
        for offset in self.log.slots.keys().copied() {
            self.hole(next, offset, out);
            self.slot(offset, out);
            next = offset.saturating_add(1);
        }
        self.hole(next, end, out);
    }

    /// Raises the earliest time by the answers that say that `offset` did not exist yet.
    fn ends_at(&mut self, offset: u64) {
        while let Some((_, invoked)) = self.lower.pop_if(|(end, _)| *end <= offset) {
            self.not_before(invoked, Bound::End);
        }
    }

    fn not_before(&mut self, moment: Moment, why: Bound) {
        if moment > self.earliest.0 {
            self.earliest = (moment, why);
        }
    }

    fn slot(&mut self, offset: u64, out: &mut Findings) {
        let log = self.log;
        let slot = &log.slots[&offset];
        self.ends_at(offset);
        let append = log.append_at(slot);
        if let Some(append) = append {
            let is_unclear = append.status != Status::Ok;
            self.not_before(append.invoked, Bound::Append { is_unclear });
        }
        let is_home =
            slot.sent.is_some_and(|place| log.sent[place].seen_at.is_none_or(|at| at == offset));
        let acked = append.filter(|append| append.is_final() && is_home);
        let answered = acked.map(|append| (append.done, Bound::Append { is_unclear: false }));
        let read = slot.first_read.map(|read| (read, Bound::Read));
        self.not_after(offset, [answered, read, self.end_above(offset)], out);
    }

    fn end_above(&self, offset: u64) -> Option<(Moment, Bound)> {
        let place = self.upper.partition_point(|(end, _)| *end <= offset);
        self.upper.get(place).map(|(_, done)| (*done, Bound::End))
    }

    fn not_after(&mut self, offset: u64, bounds: [Option<(Moment, Bound)>; 3], out: &mut Findings) {
        let Some((latest, why)) = bounds.into_iter().flatten().min_by_key(|(at, _)| *at) else {
            return;
        };
        let (earliest, because) = self.earliest;
        if earliest <= latest {
            return;
        }
        let (anomaly, sentence) = name(because, why);
        let lines = [earliest.line, latest.line];
        out.report(anomaly, &self.log.name, &[offset], &lines, || {
            format!("offset {offset}: {sentence}")
        });
        self.earliest = (latest, why);
    }

    /// Fills `from..to` with values whose fate nobody knows; what is left over is a hole.
    fn hole(&mut self, from: u64, to: u64, out: &mut Findings) {
        let mut offset = from;
        let looked_at = self.log.covered.first_within(from.max(self.log.log_start), to);
        while offset < to && looked_at.is_none() {
            let Some(sent) = self.spare.pop() else { break };
            self.ends_at(offset);
            self.not_before(sent, Bound::Append { is_unclear: true });
            self.not_after(offset, [None, None, self.end_above(offset)], out);
            offset += 1;
        }
        if offset < to {
            let hole = looked_at.unwrap_or(offset);
            let line = self.log.slots.range(to..).next().map_or(0, |(_, slot)| slot.line);
            out.report(Anomaly::Hole, &self.log.name, &[hole, to], &[line], || {
                format!("nothing lies at {hole} although the log goes on to {to}")
            });
        }
    }
}

fn name(earliest: Bound, latest: Bound) -> (Anomaly, &'static str) {
    match (earliest, latest) {
        (Bound::Append { is_unclear: false } | Bound::Read, Bound::Append { .. }) => {
            (Anomaly::AppendOrder, "it was acknowledged before an append below it began")
        }
        (Bound::Append { is_unclear: true }, Bound::Append { .. }) => (
            Anomaly::LateAppendOrder,
            "it was acknowledged before an append without answer below it began",
        ),
        (Bound::Append { .. } | Bound::Read, Bound::Read) => {
            (Anomaly::FutureRead, "it was read before the append of it or below it began")
        }
        (Bound::Append { .. } | Bound::Read, Bound::End) => {
            (Anomaly::EndMisplaced, "an answer put the end above it before its append began")
        }
        (Bound::End, Bound::Append { .. } | Bound::Read) => {
            (Anomaly::EndMisplaced, "an answer put the end at or below it when it was there")
        }
        (Bound::End, Bound::End) => {
            (Anomaly::EndDecreased, "the end was above it and later at or below it")
        }
    }
}

/// When each value was sent that may lie anywhere: its append may have happened and nobody
/// knows where.
fn spare(log: &Log) -> Vec<Moment> {
    let is_loose = |append: &Append| match append.status {
        Status::Fail => false,
        Status::Unclear => true,
        Status::Ok => append.acks != Acks::Quorum,
    };
    let mut spare: Vec<Moment> = log
        .sent
        .iter()
        .filter(|sent| sent.seen_at.is_none())
        .map(|sent| &log.appends[sent.append])
        .filter(|append| is_loose(append))
        .map(|append| append.invoked)
        .collect();
    spare.sort_unstable_by(|one, two| two.cmp(one));
    spare
}
