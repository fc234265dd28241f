//! After the flush: positions into the indexes, callbacks, memory given back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Writer;
use crate::group::Group;
use crate::queue::{Batch, Op};
use crate::width::to_u64;

impl Writer {
    /// Tells the groups where their entries lie, then calls back in order.
    pub(super) fn settle(&mut self, batch: Batch) {
        let is_durable = self.active.is_durable();
        let mut placed = self.placed.as_slice();
        let mut on_flushed = Vec::with_capacity(batch.ops.len());
        for op in batch.ops {
            match op {
                Op::Append { group, entries, on_flushed: callback } => {
                    let (here, rest) = placed.split_at(entries.len());
                    placed = rest;
                    if let Some(first) = entries.first() {
                        let mut inner = group.lock();
                        inner.settle(first.id.index, here);
                        if is_durable {
                            inner.flushed();
                        }
                    }
                    let count = to_u64(entries.len());
                    self.shared.counters.entries.fetch_add(count, Ordering::Relaxed);
                    on_flushed.push((callback, Ok(())));
                }
                Op::Truncate { group, .. } => group.lock().settle_truncation(),
                Op::Vote { on_flushed: callback, .. } | Op::Barrier { on_flushed: callback } => {
                    on_flushed.push((callback, Ok(())));
                }
                Op::Refused { error, on_flushed: callback } => {
                    on_flushed.push((callback, Err(error)));
                }
                Op::Purge { .. } | Op::Remove { .. } => {}
            }
        }
        if is_durable && self.interval().is_some() {
            self.settle_flush();
        }
        quipu_failpoint::hit("journal.callback.before");
        for (callback, result) in on_flushed {
            callback(result);
        }
        self.evict();
    }

    /// Everything written by earlier batches became durable.
    pub(super) fn settle_flush(&mut self) {
        for group in self.shared.all_groups() {
            group.lock().flushed();
        }
    }

    /// Holds the payloads in memory to their bound: the group with the most gives first, so that
    /// one busy group does not push out the rest.
    fn evict(&self) {
        let all = &self.shared.tail_bytes;
        let max = self.config.tail_bytes_max;
        if all.load(Ordering::Relaxed) <= max {
            return;
        }
        // A little more than needed, so that the next batches find room.
        let target = max - max / 8;
        let mut groups: Vec<(usize, Arc<Group>)> = self
            .shared
            .all_groups()
            .into_iter()
            .map(|group| {
                let bytes = group.lock().tail_bytes();
                (bytes, group)
            })
            .collect();
        groups.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (_, group) in groups {
            let excess = all.load(Ordering::Relaxed).saturating_sub(target);
            if excess == 0 {
                return;
            }
            group.lock().evict(excess);
        }
    }
}
