//! The log start only rises, by the rules, and what lies below it is gone.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Answer, Completed, Family, Moment, Seen};
use super::finding::Findings;
use super::run::Run;
use super::timeline::Rising;
use crate::history::{
    Call, Event, Failure, Outcome, Partition, Polled, SizeSeen, TopicSettings, TrimCause, Trimmed,
};

/// The error of a read outside the log.
const OUT_OF_RANGE: &str = "OFFSET_OUT_OF_RANGE";

/// Log starts and deletions.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    settings: HashMap<String, TopicSettings>,
    // Log starts by linearizable answers.
    starts: HashMap<Partition, Rising>,
    // Log starts that a node itself has shown.
    shown: HashMap<(Partition, Option<u64>), Rising>,
    // Since when a log is above its size limit.
    above: HashMap<(Partition, Option<u64>), Moment>,
    // Greatest log start that was asked for by call.
    requested: HashMap<Partition, u64>,
}

impl Family for Retention {
    fn invoked(&mut self, open: &super::family::Open, _run: &mut Run, _out: &mut Findings) {
        if let Call::DeleteRecords { partition, before } = &open.call {
            let asked = self.requested.entry(partition.clone()).or_default();
            *asked = (*asked).max(*before);
        }
    }

    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, out: &mut Findings) {
        match (&op.open.call, op.answer) {
            (
                Call::ListOffsets { partition } | Call::DeleteRecords { partition, .. },
                Answer::Ok(Outcome::Offsets { log_start, .. } | Outcome::Deleted { log_start }),
            ) => {
                self.start(partition, *log_start, op, out);
                run.logs.get_mut(partition).raise_log_start(*log_start);
            }
            (Call::Poll { reads, .. }, Answer::Ok(Outcome::Polled { partitions })) => {
                for polled in partitions {
                    let asked = reads.iter().find(|(name, _)| *name == polled.partition);
                    self.read((polled, asked.map(|(_, from)| *from)), op, run, out);
                }
            }
            (Call::Poll { reads, .. }, Answer::Fail(error)) if error.code == OUT_OF_RANGE => {
                if let [(partition, from)] = reads.as_slice() {
                    out_of_range(partition, *from, error, op, out);
                }
            }
            _ => {}
        }
    }

    fn observed(&mut self, seen: &Seen<'_>, run: &mut Run, out: &mut Findings) {
        match seen.event {
            Event::Topic(settings) => {
                self.settings.insert(settings.topic.clone(), settings.clone());
            }
            Event::Trimmed(trimmed) => {
                self.judge(trimmed, seen, run, out);
                self.show(&trimmed.partition, seen.node, seen.now, trimmed.log_start);
                run.logs.get_mut(&trimmed.partition).raise_log_start(trimmed.log_start);
            }
            Event::Size(size) => self.measure(size, seen, out),
            Event::Replica(state) => {
                self.show(&state.partition, seen.node, seen.now, state.log_start);
            }
            _ => {}
        }
    }
}

impl Retention {
    fn show(&mut self, partition: &Partition, node: Option<u64>, now: Moment, log_start: u64) {
        if log_start > 0 {
            self.shown.entry((partition.clone(), node)).or_default().learn(now, log_start);
        }
    }

    fn start(
        &mut self,
        partition: &Partition,
        log_start: u64,
        op: &Completed<'_>,
        out: &mut Findings,
    ) {
        let known = self.starts.entry(partition.clone()).or_default();
        if let Some((since, before)) = known.before(op.open.invoked)
            && log_start < before
        {
            let lines = [since.line, op.done.line];
            out.report(Anomaly::LogStartWentBack, partition, &[before, log_start], &lines, || {
                format!("the log start went from {before} to {log_start}")
            });
        }
        known.learn(op.done, log_start);
        self.show(partition, op.open.node, op.done, log_start);
    }

    fn read(
        &mut self,
        (polled, asked): (&Polled, Option<u64>),
        op: &Completed<'_>,
        run: &Run,
        out: &mut Findings,
    ) {
        let name = &polled.partition;
        let by_node = self.shown.get(&(name.clone(), op.open.node));
        let mut known = by_node.and_then(|shown| shown.before(op.open.invoked));
        if run.course.in_final_reads() {
            let agreed = self.starts.get(name).and_then(|all| all.before(op.open.invoked));
            known = known.into_iter().chain(agreed).max_by_key(|(_, start)| *start);
        }
        if let Some((since, start)) = known {
            let lines = [since.line, op.open.invoked.line, op.done.line];
            let lowest = polled.batches.iter().map(|batch| batch.offset).min();
            if let Some(offset) = lowest.filter(|offset| *offset < start) {
                out.report(Anomaly::Resurrection, name, &[start, offset], &lines, || {
                    format!("offset {offset} was read although the log began at {start}")
                });
            } else if let Some(from) = asked.filter(|from| *from < start) {
                out.report(Anomaly::BelowStart, name, &[start, from], &lines, || {
                    format!("a fetch from {from} below the log start {start} was answered")
                });
            }
        }
        self.show(name, op.open.node, op.done, polled.log_start.unwrap_or_default());
    }

