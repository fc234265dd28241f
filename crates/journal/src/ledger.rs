//! What the frames written so far say: each group's state, and which file holds which live entries.
//!
//! Pure. The writer feeds it the frames it encodes, recovery the frames it reads: both see the
//! same state at the same byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::{EntryId, LogIndex, ShardId};

use crate::JournalFileId;

/// Log indexes first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) first: LogIndex,
    pub(crate) last: LogIndex,
}

impl Live {
    fn extend(live: Option<Self>, index: LogIndex) -> Self {
        let first = live.map_or(index, |live| live.first);
        Self { first, last: index }
    }

    /// The part before `end`.
    fn before(self, end: u64) -> Option<Self> {
        let last = LogIndex::new(end.checked_sub(1)?.min(self.last.get()));
        (self.first <= last).then_some(Self { last, ..self })
    }

    /// The part after `upto`.
    fn after(self, upto: LogIndex) -> Option<Self> {
        let first = self.first.max(upto.next());
        (first <= self.last).then_some(Self { first, ..self })
    }

    pub(crate) fn contains(self, index: LogIndex) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupLedger {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) live: Option<Live>,
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileLedger {
    /// The byte after its last frame; `None` while it is being written.
    pub(crate) end: Option<u64>,
    /// The live entries of each group that lie in it. The file is needed while there are any.
    pub(crate) residents: BTreeMap<ShardId, Live>,
}

/// Every group, and every file that holds live entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) groups: BTreeMap<ShardId, GroupLedger>,
    pub(crate) files: BTreeMap<JournalFileId, FileLedger>,
}

impl Ledger {
    pub(crate) fn append(&mut self, file: JournalFileId, shard: ShardId, index: LogIndex) {
        let group = self.groups.entry(shard).or_default();
        group.live = Some(Live::extend(group.live, index));
        let residents = &mut self.files.entry(file).or_default().residents;
        let extended = Live::extend(residents.get(&shard).copied(), index);
        residents.insert(shard, extended);
    }

    pub(crate) fn save_vote(&mut self, shard: ShardId, vote: Bytes) {
        self.groups.entry(shard).or_default().vote = Some(vote);
    }

    pub(crate) fn save_committed(&mut self, shard: ShardId, committed: Bytes) {
        self.groups.entry(shard).or_default().committed = Some(committed);
    }

    pub(crate) fn truncate_after(&mut self, shard: ShardId, last_kept: Option<LogIndex>) {
        let end = last_kept.map_or(0, |last| last.next().get());
        self.narrow(shard, |live| live.before(end));
    }

    pub(crate) fn purge(&mut self, shard: ShardId, upto: EntryId) {
        self.groups.entry(shard).or_default().purged = Some(upto);
        self.narrow(shard, |live| live.after(upto.index));
    }

    pub(crate) fn remove(&mut self, shard: ShardId) {
        self.narrow(shard, |_| None);
        self.groups.remove(&shard);
    }

    pub(crate) fn start_file(&mut self, file: JournalFileId) {
        self.files.insert(file, FileLedger::default());
    }

    pub(crate) fn seal(&mut self, file: JournalFileId, end: u64) {
        self.files.entry(file).or_default().end = Some(end);
    }

    /// Forgets sealed files without live entries, and names them: once what made them so is
    /// durable, they may be used again.
    pub(crate) fn take_free_files(&mut self) -> Vec<JournalFileId> {
        let is_free = |file: &FileLedger| file.end.is_some() && file.residents.is_empty();
        let free: Vec<_> =
            self.files.iter().filter(|(_, file)| is_free(file)).map(|(id, _)| *id).collect();
        for id in &free {
            self.files.remove(id);
        }
        free
    }

    /// The file that should hold an entry.
    pub(crate) fn home(&self, shard: ShardId, index: LogIndex) -> Option<JournalFileId> {
        let holds =
            |file: &FileLedger| file.residents.get(&shard).is_some_and(|live| live.contains(index));
        self.files.iter().find(|(_, file)| holds(file)).map(|(id, _)| *id)
    }

    /// Applies a cut to the group and to its part of every file.
    fn narrow(&mut self, shard: ShardId, cut: impl Fn(Live) -> Option<Live>) {
        if let Some(group) = self.groups.get_mut(&shard) {
            group.live = group.live.and_then(&cut);
        }
        for file in self.files.values_mut() {
            if let Some(live) = file.residents.remove(&shard)
                && let Some(rest) = cut(live)
            {
                file.residents.insert(shard, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::Term;

    use super::*;
    use crate::frame::start;

    const A: ShardId = ShardId::new(1);
    const B: ShardId = ShardId::new(2);

    fn file(id: u64) -> JournalFileId {
        JournalFileId::new(id)
    }

    fn append(ledger: &mut Ledger, id: u64, shard: ShardId, indexes: std::ops::Range<u64>) {
        for index in indexes {
            ledger.append(file(id), shard, LogIndex::new(index));
        }
    }

    fn upto(index: u64) -> EntryId {
        EntryId::new(Term::new(3), LogIndex::new(index))
    }

    #[test]
    fn a_file_is_free_once_no_group_has_live_entries_in_it() {
        let mut ledger = Ledger::default();
        append(&mut ledger, 1, A, 0..5);
        append(&mut ledger, 1, B, 0..2);
        ledger.seal(file(1), 500);
        ledger.start_file(file(2));
        append(&mut ledger, 2, A, 5..9);
        ledger.purge(A, upto(6));
        assert_eq!(ledger.take_free_files(), [], "B still lives in file 1");
        ledger.truncate_after(B, None);
        assert_eq!(ledger.take_free_files(), [file(1)]);
        ledger.purge(A, upto(8));
        assert_eq!(ledger.take_free_files(), [], "file 2 is being written");
    }

    #[test]
    fn a_file_between_two_needed_ones_is_free_too() {
        let mut ledger = Ledger::default();
        append(&mut ledger, 1, A, 0..5);
        ledger.seal(file(1), 500);
        append(&mut ledger, 2, B, 0..5);
        ledger.seal(file(2), 500);
        append(&mut ledger, 3, A, 5..6);
        ledger.remove(B);
        assert_eq!(ledger.take_free_files(), [file(2)]);
        assert_eq!(ledger.home(A, LogIndex::new(4)), Some(file(1)));
        assert!(!ledger.groups.contains_key(&B));
    }

    #[test]
    fn a_start_restates_the_whole_ledger() {
        let mut ledger = Ledger::default();
        append(&mut ledger, 7, A, 3..5);
        ledger.seal(file(7), 1024);
        ledger.save_vote(A, Bytes::from_static(b"vote"));
        ledger.save_committed(B, Bytes::from_static(b""));
        ledger.purge(B, upto(9));
        let encoded = start::encode(&ledger);
        assert_eq!(start::decode(&encoded), Ok(ledger));
        for cut in 0..encoded.len() {
            assert!(start::decode(&encoded[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_start_with_an_index_that_none_can_follow_is_refused() {
        let start_of = |index| {
            let mut ledger = Ledger::default();
            ledger.groups.entry(A).or_default().purged = Some(upto(index));
            start::decode(&start::encode(&ledger))
        };
        assert!(start_of(u64::MAX - 1).is_ok());
        assert!(start_of(u64::MAX).is_err());
    }
}
