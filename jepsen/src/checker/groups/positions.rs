//! A committed position is a register: it holds what was committed last, and nothing else.

use std::collections::{BTreeMap, HashMap};

use super::super::Anomaly;
use super::super::family::{Answer, Completed, Family, Moment};
use super::super::finding::Findings;
use super::super::run::{Course, Run};
use super::{Share, shown};
use crate::history::{Call, Membership, Outcome, Partition};

/// A commit, or an acknowledgement, which commits at least the offset behind its record.
#[derive(Clone, Copy, Debug)]
struct Write {
    offset: u64,
    invoked: Moment,
    done: Moment,
    is_failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    offset: Option<u64>,
    invoked: Moment,
    done: Moment,
}

#[derive(Debug, Default)]
struct Register {
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// Acknowledgements hide the exact position: only the lower bound is known.
    has_acks: bool,
}

/// Committed positions.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    registers: HashMap<Share, Register>,
}

impl Family for Positions {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, _out: &mut Findings) {
        match &op.open.call {
            Call::Commit { by, offsets, .. } => {
                for (partition, offset) in offsets {
                    self.write(by, partition, (*offset, false), op);
                }
            }
            Call::Ack { by, partition, offset } => {
                self.write(by, partition, (offset.saturating_add(1), true), op);
            }
            Call::FetchCommitted { group, .. } => {
                let Some(Outcome::Positions { offsets }) = op.answer.ok() else { return };
                for (partition, offset) in offsets {
                    let read = Read { offset: *offset, invoked: op.open.invoked, done: op.done };
                    self.register(group, partition).reads.push(read);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        let mut registers: Vec<_> = self.registers.iter_mut().collect();
        registers.sort_by(|one, two| one.0.cmp(two.0));
        for ((group, partition), register) in registers {
            register.check(&shown(group, partition), &run.course, out);
        }
    }
}

impl Positions {
    fn register(&mut self, group: &str, partition: &Partition) -> &mut Register {
        self.registers.entry((group.to_owned(), partition.clone())).or_default()
    }

    fn write(
        &mut self,
        by: &Membership,
        partition: &Partition,
        (offset, is_ack): (u64, bool),
        op: &Completed<'_>,
    ) {
        let is_refused = match op.answer {
            Answer::Fail(_) => true,
            Answer::Ok(Outcome::Committed { refused }) => refused.contains(partition),
            Answer::Ok(_) | Answer::Unclear => false,
        };
        let done = if op.answer.ok().is_some() { op.done } else { Moment::NEVER };
        let register = self.register(&by.group, partition);
        register.has_acks |= is_ack;
        let invoked = op.open.invoked;
        register.writes.push(Write { offset, invoked, done, is_failed: is_refused });
    }
}

impl Register {
    fn check(&mut self, subject: &str, course: &Course, out: &mut Findings) {
        self.reads.sort_by_key(|read| read.invoked);
        let clusters = self.clusters();
        let mut facts: Vec<Fact> =
            clusters.iter().flat_map(|(offset, cluster)| cluster.facts(*offset)).collect();
        facts.sort_by_key(|fact| fact.known);
        let (mut next, mut latest) = (0, Latest { by_offset: self.has_acks, best: [None; 2] });
        for read in &self.reads {
            while let Some(fact) = facts.get(next).filter(|fact| fact.known < read.invoked) {
                latest.learn(*fact);
                next += 1;
            }
            let cluster = read.offset.and_then(|offset| clusters.get(&offset));
            let began = |write: &&Write| write.invoked < read.done;
            let has_commit = cluster.is_some_and(|cluster| {
                cluster.writes.iter().filter(began).any(|one| !one.is_failed)
            });
            if read.offset.is_some() && !has_commit {
                let refused = cluster.and_then(|cluster| cluster.writes.iter().find(began));
                phantom(subject, read, refused, out);
            } else if let Some(other) = latest.other_than(read.offset) {
                let over = cluster.map(Cluster::over).unwrap_or_default();
                let is_stale = match read.offset {
                    Some(offset) if self.has_acks => offset < other.offset,
                    _ => over < other.began,
                };
                if is_stale {
                    stale(subject, read, other, course, out);
                }
            }
        }
    }

    /// What was written and read, by offset.
    fn clusters(&self) -> BTreeMap<u64, Cluster> {
        let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
        for write in &self.writes {
            clusters.entry(write.offset).or_default().writes.push(*write);
        }
        for read in &self.reads {
            if let Some(cluster) = read.offset.and_then(|offset| clusters.get_mut(&offset)) {
                cluster.reads.push(*read);
            }
        }
        clusters
    }
}

/// Everything about one offset.
///
/// When it was committed once, it was in force without a break from the first answer about it
/// to the last call about it; two offsets cannot both have been (Gibbons and Korach, "Testing
/// shared memories"). When it was committed several times each call counts for itself.
#[derive(Debug, Default)]
struct Cluster {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

impl Cluster {
    fn commits(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(|write| !write.is_failed)
    }

    /// Calls about the offset: when each began and ended.
    fn calls(&self) -> impl Iterator<Item = (Moment, Moment)> {
        let writes = self.commits().map(|write| (write.invoked, write.done));
        writes.chain(self.reads.iter().map(|read| (read.invoked, read.done)))
    }

    fn facts(&self, offset: u64) -> Vec<Fact> {
        let fact = |(began, known)| Fact { began, known, offset };
        let ended = self.calls().filter(|(_, known)| *known != Moment::NEVER);
        if self.commits().count() != 1 {
            return ended.map(fact).collect();
        }
        let known = ended.map(|(_, known)| known).min();
        let began = self.calls().map(|(began, _)| began).max();
        began.zip(known).map(fact).into_iter().collect()
    }

    /// When every commit of the offset had taken effect at the latest.
    fn over(&self) -> Moment {
        if self.commits().count() == 1 {
            return self.calls().map(|(_, done)| done).min().unwrap_or_default();
        }
        self.commits().map(|write| write.done).max().unwrap_or_default()
    }
}

/// An offset was in force at some moment after `began`, known at `known`.
#[derive(Clone, Copy, Debug)]
struct Fact {
    began: Moment,
    known: Moment,
    offset: u64,
}

/// The newest facts about two different offsets.
#[derive(Debug)]
struct Latest {
    /// Acknowledgements only go forward: the newest is the greatest.
    by_offset: bool,
    best: [Option<Fact>; 2],
}

impl Latest {
    fn is_newer(&self, fact: Fact, than: Option<Fact>) -> bool {
        than.is_none_or(|than| {
            if self.by_offset { fact.offset > than.offset } else { fact.began > than.began }
        })
    }

    fn learn(&mut self, fact: Fact) {
        let [first, second] = self.best;
        if self.is_newer(fact, first) {
            let is_same = first.is_some_and(|first| first.offset == fact.offset);
            self.best = [Some(fact), if is_same { second } else { first }];
        } else if first.is_some_and(|first| first.offset != fact.offset)
            && self.is_newer(fact, second)
        {
            self.best[1] = Some(fact);
        }
    }

    fn other_than(&self, offset: Option<u64>) -> Option<Fact> {
        self.best.into_iter().flatten().find(|fact| Some(fact.offset) != offset)
    }
}

fn stale(subject: &str, read: &Read, other: Fact, course: &Course, out: &mut Findings) {
    let in_fault = course.fault_between(other.began, read.done, |_| true).is_some();
    let anomaly = if in_fault { Anomaly::CommitLostInFault } else { Anomaly::CommitRegister };
    let offsets: Vec<u64> = [other.offset].into_iter().chain(read.offset).collect();
    let lines = [other.began.line, other.known.line, read.invoked.line, read.done.line];
    out.report(anomaly, &subject, &offsets, &lines, || {
        format!("position {} was committed, yet {:?} was read", other.offset, read.offset)
    });
}

fn phantom(subject: &str, read: &Read, refused: Option<&Write>, out: &mut Findings) {
    let offset = read.offset.unwrap_or_default();
    let (anomaly, line) = match refused {
        Some(write) => (Anomaly::StaleCommit, write.invoked.line),
        None => (Anomaly::PhantomCommit, 0),
    };
    out.report(anomaly, &subject, &[offset], &[line, read.done.line], || match refused {
        Some(_) => format!("position {offset} was read although its commit was refused"),
        None => format!("position {offset} was read and nobody had committed it"),
    });
}