    fn judge(&self, trimmed: &Trimmed, seen: &Seen<'_>, run: &Run, out: &mut Findings) {
        let (partition, to) = (&trimmed.partition, trimmed.log_start);
        let line = seen.now.line;
        let mut breach = |anomaly, lines: &[u64], why: String| {
            out.report(anomaly, partition, &[to], lines, || why);
        };
        if trimmed.active_segment.is_some_and(|active| to > active) {
            breach(Anomaly::DeletedTooEarly, &[line], "the active segment was deleted".to_owned());
        }
        let settings = self.settings.get(partition.topic());
        match trimmed.cause {
            TrimCause::Request => {
                if self.requested.get(partition).is_none_or(|asked| *asked < to) {
                    breach(Anomaly::DeletedTooEarly, &[line], format!("nobody asked for {to}"));
                }
            }
            TrimCause::Size => {
                let limit = settings.and_then(|settings| settings.retention_bytes);
                let left = trimmed.bytes_left;
                if limit.is_none_or(|limit| left.is_some_and(|left| left < limit)) {
                    let why = format!("{left:?} bytes were left, the limit is {limit:?}");
                    breach(Anomaly::DeletedTooEarly, &[line], why);
                }
            }
            TrimCause::Time => {
                let limit = settings.and_then(|settings| settings.retention_ms);
                if let Some((anomaly, lines, why)) = too_young(trimmed, limit, seen.now, run) {
                    breach(anomaly, &lines, why);
                }
            }
        }
    }

    fn measure(&mut self, size: &SizeSeen, seen: &Seen<'_>, out: &mut Findings) {
        let Some(settings) = self.settings.get(size.partition.topic()) else { return };
        let Some(limit) = settings.retention_bytes else { return };
        let key = (size.partition.clone(), seen.node);
        if size.bytes <= limit.saturating_add(settings.segment_bytes) {
            self.above.remove(&key);
            return;
        }
        let since = *self.above.entry(key).or_insert(seen.now);
        let lasted_ms = (seen.now.at - since.at) / 1_000_000;
        if lasted_ms > settings.check_interval_ms {
            let lines = [since.line, seen.now.line];
            out.report(Anomaly::SizeBound, &size.partition, &[], &lines, || {
                format!("{} bytes with a limit of {limit}, for {lasted_ms} ms", size.bytes)
            });
        }
    }
}

/// The youngest record that was deleted must have the age, by the clock that never jumps.
fn too_young(
    trimmed: &Trimmed,
    limit: Option<u64>,
    now: Moment,
    run: &Run,
) -> Option<(Anomaly, Vec<u64>, String)> {
    let Some(limit) = limit else {
        let why = "the topic has no age limit".to_owned();
        return Some((Anomaly::DeletedTooEarly, vec![now.line], why));
    };
    let log = run.logs.get(&trimmed.partition)?;
    let (_, youngest) = log.slots.range(..trimmed.log_start).next_back()?;
    let sent = log.append_at(youngest)?.invoked;
    let age_ms = (now.at - sent.at) / 1_000_000;
    if age_ms >= limit {
        return None;
    }
    let jumped = run.course.fault_between(sent, now, |fault| fault.name.contains("clock"));
    let anomaly =
        if jumped.is_some() { Anomaly::ClockJumpDeletes } else { Anomaly::DeletedTooEarly };
    let jumped = jumped.map_or(0, |at| at.line);
    let why = format!("a record of {age_ms} ms was deleted, the limit is {limit} ms");
    Some((anomaly, vec![sent.line, jumped, now.line], why))
}

/// The error must name bounds, and the offset must lie outside of them.
fn out_of_range(
    partition: &Partition,
    from: u64,
    error: &Failure,
    op: &Completed<'_>,
    out: &mut Findings,
) {
    let why = match (error.log_start, error.high_watermark) {
        (Some(start), Some(end)) if (start..=end).contains(&from) => {
            format!("{from} is called out of range, and {start}..={end} is the range")
        }
        (Some(_), Some(_)) => return,
        _ => "the error names no bounds".to_owned(),
    };
    out.report(Anomaly::BelowStart, partition, &[from], &op.lines(), || why);
}
