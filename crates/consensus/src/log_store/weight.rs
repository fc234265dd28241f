//! How many bytes lie behind an index, roughly: to keep a bounded tail when the journal is purged.

use std::collections::VecDeque;

use quipu_journal::JournalEntry;
use quipu_types::LogIndex;

/// A mark is set at least every so many bytes.
const MARK_BYTES: u64 = 1 << 20;

/// Marks along the log since the process started.
#[derive(Debug, Default)]
pub(crate) struct LogWeight {
    /// Bytes appended so far.
    total: u64,
    /// (index, total just before it), ascending.
    marks: VecDeque<(LogIndex, u64)>,
}

impl LogWeight {
    /// Counts entries in.
    pub(crate) fn append(&mut self, entries: &[JournalEntry]) {
        for entry in entries {
            if self.marks.back().is_none_or(|(_, total)| self.total - total >= MARK_BYTES) {
                self.marks.push_back((entry.id.index, self.total));
            }
            self.total += u64::try_from(entry.payload.len()).unwrap_or(u64::MAX);
        }
    }

    /// Forgets what was cut off the end.
    pub(crate) fn truncate_after(&mut self, last_kept: Option<LogIndex>) {
        while self.marks.back().is_some_and(|(index, _)| Some(*index) > last_kept) {
            if let Some((_, total)) = self.marks.pop_back() {
                self.total = total;
            }
        }
    }

    /// Forgets what was purged.
    pub(crate) fn purge(&mut self, upto: LogIndex) {
        while self.marks.get(1).is_some_and(|(index, _)| *index <= upto) {
            self.marks.pop_front();
        }
    }

    /// The first index with at most `bytes` from it to the end; none when all is lighter.
    pub(crate) fn tail_start(&self, bytes: u64) -> Option<LogIndex> {
        let (_, first) = self.marks.front()?;
        if self.total - first <= bytes {
            return None;
        }
        let fits = self.marks.iter().find(|(_, total)| self.total - total <= bytes);
        fits.or_else(|| self.marks.back()).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quipu_types::{EntryId, Term};

    use super::*;

    fn entry(index: u64, bytes: usize) -> JournalEntry {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        JournalEntry { id, payload: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn the_tail_of_a_weight_is_found_to_a_mark() {
        let mut weight = LogWeight::default();
        for index in 0..64 {
            weight.append(&[entry(index, 1 << 18)]);
        }
        assert_eq!(weight.tail_start(16 << 20), None);
        assert_eq!(weight.tail_start(4 << 20), Some(LogIndex::new(48)));
        weight.purge(LogIndex::new(50));
        assert_eq!(weight.tail_start(2 << 20), Some(LogIndex::new(56)));
        weight.truncate_after(Some(LogIndex::new(55)));
        assert_eq!(weight.tail_start(1 << 20), Some(LogIndex::new(52)));
    }
}
