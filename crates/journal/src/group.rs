//! One group's view: what it appended, readable at once, durable or not.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use quipu_types::{EntryId, LogIndex, ShardId};

use crate::index::{Index, Slot};
use crate::ledger::GroupLedger;
use crate::width::{to_u64, to_usize};
use crate::{JournalEntry, JournalPosition};

/// Payload bytes held in memory by all groups.
pub(crate) type TailBytes = Arc<AtomicUsize>;

pub(crate) struct Group {
    pub(crate) shard: ShardId,
    state: Mutex<GroupInner>,
}

/// What a group holds. Positions follow when the writer has written.
pub(crate) struct GroupInner {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) index: Index,
    /// Payloads of the newest entries.
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
    all_tail_bytes: TailBytes,
    /// Entries before this index are written; those from it on only wait.
    written_end: u64,
    /// Entries before this index are durable.
    durable_end: u64,
    /// Ends of truncations that the writer has not come to: entries written meanwhile at or after
    /// them are void already, and their place may belong to another entry.
    truncations: VecDeque<u64>,
    pub(crate) is_removed: bool,
}

/// Where to find one entry.
pub(crate) enum Found {
    Memory(JournalEntry),
    Disk { id: EntryId, position: JournalPosition, payload_bytes: usize },
}

impl Group {
    pub(crate) fn new(shard: ShardId, all_tail_bytes: TailBytes) -> Self {
        Self::recovered(shard, &GroupLedger::default(), Index::default(), all_tail_bytes)
    }

    pub(crate) fn recovered(
        shard: ShardId,
        ledger: &GroupLedger,
        index: Index,
        all_tail_bytes: TailBytes,
    ) -> Self {
        let purged_end = ledger.purged.map_or(0, |purged| purged.index.next().get());
        let end = if index.is_empty() { purged_end } else { index.end() };
        let state = Mutex::new(GroupInner {
            vote: ledger.vote.clone(),
            committed: ledger.committed.clone(),
            purged: ledger.purged,
            index,
            tail: VecDeque::new(),
            tail_bytes: 0,
            all_tail_bytes,
            written_end: end,
            durable_end: end,
            truncations: VecDeque::new(),
            is_removed: false,
        });
        Self { shard, state }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, GroupInner> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl GroupInner {
    pub(crate) fn last(&self) -> Option<EntryId> {
        self.index.last_id().or(self.purged)
    }

    pub(crate) fn durable_index(&self) -> Option<LogIndex> {
        self.durable_end.checked_sub(1).map(LogIndex::new)
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Adds entries after the last.
    pub(crate) fn append(&mut self, entries: &[JournalEntry]) {
        for JournalEntry { id, payload } in entries {
            if let Some(last) = self.last() {
                assert_eq!(
                    id.index,
                    last.index.next(),
                    "entry {id} does not follow {last}: truncate first"
                );
                assert!(id.term >= last.term, "the term of entry {id} is below that of {last}");
            }
            self.index.push(id.index, Slot::new(id.term, payload.len()));
            self.tail.push_back(payload.clone());
            self.tail_bytes += payload.len();
            self.all_tail_bytes.fetch_add(payload.len(), Ordering::Relaxed);
        }
    }

    /// Drops entries after `last_kept`; says whether there were any.
    pub(crate) fn truncate_after(&mut self, last_kept: Option<LogIndex>) -> bool {
        let purged_end = self.purged.map_or(0, |purged| purged.index.next().get());
        let end = last_kept.map_or(0, |last| last.next().get()).max(purged_end);
        if self.index.is_empty() || end >= self.index.end() {
            return false;
        }
        let before = self.index.len();
        self.index.truncate(end);
        for _ in self.index.len()..before {
            let dropped = self.tail.pop_back();
            self.forget(dropped.as_ref());
        }
        self.written_end = self.written_end.min(end);
        self.durable_end = self.durable_end.min(end);
        self.truncations.push_back(end);
        true
    }

    /// Drops entries up to `upto`; says whether the purge point moved.
    pub(crate) fn purge(&mut self, upto: EntryId) -> bool {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return false;
        }
        let first = upto.index.next().get();
        self.purged = Some(upto);
        self.index.drop_before(first);
        self.trim_tail();
        self.written_end = self.written_end.max(first);
        self.durable_end = self.durable_end.max(first);
        true
    }

    /// Drops everything, for good.
    pub(crate) fn remove(&mut self) {
        self.is_removed = true;
        (self.vote, self.committed, self.purged) = (None, None, None);
        self.index = Index::default();
        self.trim_tail();
        (self.written_end, self.durable_end) = (0, 0);
    }

    /// The writer has written entries from `first` on.
    pub(crate) fn settle(&mut self, first: LogIndex, positions: &[JournalPosition]) {
        if self.is_removed {
            return;
        }
        let bound = self.truncations.iter().copied().min().unwrap_or(u64::MAX);
        let bound = bound.min(self.index.end());
        for (index, position) in (first.get()..bound).zip(positions) {
            if let Some(slot) = self.index.get_mut(LogIndex::new(index)) {
                slot.place(*position);
            }
        }
        let end = (first.get() + to_u64(positions.len())).min(bound);
        self.written_end = self.written_end.max(end);
    }

    /// The writer has written the oldest truncation.
    pub(crate) fn settle_truncation(&mut self) {
        self.truncations.pop_front();
    }

    /// Everything written is durable.
    pub(crate) fn flushed(&mut self) {
        self.durable_end = self.durable_end.max(self.written_end);
    }

    /// Gives up payloads in memory, oldest first, those on disk only.
    pub(crate) fn evict(&mut self, bytes: usize) {
        let mut rest = bytes;
        while rest > 0 && self.tail_start() < self.durable_end {
            let Some(evicted) = self.tail.pop_front() else { break };
            rest = rest.saturating_sub(evicted.len().max(1));
            self.forget(Some(&evicted));
        }
    }

    /// Finds entries from `range`, dense from its start, until `bytes_max` payload bytes are
    /// reached; at least one if the first is live.
    pub(crate) fn find(&self, range: Range<u64>, bytes_max: usize) -> Vec<Found> {
        let tail_start = self.tail_start();
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        if range.start < self.index.range().start {
            return found;
        }
        for at in range.start..range.end.min(self.index.end()) {
            let index = LogIndex::new(at);
            let slot = self.index.get(index).expect("within the live range");
            bytes = bytes.saturating_add(slot.payload_bytes());
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            let id = EntryId::new(slot.term(), index);
            found.push(match at.checked_sub(tail_start) {
                Some(offset) => {
                    let payload = self.tail[to_usize(offset)].clone();
                    Found::Memory(JournalEntry { id, payload })
                }
                None => Found::Disk {
                    id,
                    position: slot.position().expect("only written entries leave memory"),
                    payload_bytes: slot.payload_bytes(),
                },
            });
        }
        found
    }

    fn tail_start(&self) -> u64 {
        self.index.end() - to_u64(self.tail.len())
    }

    fn trim_tail(&mut self) {
        while self.tail.len() > self.index.len() {
            let dropped = self.tail.pop_front();
            self.forget(dropped.as_ref());
        }
    }

    fn forget(&mut self, payload: Option<&Bytes>) {
        let bytes = payload.map_or(0, Bytes::len);
        self.tail_bytes -= bytes;
        self.all_tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for GroupInner {
    fn drop(&mut self) {
        self.all_tail_bytes.fetch_sub(self.tail_bytes, Ordering::Relaxed);
    }
}
