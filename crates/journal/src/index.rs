//! Where a group's live entries lie: dense from the first to the last.

use std::collections::VecDeque;
use std::ops::Range;

use quipu_types::{EntryId, LogIndex, Term};

use crate::{JournalFileId, JournalPosition};

/// One entry. Thirty-two bytes: the index of a million entries costs 32 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    term: u64,
    /// 0 until the frame is written.
    file: u64,
    byte: u64,
    payload_bytes: u32,
}

impl Slot {
    pub(crate) fn new(term: Term, payload_bytes: usize) -> Self {
        let payload_bytes = u32::try_from(payload_bytes).expect("payloads are bounded");
        Self { term: term.get(), file: 0, byte: 0, payload_bytes }
    }

    pub(crate) fn term(&self) -> Term {
        Term::new(self.term)
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        usize::try_from(self.payload_bytes).expect("usize has 64 bits")
    }

    pub(crate) fn position(&self) -> Option<JournalPosition> {
        (self.file != 0)
            .then(|| JournalPosition { file: JournalFileId::new(self.file), byte: self.byte })
    }

    pub(crate) fn place(&mut self, position: JournalPosition) {
        self.file = position.file.get();
        self.byte = position.byte;
    }
}

/// The live entries of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    first: u64,
    slots: VecDeque<Slot>,
}

impl Index {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Live indexes, end excluded.
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.end()
    }

    pub(crate) fn end(&self) -> u64 {
        self.first + crate::width::to_u64(self.slots.len())
    }

    pub(crate) fn get(&self, index: LogIndex) -> Option<&Slot> {
        self.offset(index).and_then(|at| self.slots.get(at))
    }

    pub(crate) fn get_mut(&mut self, index: LogIndex) -> Option<&mut Slot> {
        self.offset(index).and_then(|at| self.slots.get_mut(at))
    }

    fn offset(&self, index: LogIndex) -> Option<usize> {
        index.get().checked_sub(self.first).map(crate::width::to_usize)
    }

    /// Adds the entry after the last; any index when there is none.
    pub(crate) fn push(&mut self, index: LogIndex, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index.get();
        }
        assert_eq!(index.get(), self.end(), "entries are dense");
        self.slots.push_back(slot);
    }

    /// Drops entries from `end` on.
    pub(crate) fn truncate(&mut self, end: u64) {
        let kept = crate::width::to_usize(end.saturating_sub(self.first));
        self.slots.truncate(kept);
    }

    /// Drops entries before `first`.
    pub(crate) fn drop_before(&mut self, first: u64) {
        let dropped = crate::width::to_usize(first.saturating_sub(self.first));
        let dropped = dropped.min(self.slots.len());
        self.slots.drain(..dropped);
        self.first = self.first.max(first);
        // A purged prefix may have been most of it.
        if self.slots.capacity() > 4 * (self.slots.len() + 256) {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    pub(crate) fn entry_id(&self, index: LogIndex) -> Option<EntryId> {
        self.get(index).map(|slot| EntryId::new(slot.term(), index))
    }

    pub(crate) fn last_id(&self) -> Option<EntryId> {
        let last = self.end().checked_sub(1)?;
        self.entry_id(LogIndex::new(last))
    }

    /// The first entry of every term. Terms never go back along a log (Raft §5.3).
    pub(crate) fn term_starts(&self) -> Vec<EntryId> {
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(slot) = self.slots.get(at) {
            let index = LogIndex::new(self.first + crate::width::to_u64(at));
            starts.push(EntryId::new(slot.term(), index));
            at = self.slots.partition_point(|other| other.term <= slot.term);
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(first: u64, terms: &[u64]) -> Index {
        let mut index = Index::default();
        for (at, term) in (first..).zip(terms) {
            let mut slot = Slot::new(Term::new(*term), 10);
            slot.place(JournalPosition { file: JournalFileId::new(1), byte: at });
            index.push(LogIndex::new(at), slot);
        }
        index
    }

    #[test]
    fn terms_start_where_they_change() {
        let starts = filled(4, &[1, 1, 3, 3, 3, 9]).term_starts();
        let expected = [(1, 4), (3, 6), (9, 9)];
        let expected = expected.map(|(t, i)| EntryId::new(Term::new(t), LogIndex::new(i)));
        assert_eq!(starts, expected);
        assert_eq!(Index::default().term_starts(), []);
    }

    #[test]
    fn cuts_at_both_ends_keep_the_middle() {
        let mut index = filled(10, &[1, 1, 1, 2, 2, 2]);
        index.drop_before(12);
        index.truncate(14);
        assert_eq!(index.range(), 12..14);
        assert_eq!(index.last_id(), Some(EntryId::new(Term::new(2), LogIndex::new(13))));
        assert_eq!(index.get(LogIndex::new(11)), None);
        index.drop_before(100);
        assert!(index.is_empty());
        index.push(LogIndex::new(100), Slot::new(Term::new(5), 0));
        assert_eq!(index.range(), 100..101);
    }
}
