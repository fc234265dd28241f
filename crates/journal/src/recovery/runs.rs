//! What recovery has found of one group's live entries.
//!
//! Files between two that are needed may be gone: what they held is missing until a later purge or
//! truncation voids it. So there may be gaps, as long as any start claims: only what was found
//! takes memory.

use std::collections::VecDeque;

use quipu_types::LogIndex;

use crate::index::{Index, Slot};
use crate::ledger::Live;

/// Dense runs of entries, in order; none is empty, and no two touch.
#[derive(Debug, Default)]
pub(crate) struct Runs(VecDeque<Index>);

impl Runs {
    /// Adds an entry after all others.
    pub(crate) fn push(&mut self, index: LogIndex, slot: Slot) {
        if self.0.back().is_none_or(|last| last.end() != index.get()) {
            self.0.push_back(Index::default());
        }
        self.0.back_mut().expect("one is there").push(index, slot);
    }

    /// Drops entries from `end` on.
    pub(crate) fn truncate(&mut self, end: u64) {
        self.0.iter_mut().rev().take_while(|run| run.end() > end).for_each(|run| run.truncate(end));
        self.0.retain(|run| !run.is_empty());
    }

    /// Drops entries before `first`.
    pub(crate) fn drop_before(&mut self, first: u64) {
        let before = self.0.iter_mut().take_while(|run| run.range().start < first);
        before.for_each(|run| run.drop_before(first));
        self.0.retain(|run| !run.is_empty());
    }

    /// Keeps what a start says is live.
    pub(crate) fn keep(&mut self, live: Option<Live>) {
        match live {
            Some(Live { first, last }) => {
                self.drop_before(first.get());
                self.truncate(last.next().get());
            }
            None => self.0.clear(),
        }
    }

    /// The index of a group's live entries.
    ///
    /// # Errors
    /// The first of them that no file holds.
    pub(crate) fn into_index(mut self, live: Option<Live>) -> Result<Index, LogIndex> {
        let index = self.0.pop_front().unwrap_or_default();
        let Some(Live { first, last }) = live else { return Ok(index) };
        if index.is_empty() || index.range().start > first.get() {
            return Err(first);
        }
        if index.end() <= last.get() { Err(LogIndex::new(index.end())) } else { Ok(index) }
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a run of entries is a range")]
mod tests {
    use quipu_types::Term;

    use super::*;

    fn live(first: u64, last: u64) -> Option<Live> {
        Some(Live { first: LogIndex::new(first), last: LogIndex::new(last) })
    }

    fn runs(ranges: &[std::ops::Range<u64>]) -> Runs {
        let mut runs = Runs::default();
        for index in ranges.iter().cloned().flatten() {
            runs.push(LogIndex::new(index), Slot::new(Term::new(1), 10));
        }
        runs
    }

    fn ranges(runs: &Runs) -> Vec<std::ops::Range<u64>> {
        runs.0.iter().map(Index::range).collect()
    }

    #[test]
    fn entries_that_follow_are_one_run() {
        assert_eq!(ranges(&runs(&[3..5, 5..7, 9..10])), [3..7, 9..10]);
    }

    #[test]
    fn cuts_at_both_ends_keep_what_lies_between() {
        let mut cut = runs(&[0..4, 6..8, 9..12]);
        cut.drop_before(2);
        cut.truncate(10);
        assert_eq!(ranges(&cut), [2..4, 6..8, 9..10]);
        cut.drop_before(7);
        cut.truncate(8);
        assert_eq!(ranges(&cut), [7..8]);
        cut.keep(live(8, u64::MAX - 1));
        assert_eq!(ranges(&cut), []);
        cut.push(LogIndex::new(40), Slot::new(Term::new(1), 0));
        cut.keep(None);
        assert_eq!(ranges(&cut), []);
    }

    #[test]
    fn the_first_gap_is_named() {
        let first_gap = |ranges, live| runs(ranges).into_index(live).err().map(LogIndex::get);
        assert_eq!(first_gap(&[3..5], live(3, 4)), None);
        assert_eq!(first_gap(&[], None), None);
        assert_eq!(first_gap(&[], live(3, u64::MAX - 1)), Some(3));
        assert_eq!(first_gap(&[4..5], live(3, 4)), Some(3));
        assert_eq!(first_gap(&[3..5, 7..9], live(3, 8)), Some(5));
        assert_eq!(first_gap(&[3..5], live(3, u64::MAX - 1)), Some(5));
    }
}
