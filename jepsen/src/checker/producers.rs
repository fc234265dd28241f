//! Idempotent producers: a sequence is written once, in order, and a retry is answered alike.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Completed, Family, Moment};
use super::finding::Findings;
use super::log::{Append, Log, Slot, Status};
use super::run::Run;
use crate::history::{Limits, Outcome, Stamp};

/// Batches of a producer that a partition must remember.
const REMEMBERED: usize = 5;

/// The broker's words for "I do not know this producer's sequence".
const FORGOTTEN: [&str; 2] = ["OUT_OF_ORDER_SEQUENCE", "UNKNOWN_PRODUCER"];

/// Idempotent producers.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    // Producer id to the process that got it, its epoch and the line.
    given: HashMap<u64, (u64, u16, u64)>,
}

impl Family for Producers {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, out: &mut Findings) {
        let Some(Outcome::Producer { id, epoch }) = op.answer.ok() else { return };
        let process = op.open.process;
        let before = self.given.insert(*id, (process, *epoch, op.done.line));
        let Some((owner, older, line)) = before else { return };
        if owner != process || *epoch <= older {
            out.report(Anomaly::SharedProducerId, id, &[], &[line, op.done.line], || {
                format!("producer id {id} went to process {owner} and to process {process}")
            });
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        for log in &run.logs.all {
            along_the_log(log, out);
            Answers::new(log).check(&run.limits, out);
        }
    }
}

/// What lies in the log of one producer so far.
struct Last {
    stamp: Stamp,
    line: u64,
    holes: u64,
}

fn along_the_log(log: &Log, out: &mut Findings) {
    let mut last: HashMap<u64, Last> = HashMap::new();
    let (mut holes, mut next) = (0, 0);
    for (offset, slot) in &log.slots {
        holes += u64::from(*offset != next);
        next = offset.saturating_add(1);
        let Some(stamp) = slot.stamp else {
            // Known by an acknowledgement alone: it may be anybody's, as what lies in a hole.
            holes += 1;
            continue;
        };
        match last.get(&stamp.id) {
            Some(before) => step(log, before, (*offset, slot, stamp), holes, out),
            None if stamp.sequence != 0 && holes == 0 => {
                gap(log, (*offset, slot, stamp), 0, out);
            }
            None => {}
        }
        let is_newest = last.get(&stamp.id).is_none_or(|before| before.stamp.epoch <= stamp.epoch);
        if is_newest {
            last.insert(stamp.id, Last { stamp, line: slot.line, holes });
        }
    }
}

fn step(
    log: &Log,
    before: &Last,
    (offset, slot, stamp): (u64, &Slot, Stamp),
    holes: u64,
    out: &mut Findings,
) {
    let lines = [before.line, slot.line];
    if stamp.epoch < before.stamp.epoch {
        out.report(Anomaly::FencedAppend, &log.name, &[offset], &lines, || {
            format!("producer {} wrote with epoch {} again", stamp.id, stamp.epoch)
        });
        return;
    }
    let expected =
        if stamp.epoch > before.stamp.epoch { 0 } else { before.stamp.after(1).sequence };
    if stamp.sequence == expected {
        return;
    }
    let twin = log.slots.range(..offset).find(|(_, other)| other.stamp == Some(stamp));
    if let Some((twin, other)) = twin {
        let lines = [other.line, slot.line];
        out.report(Anomaly::RepeatedSequence, &log.name, &[*twin, offset], &lines, || {
            format!("sequence {} of producer {} lies there twice", stamp.sequence, stamp.id)
        });
    } else if before.holes == holes {
        gap(log, (offset, slot, stamp), before.line, out);
    }
}

fn gap(log: &Log, (offset, slot, stamp): (u64, &Slot, Stamp), before: u64, out: &mut Findings) {
    out.report(Anomaly::SequenceGap, &log.name, &[offset], &[before, slot.line], || {
        format!("sequence {} of producer {} does not follow", stamp.sequence, stamp.id)
    });
}

/// What producers were answered.
struct Answers<'a> {
    log: &'a Log,
    /// All appends of one producer and epoch.
    of: HashMap<(u64, u16), Vec<&'a Append>>,
    /// The stamp behind an append to the first moment such an append began, and was confirmed.
    behind: HashMap<Stamp, (Moment, Moment)>,
}

impl<'a> Answers<'a> {
    fn new(log: &'a Log) -> Self {
        let mut of: HashMap<_, Vec<&Append>> = HashMap::new();
        let mut behind = HashMap::new();
        for append in &log.appends {
            let Some(stamp) = append.producer else { continue };
            of.entry((stamp.id, stamp.epoch)).or_default().push(append);
            if append.status == Status::Fail {
                continue;
            }
            let known =
                behind.entry(stamp.after(append.count)).or_insert((Moment::NEVER, Moment::NEVER));
            known.0 = append.invoked.min(known.0);
            if append.status == Status::Ok {
                known.1 = append.done.min(known.1);
            }
        }
        Self { log, of, behind }
    }

