//! Every record at least once, and again only from the committed position on.

use std::collections::HashMap;

use super::super::Anomaly;
use super::super::family::{Answer, Completed, Family, Open, Seen};
use super::super::finding::Findings;
use super::super::interval::Offsets;
use super::super::run::Run;
use super::{Share, shown};
use crate::history::{Call, Event, Membership, Outcome, Partition, Polled, Starts};

/// What a group got of one partition.
#[derive(Debug, Default)]
struct Delivered {
    all: Offsets,
    /// The position that is certainly committed, as far as commits are known.
    floor: u64,
    /// Greatest position that anybody asked to commit.
    asked: Option<u64>,
    /// Greatest position that was committed.
    confirmed: Option<u64>,
}

/// A member's view of one partition.
#[derive(Debug, Default)]
struct View {
    /// The floor when the partition was assigned.
    floor: u64,
    /// Nothing was delivered since the assignment.
    is_new: bool,
    /// Everything below was handled: a later poll was called.
    handled: Option<u64>,
    /// Where the next poll goes on.
    next: u64,
}

/// What groups got.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    shares: HashMap<Share, Delivered>,
    views: HashMap<(u64, Partition), View>,
    starts: HashMap<String, Starts>,
}

impl Family for Delivery {
    fn invoked(&mut self, open: &Open, _run: &mut Run, out: &mut Findings) {
        match &open.call {
            Call::Join { by, starts, .. } => {
                self.starts.entry(by.group.clone()).or_insert(*starts);
            }
            Call::Poll { by: Some(_), .. } => {
                let views = self.views.iter_mut().filter(|((owner, _), _)| *owner == open.process);
                for (_, view) in views.filter(|(_, view)| view.handled.is_some()) {
                    view.handled = Some(view.next);
                }
            }
            Call::Commit { by, auto, offsets } => {
                for (partition, offset) in offsets {
                    self.asked(by, partition, *offset);
                    if *auto {
                        self.early(open, by, (partition, *offset), out);
                    }
                }
            }
            Call::Ack { by, partition, offset } => {
                let share = self.share(&by.group, partition);
                share.asked = share.asked.max(Some(offset.saturating_add(1)));
            }
            _ => {}
        }
    }

    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, out: &mut Findings) {
        let Answer::Ok(outcome) = op.answer else { return };
        match (&op.open.call, outcome) {
            (Call::Poll { by: Some(by), .. }, Outcome::Polled { partitions }) => {
                for polled in partitions.iter().filter(|polled| !polled.batches.is_empty()) {
                    self.polled((by, polled), op, run, out);
                }
            }
            (Call::Commit { by, offsets, .. }, Outcome::Committed { refused }) => {
                for (partition, offset) in
                    offsets.iter().filter(|(name, _)| !refused.contains(name))
                {
                    let share = self.share(&by.group, partition);
                    share.floor = *offset;
                    share.confirmed = share.confirmed.max(Some(*offset));
                }
            }
            (Call::Ack { by, partition, offset }, _) => {
                let position = offset.saturating_add(1);
                let share = self.share(&by.group, partition);
                share.floor = share.floor.max(position);
                share.confirmed = share.confirmed.max(Some(position));
            }
            _ => {}
        }
    }

    fn observed(&mut self, seen: &Seen<'_>, _run: &mut Run, _out: &mut Findings) {
        let Event::Assigned(owned) = seen.event else { return };
        for partition in &owned.partitions {
            let floor = self.share(&owned.by.group, partition).floor;
            let view = View { floor, is_new: true, ..View::default() };
            self.views.insert((seen.process, partition.clone()), view);
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        let mut shares: Vec<_> = self.shares.iter().collect();
        shares.sort_by_key(|(share, _)| *share);
        for ((group, partition), share) in shares {
            let log_start = run.logs.get(partition).map_or(0, |log| log.log_start);
            let begin = match self.starts.get(group) {
                Some(Starts::Earliest) => log_start,
                Some(Starts::Latest) | None => share.all.first().unwrap_or_default(),
            };
            let end = share.confirmed.unwrap_or_default();
            if let Some(hole) = share.all.first_missing(begin.max(log_start), end) {
                let subject = shown(group, partition);
                out.report(Anomaly::SkippedDelivery, &subject, &[hole, end], &[], || {
                    format!("position {end} was committed, offset {hole} was never delivered")
                });
            }
        }
    }
}

impl Delivery {
    fn share(&mut self, group: &str, partition: &Partition) -> &mut Delivered {
        self.shares.entry((group.to_owned(), partition.clone())).or_default()
    }

    /// A commit that goes back may take effect from its call on.
    fn asked(&mut self, by: &Membership, partition: &Partition, offset: u64) {
        let share = self.share(&by.group, partition);
        share.asked = share.asked.max(Some(offset));
        share.floor = share.floor.min(offset);
    }

    fn early(
        &self,
        open: &Open,
        by: &Membership,
        (partition, offset): (&Partition, u64),
        out: &mut Findings,
    ) {
        let view = self.views.get(&(open.process, partition.clone()));
        let Some(handled) = view.and_then(|view| view.handled) else { return };
        if offset > handled {
            let subject = shown(&by.group, partition);
            out.report(
                Anomaly::EarlyAutoCommit,
                &subject,
                &[offset, handled],
                &[open.invoked.line],
                || format!("position {offset} was committed when {handled} was handled"),
            );
        }
    }

    fn polled(
        &mut self,
        (by, polled): (&Membership, &Polled),
        op: &Completed<'_>,
        run: &Run,
        out: &mut Findings,
    ) {
        let partition = &polled.partition;
        let first = polled.batches[0].offset;
        let starts = self.starts.get(&by.group).copied();
        let view = self.views.entry((op.open.process, partition.clone())).or_default();
        let share = self.shares.entry((by.group.clone(), partition.clone())).or_default();
        let subject = shown(&by.group, partition);
        if std::mem::take(&mut view.is_new) {
            let log_start = run.logs.get(partition).map_or(0, |log| log.log_start);
            let latest = share.may_begin(starts, log_start);
            if let Some(latest) = latest.filter(|latest| first > *latest) {
                let offsets = [latest, first];
                out.report(Anomaly::SkippedDelivery, &subject, &offsets, &op.lines(), || {
                    format!("the new owner began at {first}, the position was {latest} at most")
                });
            }
        }
        if first < view.floor && share.all.contains(first) {
            let offsets = [first, view.floor];
            out.report(Anomaly::RedeliveryOutside, &subject, &offsets, &op.lines(), || {
                format!("offset {first} came again although {} was committed", view.floor)
            });
        }
        for batch in &polled.batches {
            let end = batch.offset.saturating_add(batch.values.len() as u64);
            share.all.add(batch.offset, end);
            view.next = view.next.max(end);
        }
        view.handled = view.handled.or(Some(first));
    }
}

impl Delivered {
    /// The greatest offset a new owner may begin at; none: any.
    fn may_begin(&self, starts: Option<Starts>, log_start: u64) -> Option<u64> {
        match (self.asked, starts) {
            (Some(asked), _) => Some(asked.max(log_start)),
            (None, Some(Starts::Earliest)) => Some(log_start),
            (None, Some(Starts::Latest) | None) => None,
        }
    }
}
