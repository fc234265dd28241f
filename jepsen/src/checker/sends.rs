//! Appends keep their order: inside a batch, and from call to call of a process.

use std::collections::HashMap;

use super::Anomaly;
use super::family::Family;
use super::finding::Findings;
use super::log::{Append, Log, Status};
use super::run::Run;

/// Order of appends.
#[derive(Debug)]
pub(crate) struct Sends;

impl Family for Sends {
    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        for log in &run.logs.all {
            let mut last_of: HashMap<u64, (usize, u64)> = HashMap::new();
            for (place, append) in log.appends.iter().enumerate() {
                if append.retry_of.is_some() || append.status == Status::Fail {
                    continue;
                }
                inside(log, append, out);
                let Some(base) = log.base_of(append) else { continue };
                let before = last_of.insert(append.process, (place, base));
                if let Some((before, before_base)) = before {
                    between(log, (&log.appends[before], before_base), (append, base), out);
                }
            }
        }
    }
}

fn inside(log: &Log, append: &Append, out: &mut Findings) {
    let values = &log.sent[append.first..append.first + append.count];
    for pair in values.windows(2) {
        let (Some(one), Some(two)) = (pair[0].seen_at, pair[1].seen_at) else { continue };
        if two <= one {
            let lines = [append.invoked.line, append.done.evidence()];
            out.report(Anomaly::IntNonmonotonicSend, &log.name, &[one, two], &lines, || {
                format!("value {} lies at {one}, the next of its batch at {two}", pair[0].id)
            });
        } else if two > one + 1 {
            out.note("A10 int-send-skip: records of one append apart", 1);
        }
    }
}

fn between(
    log: &Log,
    (one, one_base): (&Append, u64),
    (two, two_base): (&Append, u64),
    out: &mut Findings,
) {
    let same_producer = match (one.producer, two.producer) {
        (Some(one), Some(two)) => (one.id, one.epoch) == (two.id, two.epoch),
        _ => false,
    };
    let in_turn = one.done < two.invoked;
    if (in_turn || same_producer) && two_base <= one_base {
        let lines = [one.invoked.line, two.invoked.line];
        out.report(Anomaly::NonmonotonicSend, &log.name, &[one_base, two_base], &lines, || {
            format!("process {} sent to {one_base} and then to {two_base}", one.process)
        });
    }
}
