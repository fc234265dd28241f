//! Polls: where each process stands, what it skipped or got again, and what it proves.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Completed, Family, Moment, Open, Seen};
use super::finding::Findings;
use super::log::{End, Log, Record};
use super::run::Run;
use crate::history::{Call, Event, Outcome, Partition, Polled};

/// Where each process stands.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    // Process and place of the partition to the next offset.
    positions: HashMap<(u64, usize), u64>,
    // Last line that rebalanced a process.
    rebalanced: HashMap<u64, u64>,
    // What subscribed processes consumed: counts more than once are noted.
    consumed: HashMap<(u64, usize), u64>,
}

/// What one answer is compared with.
struct Asked {
    expected: Option<u64>,
    is_fetch: bool,
    is_rebalanced: bool,
    invoked: Moment,
    done: Moment,
}

impl Family for Reads {
    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, out: &mut Findings) {
        match (&op.open.call, op.answer.ok()) {
            (Call::Assign { partitions }, _) if !op.answer.is_fail() => {
                self.assign(op.open.process, partitions, run);
            }
            (Call::Poll { .. }, Some(Outcome::Polled { partitions })) => {
                for polled in partitions {
                    self.poll(op, polled, run, out);
                }
            }
            (
                Call::ListOffsets { partition },
                Some(Outcome::Offsets { high_watermark: end, .. }),
            ) => {
                let (invoked, done) = (Some(op.open.invoked), op.done);
                run.logs.get_mut(partition).ends.push(End { invoked, done, end: *end });
            }
            _ => {}
        }
    }

    fn observed(&mut self, seen: &Seen<'_>, run: &mut Run, _out: &mut Findings) {
        if let Event::Assigned(owned) | Event::Revoked(owned) | Event::Lost(owned) = seen.event {
            self.rebalanced.insert(seen.process, seen.now.line);
            for partition in &owned.partitions {
                let place = run.logs.place(partition);
                self.positions.remove(&(seen.process, place));
            }
        }
    }
}

impl Reads {
    fn assign(&mut self, process: u64, partitions: &[(Partition, u64)], run: &mut Run) {
        self.positions.retain(|(owner, _), _| *owner != process);
        for (partition, from) in partitions {
            self.positions.insert((process, run.logs.place(partition)), *from);
        }
    }

    fn asked(&self, open: &Open, done: Moment, (place, name): (usize, &Partition)) -> Asked {
        let Call::Poll { by, reads } = &open.call else { unreachable!("only polls are polled") };
        let fetch = reads.iter().find(|(partition, _)| partition == name).map(|(_, from)| *from);
        let rebalanced = self.rebalanced.get(&open.process).copied().unwrap_or_default();
        Asked {
            expected: fetch.or_else(|| self.positions.get(&(open.process, place)).copied()),
            is_fetch: fetch.is_some(),
            is_rebalanced: by.is_some() && rebalanced >= open.invoked.line,
            invoked: open.invoked,
            done,
        }
    }

    fn poll(&mut self, op: &Completed<'_>, polled: &Polled, run: &mut Run, out: &mut Findings) {
        let place = run.logs.place(&polled.partition);
        let asked = self.asked(op.open, op.done, (place, &polled.partition));
        let is_final = run.course.in_final_reads();
        let log = &mut run.logs.all[place];
        let span = deliver(log, &asked, polled, out);
        prove(log, &asked, polled, span, is_final);
        let Some((first, last)) = span else { return };
        if !asked.is_fetch {
            self.positions.insert((op.open.process, place), last.saturating_add(1));
            self.count(op.open, place, (first, last), out);
        }
    }

    fn count(&mut self, open: &Open, place: usize, (first, last): (u64, u64), out: &mut Findings) {
        let Call::Poll { by: Some(_), .. } = &open.call else { return };
        let highest = self.consumed.entry((open.process, place)).or_default();
        out.note("consumed again by one subscribed process", highest.saturating_sub(first));
        *highest = last.saturating_add(1).max(*highest);
    }
}

/// Notes and compares all records of an answer; gives the first and the last offset.
fn deliver(
    log: &mut Log,
    asked: &Asked,
    polled: &Polled,
    out: &mut Findings,
) -> Option<(u64, u64)> {
    let (mut first, mut last) = (None, None);
    for batch in &polled.batches {
        for (place, value) in batch.values.iter().enumerate() {
            let offset = batch.offset.checked_add(place as u64)?;
            match last {
                None => begins(log, asked, polled, offset, out),
                Some(before) => follows(log, asked, before, offset, out),
            }
            let stamp = batch.producer.map(|stamp| stamp.after(place));
            let (line, read) = (asked.done.line, Some(asked.done));
            log.place(offset, Record { value: *value, stamp, line, read }, out);
            first = first.or(Some(offset));
            last = Some(offset);
        }
    }
    if let (Some(last), Some(end)) = (last, polled.high_watermark)
        && last >= end
    {
        out.report(Anomaly::ReadWindow, &log.name, &[last, end], &[asked.done.line], || {
            format!("a read returned offset {last} with the high watermark {end}")
        });
    }
    Some((first?, last?))
}

fn begins(log: &Log, asked: &Asked, polled: &Polled, offset: u64, out: &mut Findings) {
    let Some(expected) = asked.expected else { return };
    let kept_from = polled.log_start.unwrap_or_default().max(log.log_start);
    let anomaly = match offset.cmp(&expected) {
        std::cmp::Ordering::Equal => return,
        std::cmp::Ordering::Greater if offset <= kept_from => return,
        _ if asked.is_fetch => Anomaly::ReadWindow,
        _ if asked.is_rebalanced => return,
        std::cmp::Ordering::Greater => Anomaly::PollSkip,
        std::cmp::Ordering::Less => Anomaly::NonmonotonicPoll,
    };
    let lines = [asked.invoked.line, asked.done.line];
    out.report(anomaly, &log.name, &[expected, offset], &lines, || {
        format!("the read was to begin at {expected} and began at {offset}")
    });
}

fn follows(log: &Log, asked: &Asked, before: u64, offset: u64, out: &mut Findings) {
    let anomaly = match offset.cmp(&before.saturating_add(1)) {
        std::cmp::Ordering::Equal => return,
        _ if asked.is_rebalanced => return,
        std::cmp::Ordering::Greater => Anomaly::IntPollSkip,
        std::cmp::Ordering::Less => Anomaly::IntNonmonotonicPoll,
    };
    out.report(anomaly, &log.name, &[before, offset], &[asked.done.line], || {
        format!("one poll returned {before} and next {offset}")
    });
}

/// What an answer proves: which offsets were looked at, and where the log ends at least.
fn prove(log: &mut Log, asked: &Asked, polled: &Polled, span: Option<(u64, u64)>, is_final: bool) {
    // A fetch beyond the end would have been refused.
    let reached = asked.expected.filter(|_| asked.is_fetch);
    if let Some(end) = polled.high_watermark.max(reached)
        && end > log.high_watermark
    {
        log.high_watermark = end;
        log.ends.push(End { invoked: None, done: asked.done, end });
    }
    if is_final {
        log.final_end = log.final_end.max(polled.high_watermark);
    }
    let kept_from = polled.log_start.unwrap_or_default().max(log.log_start);
    if let Some((first, last)) = span {
        let from = asked.expected.unwrap_or(first).max(kept_from.min(first));
        log.covered.add(from, last.saturating_add(1));
        if is_final {
            log.final_covered.add(from, last.saturating_add(1));
        }
    }
    log.raise_log_start(polled.log_start.unwrap_or_default());
}