    fn check(&self, limits: &Limits, out: &mut Findings) {
        for append in &self.log.appends {
            let Some(stamp) = append.producer else { continue };
            match append.status {
                Status::Ok => self.accepted(append, stamp, out),
                Status::Fail => self.refused(append, stamp, limits, out),
                Status::Unclear => {}
            }
            if append.retry_of.is_some() {
                self.retried(append, stamp, out);
            }
        }
    }

    fn accepted(&self, append: &Append, stamp: Stamp, out: &mut Findings) {
        let follows = self.behind.get(&stamp).is_some_and(|(began, _)| *began < append.done);
        if stamp.sequence != 0 && !follows {
            let lines = [append.invoked.line, append.done.line];
            out.report(Anomaly::GapAccepted, &self.log.name, &[], &lines, || {
                format!("sequence {} of producer {} follows nothing", stamp.sequence, stamp.id)
            });
        }
    }

    fn is_forgotten(append: &Append) -> bool {
        append.code.as_deref().is_some_and(|code| FORGOTTEN.contains(&code))
    }

    fn refused(&self, append: &Append, stamp: Stamp, limits: &Limits, out: &mut Findings) {
        let Some((_, confirmed)) = self.behind.get(&stamp) else { return };
        let silence = append.invoked.at.saturating_sub(confirmed.at) / 1_000_000;
        let is_expired = limits.producer_expiry_ms > 0 && silence >= limits.producer_expiry_ms;
        let is_next = *confirmed < append.invoked && append.retry_of.is_none();
        if is_next && !is_expired && Self::is_forgotten(append) {
            let lines = [confirmed.evidence(), append.invoked.line, append.done.line];
            out.report(Anomaly::ProducerForgotten, &self.log.name, &[], &lines, || {
                format!("sequence {} of producer {} was next", stamp.sequence, stamp.id)
            });
        }
    }

    fn retried(&self, append: &Append, stamp: Stamp, out: &mut Findings) {
        let all = &self.of[&(stamp.id, stamp.epoch)];
        let original = all.iter().find(|one| {
            one.producer == Some(stamp) && one.status == Status::Ok && one.done < append.invoked
        });
        let Some(original) = original else { return };
        let newer = all.iter().filter(|one| {
            let sequence = one.producer.map_or(0, |other| other.sequence);
            one.retry_of.is_none() && sequence > stamp.sequence && one.invoked < append.done
        });
        let is_wrong = match append.status {
            Status::Ok => append.offset != original.offset,
            Status::Fail => Self::is_forgotten(append) && newer.count() < REMEMBERED,
            Status::Unclear => false,
        };
        if is_wrong {
            let offsets: Vec<u64> = original.offset.into_iter().chain(append.offset).collect();
            let lines = [original.done.line, append.invoked.line, append.done.line];
            out.report(Anomaly::RetryMoved, &self.log.name, &offsets, &lines, || {
                format!("the retry of sequence {} was answered otherwise", stamp.sequence)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::{Anomaly, Checker};
    use crate::history::Reader;

    const HEAD: &str = r#"{"at":0,"process":0,"event":{"start":{"version":1,"name":"stamps"}}}"#;
    /// An append without a stamp that is acknowledged at offset 1.
    const ACKED: &str = r#"{"at":1,"process":1,"event":{"invoke":{"id":1,"call":{"append":{"partition":"a/0","values":[[2,1]]}}}}}
{"at":2,"process":1,"event":{"ok":{"id":1,"outcome":{"appended":{"offset":1}}}}}"#;

    /// A read of the offset with the sequence of one producer.
    fn read(offset: u64, sequence: u64) -> String {
        let id = offset + 10;
        format!(
            r#"{{"at":5,"process":2,"event":{{"invoke":{{"id":{id},"call":{{"poll":{{"reads":[["a/0",{offset}]]}}}}}}}}}}
{{"at":5,"process":2,"event":{{"ok":{{"id":{id},"outcome":{{"polled":{{"partitions":[{{"partition":"a/0","batches":[{{"offset":{offset},"producer":{{"id":7,"epoch":0,"sequence":{sequence}}},"values":[[{id},1]]}}]}}]}}}}}}}}}}"#
        )
    }

    fn gaps(lines: &[&str]) -> u64 {
        let text = format!("{HEAD}\n{}\n", lines.join("\n"));
        let report = Checker::check(Reader::new(text.as_bytes())).unwrap();
        report.counts_by_anomaly.get(&Anomaly::SequenceGap).copied().unwrap_or_default()
    }

    #[test]
    fn a_record_that_nobody_read_may_be_the_one_that_seems_to_be_missing() {
        assert_eq!(gaps(&[ACKED, &read(0, 0), &read(2, 2)]), 0);
        assert_eq!(gaps(&[&read(0, 0), &read(1, 2)]), 1, "nothing lies between them");
        assert_eq!(
            gaps(&[ACKED, &read(0, 0), &read(2, 2), &read(3, 4)]),
            1,
            "behind it all is known"
        );
    }
}
