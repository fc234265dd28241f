//! At the end: is everything there that must be, and nothing that must not?

use super::Anomaly;
use super::family::Family;
use super::finding::Findings;
use super::log::{Append, Log, Sent, Slot, Status};
use super::run::{Course, Run};
use crate::history::Acks;

/// Lost, refused and foreign values.
#[derive(Debug)]
pub(crate) struct Presence;

impl Family for Presence {
    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        for log in &run.logs.all {
            let highest = log.slots.iter().rev().find(|(_, slot)| slot.first_read.is_some());
            let highest = highest.map(|(offset, _)| *offset);
            for append in log.appends.iter().filter(|append| append.retry_of.is_none()) {
                match (append.status, append.acks) {
                    (Status::Fail, _) => aborted(log, append, out),
                    (Status::Ok, Acks::Leader) => provisional(log, append, &run.course, out),
                    (Status::Ok, Acks::None) => unconfirmed(log, append, out),
                    _ => lost(log, append, highest, out),
                }
            }
            strangers(log, &run.logs.all, out);
        }
    }
}

fn values<'a>(log: &'a Log, append: &Append) -> impl Iterator<Item = (u64, &'a Sent)> {
    (0..).zip(&log.sent[append.first..append.first + append.count])
}

fn line_at(log: &Log, offset: Option<u64>) -> u64 {
    offset.and_then(|offset| log.slots.get(&offset)).map_or(0, |slot| slot.line)
}

fn aborted(log: &Log, append: &Append, out: &mut Findings) {
    for (_, sent) in values(log, append).filter(|(_, sent)| sent.read) {
        let lines = [append.invoked.line, append.done.line, line_at(log, sent.seen_at)];
        let offset = sent.seen_at.unwrap_or_default();
        out.report(Anomaly::AbortedRead, &log.name, &[offset], &lines, || {
            format!("value {} was read although its append was refused", sent.id)
        });
    }
}

/// Lost, when a reader passed over the place, or the final reads found nothing there.
fn lost(log: &Log, append: &Append, highest: Option<u64>, out: &mut Findings) {
    let Some(base) = log.base_of(append) else { return };
    for (place, sent) in values(log, append).filter(|(_, sent)| !sent.read) {
        let offset = base.saturating_add(place);
        let is_later_read = highest.is_some_and(|highest| highest > offset);
        let anomaly = if offset < log.log_start {
            continue;
        } else if is_later_read && (log.covered.contains(offset) || log.is_read_to_the_end()) {
            Anomaly::LostWrite
        } else if log.is_read_to_the_end() {
            Anomaly::Unseen
        } else {
            continue;
        };
        let lines = [append.invoked.line, append.done.evidence()];
        out.report(anomaly, &log.name, &[offset], &lines, || {
            format!("value {} belongs at offset {offset} and no read returned it", sent.id)
        });
    }
}

/// An acknowledgement by the leader alone stands as long as the leader does.
fn provisional(log: &Log, append: &Append, course: &Course, out: &mut Findings) {
    let Some(base) = append.offset else { return };
    for (place, sent) in values(log, append) {
        let offset = base.saturating_add(place);
        let is_in_place = sent.read && sent.seen_at == Some(offset);
        let is_judged = log.covered.contains(offset) || log.is_read_to_the_end();
        if is_in_place || !is_judged || offset < log.log_start {
            continue;
        }
        if course.leader_disturbed_after(&log.name, append.invoked) {
            out.note("leader-acknowledged records lost or moved by a change of leader", 1);
        } else {
            let lines = [append.invoked.line, append.done.line, line_at(log, sent.seen_at)];
            out.report(Anomaly::LeaderAckLost, &log.name, &[offset], &lines, || {
                format!("value {} is not at {offset} although its leader stayed", sent.id)
            });
        }
    }
}

fn unconfirmed(log: &Log, append: &Append, out: &mut Findings) {
    if log.is_read_to_the_end() {
        let lost = values(log, append).filter(|(_, sent)| !sent.read).count() as u64;
        out.note("unacknowledged records lost", lost);
    }
}

fn strangers(log: &Log, all: &[Log], out: &mut Findings) {
    let here = log.strangers.iter().filter(|(_, value, _)| !log.by_value.contains_key(&value.0));
    for (offset, value, line) in here {
        let home = all.iter().find(|other| other.by_value.contains_key(&value.0));
        let Some(home) = home else {
            out.report(Anomaly::Phantom, &log.name, &[*offset], &[*line], || {
                format!("value {} at offset {offset} was never sent", value.0)
            });
            continue;
        };
        let is_other_life = home.name.topic_name() == log.name.topic_name()
            && home.name.topic() != log.name.topic();
        let anomaly = if is_other_life { Anomaly::TopicLifecycle } else { Anomaly::WrongPartition };
        let sent = home.by_value[&value.0];
        let lines = [home.appends[home.sent[sent].append].invoked.line, *line];
        out.report(anomaly, &log.name, &[*offset], &lines, || {
            format!("value {} was sent to {}", value.0, home.name)
        });
    }
}

/// Ties values to their appends that were read before they were sent.
pub(crate) fn adopt_early_reads(log: &mut Log) {
    for (offset, value, _) in &log.strangers {
        let Some(place) = log.by_value.get(&value.0).copied() else { continue };
        log.slots.entry(*offset).and_modify(|slot: &mut Slot| slot.sent = Some(place));
        log.sent[place].read = true;
        log.sent[place].seen_at.get_or_insert(*offset);
    }
}
