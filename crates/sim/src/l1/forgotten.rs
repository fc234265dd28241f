//! For [`super::plant::Plant::TruncationIsForgotten`]: the end of the log that a truncation took.

use std::collections::BTreeMap;

use quipu_journal::{GroupJournal, JournalEntry};
use quipu_types::LogIndex;

/// One shard's.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    held: BTreeMap<LogIndex, JournalEntry>,
    /// What the last truncation took.
    taken: Vec<JournalEntry>,
}

impl Forgotten {
    /// Looks at the log, as often as it may have changed.
    pub(crate) fn look(&mut self, journal: &GroupJournal) {
        let state = journal.state();
        let (Some(first), Some(last)) = (state.first, state.last) else { return };
        let read = journal.read(first, last.index.next(), usize::MAX).unwrap_or_default();
        let now: BTreeMap<_, _> = read.into_iter().map(|entry| (entry.id.index, entry)).collect();
        let is_gone = |entry: &&JournalEntry| {
            entry.id.index >= first && now.get(&entry.id.index).map(|now| now.id) != Some(entry.id)
        };
        let taken: Vec<JournalEntry> = self.held.values().filter(is_gone).cloned().collect();
        if !taken.is_empty() {
            self.taken = taken;
        }
        self.held = now;
    }

    /// Puts it back.
    pub(crate) fn put_back(&mut self, journal: &GroupJournal) {
        let taken = std::mem::take(&mut self.taken);
        let Some(before) = taken.first().and_then(|entry| entry.id.index.get().checked_sub(1))
        else {
            return;
        };
        let state = journal.state();
        let fits = state.last.is_some_and(|last| last.index.get() >= before)
            && state.purged.is_none_or(|purged| purged.index.get() <= before);
        if fits {
            journal.truncate_after(Some(LogIndex::new(before)));
            journal.append(taken, Box::new(|_| ()));
        }
    }
}
