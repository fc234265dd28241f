//! A sparse index in memory: from offsets and times to bytes, and which epoch stored what.

use quipu_types::{LeaderEpoch, Offset, TimestampMs};

const BEFORE_ALL: TimestampMs = TimestampMs::new(i64::MIN);

/// Where a batch lies, and what an index wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredPlace {
    pub(crate) offset: Offset,
    pub(crate) position: u64,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) max_timestamp: TimestampMs,
}

/// One batch in every interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) offset: Offset,
    pub(crate) position: u64,
    /// Largest timestamp of all batches of the segment before this one. Monotone although the
    /// batches' own timestamps are not, so that it can be searched.
    pub(crate) max_before: TimestampMs,
}

/// From this offset on, batches were stored under this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) start: Offset,
    pub(crate) epoch: LeaderEpoch,
}

/// The index of one segment, or of its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) max_timestamp: Option<TimestampMs>,
}

impl SparseIndex {
    /// Takes in the next batch.
    pub(crate) fn push(&mut self, place: StoredPlace, interval: u64) {
        let StoredPlace { offset, position, epoch, max_timestamp } = place;
        let is_due = self.entries.last().is_none_or(|last| position - last.position >= interval);
        if is_due {
            let max_before = self.max_timestamp.unwrap_or(BEFORE_ALL);
            self.entries.push(IndexEntry { offset, position, max_before });
        }
        if self.epochs.last().is_none_or(|last| last.epoch != epoch) {
            self.epochs.push(EpochStart { start: offset, epoch });
        }
        self.max_timestamp = self.max_timestamp.max(Some(max_timestamp));
    }

    /// Continues with the index of what follows.
    pub(crate) fn extend(&mut self, later: &Self) {
        let before = self.max_timestamp.unwrap_or(BEFORE_ALL);
        self.entries.extend(
            later
                .entries
                .iter()
                .map(|entry| IndexEntry { max_before: entry.max_before.max(before), ..*entry }),
        );
        let known = self.epochs.last().map(|last| last.epoch);
        let is_known = |start: &&EpochStart| Some(start.epoch) == known;
        let skip = usize::from(later.epochs.first().as_ref().is_some_and(is_known));
        self.epochs.extend(&later.epochs[skip..]);
        self.max_timestamp = self.max_timestamp.max(later.max_timestamp);
    }

    /// The last entry at or before an offset.
    pub(crate) fn floor(&self, offset: Offset) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map(|place| self.entries[place])
    }

    /// The last entry before which every timestamp is below `at`.
    pub(crate) fn floor_of_time(&self, at: TimestampMs) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.max_before < at);
        self.entries.get(after.saturating_sub(1)).copied()
    }

    /// The epoch a batch was stored under.
    pub(crate) fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.epochs.partition_point(|epoch| epoch.start <= offset);
        after.checked_sub(1).map(|place| self.epochs[place].epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u64, epoch: i32, max_timestamp: i64) -> StoredPlace {
        StoredPlace {
            offset: Offset::new(n * 10),
            position: n * 100,
            epoch: LeaderEpoch::new(epoch),
            max_timestamp: TimestampMs::new(max_timestamp),
        }
    }

    fn index(places: &[StoredPlace]) -> SparseIndex {
        let mut index = SparseIndex::default();
        for place in places {
            index.push(*place, 200);
        }
        index
    }

    #[test]
    fn every_second_batch_has_an_entry_and_offsets_find_the_one_before() {
        let index = index(&[place(0, 1, 5), place(1, 1, 9), place(2, 2, 7), place(3, 2, 8)]);
        let positions: Vec<u64> = index.entries.iter().map(|entry| entry.position).collect();
        assert_eq!(positions, [0, 200]);
        assert_eq!(index.floor(Offset::new(19)).unwrap().position, 0);
        assert_eq!(index.floor(Offset::new(20)).unwrap().position, 200);
        assert_eq!(index.epoch_of(Offset::new(19)), Some(LeaderEpoch::new(1)));
        assert_eq!(index.epoch_of(Offset::new(20)), Some(LeaderEpoch::new(2)));
    }

    #[test]
    fn times_are_found_although_they_are_not_monotone() {
        let times = [50, 10, 20, 90, 30, 40];
        let places: Vec<StoredPlace> =
            (0..).zip(times).map(|(n, time)| place(n, 1, time)).collect();
        let index = index(&places);
        for at in 0..100 {
            let at = TimestampMs::new(at);
            let from = index.floor_of_time(at).unwrap().position;
            let skipped = places.iter().filter(|place| place.position < from);
            assert!(skipped.clone().all(|place| place.max_timestamp < at), "{at}");
        }
        assert_eq!(index.floor_of_time(TimestampMs::new(91)).unwrap().position, 400);
    }

    #[test]
    fn two_halves_make_the_index_of_the_whole() {
        let places = [place(0, 1, 50), place(1, 1, 10), place(2, 1, 20), place(3, 2, 90)];
        let mut whole = index(&places[..2]);
        whole.extend(&index(&places[2..]));
        assert_eq!(whole, index(&places));
    }
}
