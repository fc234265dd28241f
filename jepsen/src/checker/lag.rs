//! How stale answers were: an end that was known to be passed long before.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Completed, Family};
use super::finding::Findings;
use super::run::Run;
use super::timeline::Rising;
use crate::history::{Call, Outcome, Partition, Phase};

/// How stale answers were.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    ends: HashMap<Partition, Rising>,
}

impl Family for Lag {
    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, out: &mut Findings) {
        match (&op.open.call, op.answer.ok()) {
            (
                Call::Append { partition, values, .. },
                Some(Outcome::Appended { offset: Some(offset) }),
            ) => {
                let is_final =
                    run.logs.get(partition).is_some_and(|log| log.slots.contains_key(offset));
                if is_final {
                    self.learn(partition, op, offset.saturating_add(values.len() as u64));
                }
            }
            (_, Some(Outcome::Polled { partitions })) => {
                for polled in partitions {
                    let Some(end) = polled.high_watermark else { continue };
                    self.judge((&polled.partition, end), op, run, out);
                    self.learn(&polled.partition, op, end);
                }
            }
            _ => {}
        }
    }
}

impl Lag {
    fn learn(&mut self, partition: &Partition, op: &Completed<'_>, end: u64) {
        match self.ends.get_mut(partition) {
            Some(known) => known.learn(op.done, end),
            None => self.ends.entry(partition.clone()).or_default().learn(op.done, end),
        }
    }

    fn judge(
        &self,
        (partition, end): (&Partition, u64),
        op: &Completed<'_>,
        run: &Run,
        out: &mut Findings,
    ) {
        let passed = self.ends.get(partition).and_then(|known| known.first_above(end));
        let Some(passed) = passed.filter(|passed| *passed < op.open.invoked) else { return };
        let lag_ms = (op.open.invoked.at - passed.at) / 1_000_000;
        out.note_max("worst real-time lag in ms", lag_ms);
        let limit = run.limits.lag_ms_max;
        let healed = run.course.began(Phase::Healed);
        let is_calm = healed.is_some_and(|healed| {
            op.open.invoked.at > healed.at.saturating_add(run.limits.heal_ms * 1_000_000)
        });
        if limit > 0 && is_calm && lag_ms > limit {
            let lines = [passed.line, op.done.line];
            out.report(Anomaly::ReadLag, partition, &[end], &lines, || {
                format!("the high watermark {end} was passed {lag_ms} ms before the read")
            });
        }
    }
}
